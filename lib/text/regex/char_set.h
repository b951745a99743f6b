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
/// The set and the other letter cases of its characters, one character for one (Unicode's simple
/// case folding): k, K and U+212A.
CharSet FoldCase(const CharSet& set);
/// Whether a character is the same as several others when letter case does not count (U+00DF and
/// ss), and whether two are the beginning of such several.
bool FoldsToSeveral(char32_t c);
bool FoldTogether(char32_t first, char32_t second);

}  // namespace smelt
