// A regular expression and, after a zero byte, a text: the compiled table and PCRE2 must find the
// same matches wherever both accept the expression.
#include <optional>

#include "lib/base/utf8.h"
#include "lib/text/decoder.h"
#include "lib/text/regex.h"
#include "tests/fuzz/fuzz.h"

namespace {

constexpr size_t kLongestPattern = 80, kLongestText = 120;

/// All matches of at least one character, one after the other; nothing after a limit was reached.
std::optional<std::vector<std::pair<size_t, size_t>>> Matches(const smelt::Regex& regex,
                                                              std::string_view text) {
  std::vector<std::pair<size_t, size_t>> out;
  smelt::Regex::Memo memo;
  for (size_t at = 0; at < text.size();) {
    const auto match = regex.Find(text, at, memo);
    if (!match.ok()) {
      smelt::fuzz::RequireGoodMessage(match.status());
      return std::nullopt;
    }
    if (!match->has_value()) break;
    const auto [begin, end] = **match;
    smelt::fuzz::Require(begin >= at && begin <= end && end <= text.size(),
                         "a match lies in the text");
    if (end > begin) out.emplace_back(begin, end);
    at = end > begin         ? end
         : end < text.size() ? end + smelt::DecodeUtf8(text.substr(end, 4)).length
                             : end + 1;
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(all.find('\0'), all.size());
  if (end > kLongestPattern || size - end > kLongestText) return 0;
  const std::string pattern = RepairUtf8(all.substr(0, end));
  const std::string text = RepairUtf8(all.substr(std::min(end + 1, size)));
  const absl::StatusOr<Regex> any = Regex::Compile(pattern, RegexEngine::kAny);
  const absl::StatusOr<Regex> pcre = Regex::Compile(pattern, RegexEngine::kPcreOnly);
  if (!any.ok()) fuzz::RequireGoodMessage(any.status());
  if (!pcre.ok()) fuzz::RequireGoodMessage(pcre.status());
  if (!any.ok() || !pcre.ok()) return 0;
  const auto a = Matches(*any, text), b = Matches(*pcre, text);
  fuzz::Require(!a || !b || *a == *b, "the table and PCRE2 find the same matches");
  return 0;
}
