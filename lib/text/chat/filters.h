// The filters by what they work on: each file has a table of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/text/chat/builtins.h"

namespace smelt::jinja {

struct NamedFilter {
  std::string_view name;
  Filter filter;
};

std::span<const NamedFilter> ValueFilters();
std::span<const NamedFilter> NumberFilters();
std::span<const NamedFilter> TextFilters();
std::span<const NamedFilter> SequenceFilters();

/// The value as it is printed.
std::string TextOf(Renderer& renderer, const Value& value);
bool IsMarkup(const Value& value);
/// A text that is markup where `value` is.
Value TextLike(Renderer& renderer, const Value& value, std::string text);

/// A whole number as Python's int() reads it; nothing where the text is none.
std::optional<int64_t> ParseInteger(std::string_view text, int base);

}  // namespace smelt::jinja
