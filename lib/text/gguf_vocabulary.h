// tokenizer.ggml.*, checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "lib/text/added_tokens.h"
#include "lib/text/token_types.h"

namespace smelt {

/// The keys that every kind of vocabulary has. Pointers lead into the metadata.
struct GgufVocabulary {
  std::string model, pre;
  const std::vector<std::string>* tokens = nullptr;
  std::vector<TokenType> types;  ///< one per token
  int32_t bos = -1, eos = -1, unknown = -1, eot = -1, eom = -1;
  bool add_bos = false, add_eos = false;
  std::vector<AddedToken> added;  ///< control, unknown and user-defined tokens with their flags
  size_t size() const { return tokens->size(); }
};

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const Metadata& metadata);

/// tokenizer.ggml.scores, one per token, finite.
absl::StatusOr<std::vector<float>> ReadScores(const Metadata& metadata, size_t count);

/// Bytes of a precompiled charsmap under `key`; empty when absent.
absl::StatusOr<std::string> ReadBytes(const Metadata& metadata, const std::string& key);

}  // namespace smelt
