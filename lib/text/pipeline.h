// The engine: runs a spec. Added tokens, normalizer, pre-tokenizer, model, decoder.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/text_hash.h"
#include "lib/text/components/added_tokens.h"
#include "lib/text/components/decoder.h"
#include "lib/text/components/normalizer.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/components/sentencepiece_decoder.h"
#include "lib/text/models/metaspace_cuts.h"
#include "lib/text/models/model.h"
#include "lib/text/models/word_cache.h"
#include "lib/text/spec/pipeline_spec.h"
#include "lib/text/tokenizer.h"

namespace smelt {

/// Thread-safe after construction.
class Pipeline {
 public:
  /// `name` is the file's name for messages. kInvalidInput for a spec that contradicts itself.
  static absl::StatusOr<std::unique_ptr<Pipeline>> Make(PipelineSpec spec, std::string_view name,
                                                        RegexEngine engine = RegexEngine::kAny);
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  /// Ids of any text (bytes that are no UTF-8 become U+FFFD), with the tokens around it as asked.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const;
  /// Appends the ids of valid UTF-8, without the tokens around a text. Texts of special tokens are
  /// those tokens where `parse_special` is set.
  absl::Status EncodeText(std::string_view text, bool parse_special,
                          std::vector<int32_t>& out) const;
  /// `raw`: bytes that are no UTF-8 stay as they are. Ids that there are not are left out.
  std::string Decode(const std::vector<int32_t>& ids, bool show_special, bool raw = false) const;

  size_t size() const { return size_; }  ///< highest id + 1
  /// The vocabulary's own text of an id; empty where there is none.
  std::string Piece(int32_t id) const;
  /// Id of a token's text, added or not; -1.
  int32_t Find(std::string_view text) const;
  const AddedToken* FindAdded(int32_t id) const;

  const PipelineSpec& spec() const { return spec_; }
  const MergeTable* merges() const { return model_->merges(); }
  /// Of the spec: the engine has them in a table of its own, only a writer needs the list.
  void ForgetListOfMerges();

  /// Tokens that the post-processors put around a text.
  std::vector<int32_t> prefix, suffix;

 private:
  explicit Pipeline(PipelineSpec spec) : spec_(std::move(spec)) {}
  absl::Status Build(RegexEngine engine);
  absl::Status AddTokens();
  absl::Status ReadPostProcessors();
  /// Where text may be cut although the model sees it whole, because no merge crosses that place.
  void FindCuts();
  absl::Status EncodePiece(TextPiece piece, WordCache& cache, std::vector<int32_t>& out) const;
  absl::Status EncodeWord(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const;
  std::string DecodeAsSentencePiece(const std::vector<int32_t>& ids, bool show_special,
                                    bool raw) const;

  PipelineSpec spec_;
  ByteTrie user_defined_;  ///< pieces that SentencePiece looks for before anything else
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<Model> model_;
  Decoder decoder_;
  const SentencePieceDecoder* sentencepiece_ = nullptr;  ///< of the spec; instead of decoder_
  Charsmap denormalizer_;                                ///< its rules
  std::unordered_map<int32_t, char> byte_of_;            ///< of byte pieces
  AddedTokenMatcher raw_matcher_, normalized_matcher_;
  std::unordered_map<int32_t, const AddedToken*> added_by_id_;
  TextMap<std::string_view, int32_t> added_by_text_;
  std::unordered_map<int32_t, std::string> normalized_text_;  ///< what such added tokens decode to
  size_t size_ = 0;
  MetaspaceCuts cuts_;
  mutable CachePool caches_;
};

}  // namespace smelt
