// Python's operators on values.
#pragma once

#include <string_view>

#include "lib/text/chat/value.h"

namespace smelt::jinja {

/// + - * / // % **; throws Python's errors.
Value Binary(Budget& budget, std::string_view op, const Value& left, const Value& right);
/// - and +.
Value Negated(const Value& value);
Value Plus(const Value& value);
/// == != < <= > >= in, not in.
bool Compare(Budget& budget, std::string_view op, const Value& left, const Value& right);

/// "..." % values.
std::string FormatPercent(Budget& budget, std::string_view format, const Value& values);
/// "...".format(...).
std::string FormatBraces(Renderer& renderer, std::string_view format, const Arguments& arguments);

}  // namespace smelt::jinja
