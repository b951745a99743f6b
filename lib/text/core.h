// The part of a published tokenizer that turns text into ids, without what the other files of its
// folder say.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/sentencepiece.h"
#include "lib/base/metadata.h"
#include "lib/text/components/added_tokens.h"
#include "lib/text/models/token_table.h"
#include "lib/text/published/tokenizer_json.h"
#include "lib/text/regex/regex.h"
#include "lib/text/vocabulary.h"

namespace smelt {

/// What decides about a vocabulary besides the core: rows, names, files beside it.
struct CoreWriteOptions {
  uint64_t rows = 0;  ///< as VocabularyOptions
  std::string architecture;
  std::string pre;
  std::vector<AddedToken> declared;  ///< added_tokens_decoder, added_tokens.json: for tokens that
                                     ///< the core does not have
};

class TokenizerCore {
 public:
  virtual ~TokenizerCore() = default;

  /// Appends the ids of valid UTF-8, without beginning and end tokens.
  virtual absl::Status EncodeText(std::string_view text, bool parse_special,
                                  std::vector<int32_t>& out) const = 0;
  virtual std::string Decode(const std::vector<int32_t>& ids, bool show_special) const = 0;
  virtual size_t size() const = 0;
  virtual std::string Piece(int32_t id) const = 0;
  /// Id of a token's text, added or not; -1.
  virtual int32_t Find(std::string_view text) const = 0;

  /// Tokens that the post-processor puts around a text.
  std::vector<int32_t> prefix, suffix;

  /// tokenizer.ggml.model, pre, tokens, scores, token_type, and what only this kind has; merges go
  /// to `after`.
  virtual absl::Status WriteTokens(const CoreWriteOptions& options, Metadata& out,
                                   Metadata& after) const = 0;
};

/// From a tokenizer.json (or what stands for one: vocab.json with merges.txt and the like).
/// `pieces`: the SentencePiece model beside it; where its pieces are those of the tokenizer.json,
/// the written vocabulary has its scores and types.
absl::StatusOr<std::unique_ptr<TokenizerCore>> MakePipelineCore(
    TokenizerJson json, std::string_view name, RegexEngine engine,
    std::optional<SentencePieceModel> pieces = std::nullopt);

/// From a SentencePiece model: the bytes of tokenizer.model.
absl::StatusOr<std::unique_ptr<TokenizerCore>> MakeSentencePieceCore(std::string_view bytes,
                                                                     std::string_view name);

}  // namespace smelt
