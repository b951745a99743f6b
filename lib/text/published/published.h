// A published tokenizer with everything its folder says: special tokens, flags, chat templates.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/json.h"
#include "lib/text/pipeline.h"
#include "lib/text/vocabulary.h"

namespace smelt {

/// What a folder says besides the spec.
struct TokenizerFolder {
  std::string path;                ///< for messages
  uint64_t rows = 0;               ///< of the model's embedding; 0: not known
  std::vector<std::string> notes;  ///< for whoever writes the vocabulary
  JsonValue config;                ///< tokenizer_config.json; null when absent
  JsonValue special_map;           ///< special_tokens_map.json; null when absent
  JsonValue model_config;  ///< config.json or params.json, where the tokenizer's own files leave
                           ///< open what they are
  bool has_tokenizer_json = false;
  bool lists_added = false;  ///< tokenizer_config.json has added_tokens_decoder
  bool zero_scores = false;  ///< Mistral's converter writes scores, zeros, for tekken vocabularies
  std::optional<SentencePieceModel> pieces;  ///< beside a tokenizer.json that has the same tokens
  std::vector<AddedToken> declared;          ///< added_tokens_decoder, or added_tokens.json
  std::vector<AddedToken> rowless;  ///< added tokens that the embedding has no row for: left out
  std::vector<std::pair<std::string, std::string>>
      special_defaults;  ///< "bos_token" and its text where `config` does not have the key
  std::optional<std::string> chat_template_file;  ///< chat_template.jinja
  std::vector<std::pair<std::string, std::string>>
      additional_templates;      ///< additional_chat_templates/NAME.jinja
  JsonValue chat_template_json;  ///< chat_template.json
};

/// Special tokens and flags in the order in which they are written.
struct SpecialTokens {
  std::vector<std::pair<std::string, std::string>>
      texts;                                      ///< "bos" -> "<s>"; from tokenizer_config.json
  std::vector<std::pair<std::string, bool>> add;  ///< "bos" -> true
};
SpecialTokens ReadSpecialTokens(const TokenizerFolder& folder,
                                const std::vector<PostProcessorStep>& post_processors);

/// An error when a token that begins or ends texts, of a turn or the whole, by any of the folder's
/// files, is one of those left out for want of a row.
absl::Status CheckBoundaryRows(const TokenizerFolder& folder, const SpecialTokens& special);

/// tokenizer.chat_template*, appended.
absl::Status WriteChatTemplates(const TokenizerFolder& folder, Metadata& out);

class FolderTokenizer : public PublishedTokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<FolderTokenizer>> Make(std::unique_ptr<Pipeline> pipeline,
                                                               TokenizerFolder folder);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const override;
  std::string Decode(const std::vector<int32_t>& ids, const DecodeOptions& options) const override;
  size_t size() const override { return pipeline_->size(); }
  std::string Piece(int32_t id) const override { return pipeline_->Piece(id); }
  bool adds_bos() const override {
    return bos_ >= 0 && !pipeline_->prefix.empty() && pipeline_->prefix.front() == bos_;
  }
  int32_t bos() const override { return bos_; }
  std::string RowlessPiece(int64_t id) const override;
  bool ends_generation(int32_t id) const override;
  absl::Status WriteVocabulary(const VocabularyOptions& options, Metadata& out,
                               std::vector<std::string>& notes) const override;

 private:
  FolderTokenizer(std::unique_ptr<Pipeline> pipeline, TokenizerFolder folder)
      : pipeline_(std::move(pipeline)), folder_(std::move(folder)) {}
  absl::Status Resolve();
  const AddedToken* FindRowless(std::string_view text) const;
  absl::Status WriteAroundText(Metadata& out) const;
  absl::StatusOr<int32_t> SpecialId(const std::string& kind,
                                    const VocabularyOptions& options) const;

  std::unique_ptr<Pipeline> pipeline_;
  TokenizerFolder folder_;
  SpecialTokens special_;
  int32_t bos_ = -1, eos_ = -1;
};

}  // namespace smelt
