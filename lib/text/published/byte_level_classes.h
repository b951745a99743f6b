// The classes of transformers that build a byte-level pipeline around vocab.json and merges.txt:
// the two files do not say which pipeline is theirs.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/json.h"

namespace smelt {

struct ByteLevelClass {
  std::string pipeline;  ///< a tokenizer.json without vocabulary, merges and added tokens
  /// "X_token" and its text where the folder does not name one.
  std::vector<std::pair<std::string, std::string>> special;
};

/// The class that a folder names: `tokenizer_class` of tokenizer_config.json, then that of
/// config.json, then the one of its `model_type`; GPT-2's when nothing says anything. An error for
/// the others, whose pipelines are not known. `folder` is for messages.
absl::StatusOr<ByteLevelClass> FindByteLevelClass(const JsonValue& tokenizer_config,
                                                  const JsonValue& model_config,
                                                  const std::string& folder);

}  // namespace smelt
