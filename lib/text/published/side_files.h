// What stands beside a tokenizer in its folder, and which of it counts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/json.h"
#include "lib/text/published/tokenizer_folder.h"

namespace smelt {

absl::StatusOr<JsonValue> ReadJsonFile(const std::string& path);

/// tokenizer_config.json, special_tokens_map.json, added_tokens.json and the chat templates. As in
/// transformers, the two in the middle are of the time before tokenizer_config.json listed the
/// added tokens: where it does, they do not count; where it does not, special_tokens_map.json comes
/// first.
absl::Status ReadSideFiles(const std::string& folder, TokenizerFolder& out);

/// Special tokens that the folder only names, with the ids from `next` on, as transformers numbers
/// them.
std::vector<AddedToken> NewNamedTokens(const TokenizerFolder& folder, int32_t next,
                                       const std::function<bool(const std::string&)>& known);

/// Tokens that the folder's other files declare or name and a tokenizer.json does not have, or has
/// with other flags. `file` names the tokenizer.json.
absl::Status AddDeclared(TokenizerFolder& folder, const std::string& file, PipelineSpec& spec);

/// Moves the added tokens whose ids go on behind the embedding's last row to `folder.rowless`, and
/// notes them: the model can neither be given nor give them. `vocabulary`: ids that the model's own
/// tokens take. kInvalidInput when others lie between.
absl::Status LeaveOutRowless(TokenizerFolder& folder, size_t vocabulary,
                             std::vector<AddedToken>& added);

}  // namespace smelt
