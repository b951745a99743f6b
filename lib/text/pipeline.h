// The pipeline of a tokenizer.json: added tokens, normalizer, pre-tokenizer, model, decoder.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/text_hash.h"
#include "lib/text/components/decoder.h"
#include "lib/text/components/normalizer.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/core.h"
#include "lib/text/models/blank_cuts.h"
#include "lib/text/models/model.h"
#include "lib/text/models/word_cache.h"

namespace smelt {

class Pipeline : public TokenizerCore {
 public:
  static absl::StatusOr<std::unique_ptr<Pipeline>> Make(TokenizerJson json, std::string_view name,
                                                        RegexEngine engine);

  absl::Status EncodeText(std::string_view text, bool parse_special,
                          std::vector<int32_t>& out) const override;
  std::string Decode(const std::vector<int32_t>& ids, bool show_special) const override;
  size_t size() const override { return size_; }
  std::string Piece(int32_t id) const override;
  int32_t Find(std::string_view text) const override;
  absl::Status WriteTokens(const CoreWriteOptions& options, Metadata& out,
                           Metadata& after) const override;

  void SetPieces(SentencePieceModel pieces);

  // For the writer.
  const std::optional<SentencePieceModel>& pieces() const { return pieces_; }
  const JsonValue& json() const { return rest_; }
  const TokenTable& tokens() const { return model_->tokens(); }
  const std::vector<AddedToken>& added() const { return added_; }
  const MergeList& merges() const { return merges_; }
  const MergeTable& merge_table() const { return *model_->merges(); }  ///< of a BPE
  const std::vector<double>& scores() const { return scores_; }
  /// Mistral's converter writes scores (zeros) for tekken vocabularies.
  bool writes_scores() const { return FlagOf(rest_, "writes_scores", false); }
  const Normalizer* normalizer() const { return normalizer_.get(); }

  /// Decodes as byte-level tokens do.
  bool UsesBytes() const;

 private:
  Pipeline() = default;
  absl::Status WriteWordPiece(const CoreWriteOptions& options, Metadata& out,
                              Metadata& after) const;
  absl::Status WriteUnigram(const CoreWriteOptions& options, Metadata& out, Metadata& after) const;
  absl::Status MakeModel(TokenizerJson& json);
  absl::Status AddTokens();
  absl::Status ReadPostProcessor(const JsonValue* json);
  /// Where text may be cut although the model sees it whole, because no merge crosses that place.
  void FindCuts();
  absl::Status EncodePiece(TextPiece piece, WordCache& cache, std::vector<int32_t>& out) const;
  absl::Status EncodeWord(std::string_view word, WordCache& cache, std::vector<int32_t>& out) const;

  JsonValue rest_;
  ModelKind kind_ = ModelKind::kBpe;
  std::vector<AddedToken> added_;
  MergeList merges_;
  std::vector<double> scores_;
  std::optional<SentencePieceModel> pieces_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  bool byte_level_ = false;  ///< words are mapped to the byte-level alphabet before the model
  std::unique_ptr<Model> model_;
  std::unique_ptr<Decoder> decoder_;
  AddedTokenMatcher raw_matcher_, normalized_matcher_;
  std::unordered_map<int32_t, const AddedToken*> added_by_id_;
  TextMap<std::string_view, int32_t> added_by_text_;
  std::unordered_map<int32_t, std::string> normalized_text_;  ///< what such added tokens decode to
  size_t size_ = 0;
  BlankCuts cuts_;
  mutable CachePool caches_;
};

}  // namespace smelt
