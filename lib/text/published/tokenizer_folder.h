// What a published tokenizer's folder says besides the spec: flags, special tokens, chat templates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/json.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

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

/// Special tokens and flags in the order in which GGUF keys have them.
struct SpecialTokens {
  std::vector<std::pair<std::string, std::string>>
      texts;                                      ///< "bos" -> "<s>"; from tokenizer_config.json
  std::vector<std::pair<std::string, bool>> add;  ///< "bos" -> true

  /// Of a kind; empty when there is none.
  std::string Text(std::string_view kind) const;
};
SpecialTokens ReadSpecialTokens(const TokenizerFolder& folder,
                                const std::vector<PostProcessorStep>& post_processors);

/// An error when a token that begins or ends texts, of a turn or the whole, by any of the folder's
/// files, is one of those left out for want of a row.
absl::Status CheckBoundaryRows(const TokenizerFolder& folder, const SpecialTokens& special);

}  // namespace smelt
