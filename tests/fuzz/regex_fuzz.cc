// A regular expression and, after a zero byte, a text: the compiled table and PCRE2 must find the
// same matches wherever both accept the expression.
#include <optional>

#include "lib/text/components/decoder.h"
#include "lib/text/regex/regex.h"
#include "tests/fuzz/fuzz.h"

namespace {

constexpr size_t kLongestPattern = 80, kLongestText = 120;

/// All matches, one after the other; nothing after a limit was reached.
std::optional<std::vector<std::pair<size_t, size_t>>> Matches(const smelt::Regex& regex,
                                                              std::string_view text) {
  std::vector<std::pair<size_t, size_t>> out;
  size_t done = 0;
  const absl::Status status = regex.ForEachMatch(text, [&](smelt::Regex::Match match) {
    smelt::fuzz::Require(
        match.begin >= done && match.begin <= match.end && match.end <= text.size(),
        "a match lies in the text, behind the one before");
    done = match.end;
    out.emplace_back(match.begin, match.end);
    return absl::OkStatus();
  });
  if (status.ok()) return out;
  smelt::fuzz::RequireGoodMessage(status);
  return std::nullopt;
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
