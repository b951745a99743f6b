// Values as text: str(), repr(), json.dumps().
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/text/chat/value.h"

namespace smelt::jinja {

/// str(value). Throws where the text grows beyond the budget.
std::string ToText(Budget& budget, const Value& value);
std::string Repr(Budget& budget, const Value& value);
/// The shortest digits that read back the same, in Python's form ("1e+16", "0.1", "3.0").
std::string FloatText(double value);

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  std::optional<std::string> indent;  ///< of one level; empty: everything in one line
  std::string item_separator = ", ", key_separator = ": ";
};

/// json.dumps(value). Throws for what JSON cannot hold.
std::string ToJson(Budget& budget, const Value& value, const JsonStyle& style);

/// With &, <, >, ' and " replaced, as the filter `escape` does.
std::string EscapeMarkup(std::string_view text);

}  // namespace smelt::jinja
