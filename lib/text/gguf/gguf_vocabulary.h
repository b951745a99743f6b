// tokenizer.ggml.*, checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "lib/text/components/added_tokens.h"
#include "lib/text/gguf/token_types.h"

namespace smelt {

/// tokenizer.ggml.model of Gemma 4: SentencePiece-like, but with merges as byte-level BPE has them.
inline constexpr std::string_view kGemma4 = "gemma4";

/// The keys that every kind of vocabulary has. Pointers lead into the metadata.
struct GgufVocabulary {
  std::string model, pre;
  const std::vector<std::string>* tokens = nullptr;
  std::vector<PieceType> types;  ///< one per token
  int32_t bos = -1, eos = -1, unknown = -1, eot = -1, eom = -1;
  std::vector<int32_t> ends;  ///< of texts, besides those and what looks like an end
  bool add_bos = false, add_eos = false;
  std::vector<AddedToken> added;  ///< control, unknown and user-defined tokens with their flags
  size_t size() const { return tokens->size(); }
};

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const Metadata& metadata);

/// Ids at which a generated text ends: those that keys name, and tokens of a type that look like
/// it.
std::unordered_set<int32_t> EndsOf(const GgufVocabulary& vocabulary);

/// tokenizer.ggml.scores, one per token, finite.
absl::StatusOr<std::vector<float>> ReadScores(const Metadata& metadata, size_t count);

/// The refusal of a smelt.tokenizer.unknown_token that is no token.
absl::Status NoUnknownToken(std::string_view text);

/// Bytes of a precompiled charsmap under `key`; empty when absent.
absl::StatusOr<std::string> ReadBytes(const Metadata& metadata, const std::string& key);

}  // namespace smelt
