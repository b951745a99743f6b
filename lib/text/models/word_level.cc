// WordLevel: whole words.
#include "lib/base/status.h"
#include "lib/text/models/model.h"

namespace smelt {
namespace {

class WordLevel : public Model {
 public:
  WordLevel(const TokenTable& tokens, int32_t unk) : tokens_(tokens), unk_(unk) {}
  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    int32_t id = tokens_.Find(word);
    if (id < 0) id = unk_;
    if (id < 0)
      return Error(ErrorCode::kInvalidInput, "the word \"", Escape(word, 40),
                   "\" is not in the vocabulary, and there is no unknown token");
    out.push_back(id);
    return absl::OkStatus();
  }

 private:
  const TokenTable& tokens_;
  int32_t unk_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeWordLevel(const WordLevelModel& spec,
                                                     const ModelParts& parts) {
  return std::unique_ptr<Model>(
      std::make_unique<WordLevel>(parts.tokens, parts.tokens.Find(spec.unk_token)));
}

}  // namespace smelt
