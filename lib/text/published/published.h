// A published tokenizer with everything its folder says: special tokens, flags, chat templates.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/json.h"
#include "lib/text/core.h"
#include "lib/text/vocabulary.h"

namespace smelt {

/// What stands beside the core.
struct TokenizerFolder {
  std::string path;                ///< for messages
  uint64_t rows = 0;               ///< of the model's embedding; 0: not known
  std::vector<std::string> notes;  ///< for whoever writes the vocabulary
  JsonValue config;                ///< tokenizer_config.json; null when absent
  JsonValue model_config;    ///< config.json or params.json, where the tokenizer's own files leave
                             ///< open what they are
  JsonValue post_processor;  ///< of tokenizer.json; null when absent
  bool has_tokenizer_json = false;
  bool lists_added = false;          ///< tokenizer_config.json has added_tokens_decoder
  std::vector<AddedToken> added;     ///< added_tokens of tokenizer.json
  std::vector<AddedToken> declared;  ///< added_tokens_decoder, or added_tokens.json
  std::vector<AddedToken> rowless;   ///< added tokens that the embedding has no row for: left out
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
absl::StatusOr<SpecialTokens> ReadSpecialTokens(const TokenizerFolder& folder);

/// tokenizer.chat_template*, appended.
absl::Status WriteChatTemplates(const TokenizerFolder& folder, Metadata& out);

class FolderTokenizer : public PublishedTokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<FolderTokenizer>> Make(std::unique_ptr<TokenizerCore> core,
                                                               TokenizerFolder folder);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const override;
  std::string Decode(const std::vector<int32_t>& ids, const DecodeOptions& options) const override;
  size_t size() const override { return core_->size(); }
  std::string Piece(int32_t id) const override { return core_->Piece(id); }
  bool adds_bos() const override {
    return bos_ >= 0 && !core_->prefix.empty() && core_->prefix.front() == bos_;
  }
  int32_t bos() const override { return bos_; }
  bool ends_generation(int32_t id) const override;
  absl::Status WriteVocabulary(const VocabularyOptions& options, Metadata& out,
                               std::vector<std::string>& notes) const override;

 private:
  FolderTokenizer(std::unique_ptr<TokenizerCore> core, TokenizerFolder folder)
      : core_(std::move(core)), folder_(std::move(folder)) {}
  absl::Status Resolve();
  const AddedToken* FindRowless(std::string_view text) const;
  absl::Status WriteAroundText(Metadata& out) const;
  absl::StatusOr<int32_t> SpecialId(const std::string& kind,
                                    const VocabularyOptions& options) const;

  std::unique_ptr<TokenizerCore> core_;
  TokenizerFolder folder_;
  SpecialTokens special_;
  int32_t bos_ = -1, eos_ = -1;
};

/// Texts at which generation ends whatever the keys say.
bool LooksLikeEnd(std::string_view text);

}  // namespace smelt
