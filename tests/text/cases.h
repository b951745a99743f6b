// Published tokenizers and the ids that their own software gives.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/json.h"

namespace smelt::testing {

struct TokenizerCase {
  std::string text;
  std::vector<int32_t> ids, ids_special;
  std::string decoded;  ///< of ids, special tokens shown
  std::optional<std::string> decoded_skip_special;
};

/// cases.jsonl of a folder.
std::vector<TokenizerCase> ReadCases(const std::string& folder);

/// `parse_special` of info.json.
bool ParsesSpecial(const std::string& folder);

JsonValue ReadJson(const std::string& path);
std::vector<int32_t> IntList(const JsonValue& list);

}  // namespace smelt::testing
