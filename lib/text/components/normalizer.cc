#include "lib/text/components/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/unicode.h"
#include "lib/base/utf8.h"
#include "lib/text/components/charsmap.h"
#include "lib/text/components/sentencepiece_normalizer.h"
#include "lib/text/components/text_start.h"

namespace smelt {
namespace {

template <typename F>  // F(code point, text of it, out)
void ForEach(std::string& text, size_t& start, const F& append) {
  std::string out;
  out.reserve(text.size());
  size_t new_start = 0;
  for (size_t i = 0; i < text.size();) {
    if (i == start) new_start = out.size();
    const Utf8Char c = DecodeUtf8(std::string_view(text).substr(i, 4));
    append(c.code_point, std::string_view(text).substr(i, c.length), out);
    i += c.length;
  }
  start = start < text.size() ? new_start : out.size();
  text = std::move(out);
}

void ApplyForm(std::string& text, size_t& start, NormalForm form) {
  start = StartAfterForm(text, start, form);
  text = Normalize(text, form);
}

void RemoveFlagged(std::string& text, size_t& start, uint32_t flags) {
  ForEach(text, start, [&](char32_t c, std::string_view raw, std::string& out) {
    if ((CodePointFlags(c) & flags) == 0) out.append(raw);
  });
}

void ApplyLowercase(std::string& text, size_t& start) {
  ForEach(text, start,
          [](char32_t c, std::string_view, std::string& out) { AppendLowercase(out, c); });
}

void StripSpaces(std::string& text, size_t& start, bool left, bool right) {
  size_t begin = 0, end = text.size();
  const auto space = [&](size_t i) {
    return (CodePointFlags(DecodeUtf8(std::string_view(text).substr(i, 4)).code_point) &
            kUnicodeSpace) != 0;
  };
  while (left && begin < end && space(begin))
    begin += DecodeUtf8(std::string_view(text).substr(begin, 4)).length;
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xc0) == 0x80) --last;
    if (!space(last)) break;
    end = last;
  }
  text = text.substr(begin, end - begin);
  start = std::min(start - std::min(start, begin), text.size());
}

// Chinese characters as BERT's original code lists them.
bool IsChinese(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

void ApplyBert(const BertNormalizer& rules, std::string& text, size_t& start) {
  if (rules.clean_text) {
    ForEach(text, start, [](char32_t c, std::string_view raw, std::string& out) {
      const uint32_t flags = CodePointFlags(c);
      if (flags & kUnicodeBertRemoved) return;
      if (flags & kUnicodeSpace) {
        out.push_back(' ');
      } else {
        out.append(raw);
      }
    });
  }
  if (rules.handle_chinese_chars) {
    ForEach(text, start, [](char32_t c, std::string_view raw, std::string& out) {
      const bool spaced = IsChinese(c);
      if (spaced) out.push_back(' ');
      out.append(raw);
      if (spaced) out.push_back(' ');
    });
  }
  if (rules.strip_accents) {
    ApplyForm(text, start, NormalForm::kNfd);
    RemoveFlagged(text, start, kUnicodeBertMark);
  }
  if (rules.lowercase) ApplyLowercase(text, start);
}

// What SentencePiece calls nmt rules, without its normalization: some control characters vanish,
// other blanks become spaces.
void ApplyNmt(std::string& text, size_t& start) {
  ForEach(text, start, [](char32_t c, std::string_view raw, std::string& out) {
    const bool removed = (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
                         c == 0x8f || c == 0x9f;
    const bool blank = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                       (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xfeff || c == 0xfffd;
    if (removed) return;
    if (blank) {
      out.push_back(' ');
    } else {
      out.append(raw);
    }
  });
}

// How the library counts what a charsmap changes, as far as that decides about the start: of a text
// that becomes longer the last characters are new, of one that becomes shorter the last character
// before takes the rest; with none before, the rest is forgotten.
class CharsmapChanges {
 public:
  explicit CharsmapChanges(size_t start) : wanted_(start) {}
  void Add(std::string_view from, std::string_view to) {
    if (wanted_ == 0) return;
    const int before = CountCharacters(from), after = CountCharacters(to);
    for (size_t i = 0, n = 0; i < to.size(); ++n) {
      const Utf8Char c = DecodeUtf8(to.substr(i, 4));
      const bool fresh = static_cast<int>(n) >= before;
      changes_.push_back({c.code_point, fresh ? 1 : 0});
      if (!fresh) --wanted_;
      i += c.length;
      if (wanted_ == 0) break;
    }
    if (after < before && !changes_.empty()) changes_.back().change += after - before;
  }
  const std::vector<NormalizedChar>& changes() const { return changes_; }

 private:
  static int CountCharacters(std::string_view text) {
    return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
  }
  size_t wanted_;  // every change that is no new character takes a byte at least
  std::vector<NormalizedChar> changes_;
};

// By grapheme, when one is shorter than six bytes: the shortest rule that it begins with replaces
// all of it. Else by character.
void ApplyCharsmap(const Charsmap& map, std::string& text, size_t& start) {
  std::string out;
  out.reserve(text.size());
  CharsmapChanges changes(start);
  const auto put = [&](std::string_view from, std::string_view to) {
    out.append(to);
    changes.Add(from, to);
  };
  const auto flush = [&](std::string_view grapheme) {
    if (grapheme.size() < 6) {
      if (const Charsmap::Rule rule = map.Shortest(grapheme); rule.length > 0) {
        put(grapheme, rule.replacement);
        return;
      }
    }
    for (size_t i = 0; i < grapheme.size();) {
      const std::string_view c = grapheme.substr(i, DecodeUtf8(grapheme.substr(i, 4)).length);
      const Charsmap::Rule rule = map.Shortest(c);
      put(c, rule.length > 0 ? rule.replacement : c);
      i += c.size();
    }
  };
  size_t begin = 0;
  int32_t state = 0;
  char32_t previous = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(std::string_view(text).substr(i, 4));
    if (i > 0 && utf8proc_grapheme_break_stateful(static_cast<int32_t>(previous),
                                                  static_cast<int32_t>(c.code_point), &state)) {
      flush(std::string_view(text).substr(begin, i - begin));
      begin = i;
    }
    previous = c.code_point;
    i += c.length;
  }
  if (begin < text.size()) flush(std::string_view(text).substr(begin));
  start = StartAfter(text, start, changes.changes());
  text = std::move(out);
}

using Function = std::function<absl::Status(std::string& text, size_t& start)>;

// A step that cannot fail.
template <typename F>
Function Always(F apply) {
  return [apply = std::move(apply)](std::string& text, size_t& start) {
    apply(text, start);
    return absl::OkStatus();
  };
}

// What runs a step of a spec.
class StepMaker {
 public:
  StepMaker(RegexEngine engine, const ByteTrie& user_defined)
      : engine_(engine), user_defined_(user_defined) {}

  absl::StatusOr<Function> operator()(const UnicodeForm& step) const {
    return Always([form = step.form](auto& text, auto& start) { ApplyForm(text, start, form); });
  }
  absl::StatusOr<Function> operator()(const Lowercase&) const { return Always(ApplyLowercase); }
  absl::StatusOr<Function> operator()(const Nmt&) const { return Always(ApplyNmt); }
  absl::StatusOr<Function> operator()(const StripAccents&) const {
    return Always(
        [](auto& text, auto& start) { RemoveFlagged(text, start, kUnicodeStripAccents); });
  }
  absl::StatusOr<Function> operator()(const BertNormalizer& step) const {
    return Always([step](auto& text, auto& start) { ApplyBert(step, text, start); });
  }
  absl::StatusOr<Function> operator()(const Strip& step) const {
    return Always(
        [step](auto& text, auto& start) { StripSpaces(text, start, step.left, step.right); });
  }
  absl::StatusOr<Function> operator()(const Prepend& step) const {
    return Always([prefix = step.text](auto& text, auto& start) {
      if (!text.empty()) text.insert(0, prefix);
      if (start > 0) start += prefix.size();
    });
  }
  absl::StatusOr<Function> operator()(const Replace& step) const {
    SMELT_ASSIGN_OR_RETURN(Regex pattern, CompilePattern(step.pattern, engine_));
    auto shared = std::make_shared<const Regex>(std::move(pattern));
    return [shared, content = step.content](std::string& text, size_t& start) {
      return ReplaceAll(*shared, content, text, start);
    };
  }
  absl::StatusOr<Function> operator()(const Precompiled& step) const {
    SMELT_ASSIGN_OR_RETURN(Charsmap map, Charsmap::Parse(step.charsmap));
    auto shared = std::make_shared<const Charsmap>(std::move(map));
    return Always([shared](auto& text, auto& start) { ApplyCharsmap(*shared, text, start); });
  }
  absl::StatusOr<Function> operator()(const SentencePieceNormalizer& step) const {
    SMELT_ASSIGN_OR_RETURN(Charsmap map, Charsmap::Parse(step.charsmap));
    auto shared = std::make_shared<const Charsmap>(std::move(map));
    SentencePieceNormalizer rules = step;
    rules.charsmap.clear();
    return Always([rules, shared, pieces = &user_defined_](auto& text, auto& start) {
      const bool prefix = rules.dummy_prefix == PrependScheme::kAlways ||
                          (rules.dummy_prefix == PrependScheme::kFirst && start > 0 &&
                           !text.starts_with(' ') && !text.starts_with(kMetaspace));
      text = NormalizeAsSentencePiece(text, rules, *shared, *pieces, prefix);
    });
  }

 private:
  RegexEngine engine_;
  const ByteTrie& user_defined_;
};

}  // namespace

absl::Status ReplaceAll(const Regex& pattern, std::string_view content, std::string& text,
                        size_t& start) {
  std::string out;
  size_t done = 0, new_start = 0;
  SMELT_RETURN_IF_ERROR(pattern.ForEachMatch(text, [&](Regex::Match match) {
    out.append(text, done, match.begin - done);
    if (done < start) new_start = out.size() - (match.begin - std::min(match.begin, start));
    out.append(content);
    // What is put in lies where the last character of the match lay.
    if (start > 0 && (match.end == 0 || match.end - 1 < start)) new_start = out.size();
    done = match.end;
    return absl::OkStatus();
  }));
  if (done == 0 && out.empty()) return absl::OkStatus();
  if (done < start) new_start = out.size() + start - done;
  out.append(text, done);
  start = new_start;
  text = std::move(out);
  return absl::OkStatus();
}

absl::StatusOr<Regex> CompilePattern(const Pattern& pattern, RegexEngine engine) {
  return pattern.is_regex ? Regex::Compile(pattern.text, engine) : Regex::Literal(pattern.text);
}

absl::StatusOr<Normalizer> Normalizer::Make(std::span<const NormalizerStep> steps,
                                            RegexEngine engine, const ByteTrie& user_defined) {
  Normalizer out;
  for (const NormalizerStep& step : steps) {
    SMELT_ASSIGN_OR_RETURN(Function function, std::visit(StepMaker(engine, user_defined), step));
    out.steps_.push_back(std::move(function));
  }
  return out;
}

absl::Status Normalizer::Apply(std::string& text, size_t& start) const {
  for (const Step& step : steps_) SMELT_RETURN_IF_ERROR(step(text, start));
  return absl::OkStatus();
}

}  // namespace smelt
