// Sets of code points, as sorted ranges.
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace smelt {

/// Inclusive, ascending, not touching.
using CharSet = std::vector<std::pair<char32_t, char32_t>>;

CharSet Union(const CharSet& a, const CharSet& b);
CharSet Complement(const CharSet& set);
bool Contains(const CharSet& set, char32_t c);

/// \p{NAME} ("L", "Letter", "Greek"; letter case, blanks and underscores do not count) and
/// "[:name:]"; nothing for names that we do not know.
std::optional<CharSet> PropertySet(std::string_view name);
/// \s \d \w (lower-case letter).
CharSet EscapeSet(char letter);
/// \w as Rust's regex crate has it, which the library uses in its Whitespace step and around added
/// tokens: alphabetic, marks, decimal digits, connectors, joiners.
const CharSet& RustWordSet();
/// Both letter cases of every ASCII letter, and what else folds to them (U+017F to s, U+212A to k).
/// nullopt when the set has cased letters beyond ASCII, unless it is closed under case anyway.
std::optional<CharSet> FoldAscii(const CharSet& set);

}  // namespace smelt
