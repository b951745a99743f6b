#include "lib/text/gguf/gguf_tokenizer.h"

#include <utility>

#include "lib/base/status.h"
#include "lib/text/gguf/spec_reader.h"
#include "lib/text/pipeline.h"

namespace smelt {
namespace {

class OfKeys : public Tokenizer {
 public:
  OfKeys(const GgufVocabulary& vocabulary, std::unique_ptr<Pipeline> pipeline)
      : pipeline_(std::move(pipeline)),
        size_(vocabulary.size()),
        bos_(vocabulary.bos),
        adds_bos_(vocabulary.add_bos && vocabulary.bos >= 0),
        ends_(EndsOf(vocabulary)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const override {
    return pipeline_->Encode(text, options);
  }
  std::string Decode(const std::vector<int32_t>& ids, const DecodeOptions& options) const override {
    return RepairUtf8(pipeline_->Decode(ids, options.show_special));
  }
  std::string Bytes(const std::vector<int32_t>& ids) const override {
    return pipeline_->Decode(ids, /*show_special=*/true, /*raw=*/true);
  }
  size_t size() const override { return size_; }
  std::string Piece(int32_t id) const override { return pipeline_->Piece(id); }
  bool adds_bos() const override { return adds_bos_; }
  int32_t bos() const override { return bos_; }
  bool ends_generation(int32_t id) const override { return ends_.contains(id); }

 private:
  std::unique_ptr<Pipeline> pipeline_;
  size_t size_;
  int32_t bos_;
  bool adds_bos_;
  std::unordered_set<int32_t> ends_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufTokenizer(const GgufVocabulary& vocabulary,
                                                             PipelineSpec spec) {
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Pipeline> pipeline,
                         Pipeline::Make(std::move(spec), "tokenizer.ggml"));
  pipeline->ForgetListOfMerges();
  return std::unique_ptr<Tokenizer>(std::make_unique<OfKeys>(vocabulary, std::move(pipeline)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> GgufTokenizer(const Metadata& metadata) {
  SMELT_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(metadata));
  SMELT_ASSIGN_OR_RETURN(PipelineSpec spec, ReadSpec(metadata, vocabulary));
  return MakeGgufTokenizer(vocabulary, std::move(spec));
}

}  // namespace smelt
