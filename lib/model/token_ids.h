// Token ids that a model's configuration files name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/config.h"
#include "lib/text/gguf/vocabulary_writer.h"

namespace smelt {

struct TokenIds {
  ConfigTokenIds named;       ///< by config.json, in the part for text or outside of it
  std::vector<int64_t> ends;  ///< of texts: generation_config.json's, else config.json's
};

/// `generation`: generation_config.json, or nullptr. `rows` of the embedding, 0 where unknown. What
/// is no id of the vocabulary (text, fractions, out of range) is left out; `notes` name it. An
/// error where a token that begins or ends texts is one that `tokenizer` (may be null) has left out
/// for want of a row.
absl::StatusOr<TokenIds> ReadTokenIds(const Config& config, const JsonValue* generation,
                                      uint64_t rows, const PublishedTokenizer* tokenizer,
                                      std::vector<std::string>& notes);

}  // namespace smelt
