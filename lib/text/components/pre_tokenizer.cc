#include "lib/text/components/pre_tokenizer.h"

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/unicode.h"
#include "lib/base/utf8.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/components/normalizer.h"
#include "lib/text/regex/char_set.h"

namespace smelt {

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// Joins and drops the alternating stretches "matches" and "does not match" of one text, in order,
// as a behaviour asks.
class Joiner {
 public:
  Joiner(TextPiece whole, SplitBehavior behavior, EmitPiece emit)
      : whole_(whole), behavior_(behavior), emit_(emit) {}

  absl::Status Add(size_t begin, size_t end, bool match) {
    bool joins = false;
    switch (behavior_) {
      case SplitBehavior::kRemoved:
        return match ? absl::OkStatus() : Send(begin, end);
      case SplitBehavior::kIsolated:
        return Send(begin, end);
      case SplitBehavior::kContiguous:
        joins = held_ && match == held_match_;
        break;
      case SplitBehavior::kMergedWithPrevious:
        joins = held_ && match && !held_match_;
        break;
      case SplitBehavior::kMergedWithNext:
        joins = held_ && !match && held_match_;
        break;
    }
    if (joins) {
      held_end_ = end;
    } else {
      SMELT_RETURN_IF_ERROR(Finish());
      held_ = true;
      held_begin_ = begin;
      held_end_ = end;
    }
    held_match_ = match;
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (!held_) return absl::OkStatus();
    held_ = false;
    return Send(held_begin_, held_end_);
  }

 private:
  absl::Status Send(size_t begin, size_t end) {
    if (begin == end) return absl::OkStatus();
    return emit_(whole_.Part(begin, end));
  }

  TextPiece whole_;
  SplitBehavior behavior_;
  EmitPiece emit_;
  bool held_ = false, held_match_ = false;
  size_t held_begin_ = 0, held_end_ = 0;
};

absl::Status SplitByRegex(const Regex& regex, bool invert, SplitBehavior behavior, TextPiece piece,
                          EmitPiece emit) {
  Joiner joiner(piece, behavior, emit);
  size_t done = 0;
  SMELT_RETURN_IF_ERROR(regex.ForEachMatch(piece.text, [&](Regex::Match match) {
    if (match.begin > done) SMELT_RETURN_IF_ERROR(joiner.Add(done, match.begin, invert));
    done = match.end;
    return joiner.Add(match.begin, match.end, !invert);
  }));
  if (done < piece.text.size()) SMELT_RETURN_IF_ERROR(joiner.Add(done, piece.text.size(), invert));
  return joiner.Finish();
}

// Every character with one of the flags is a match of its own.
absl::Status SplitByFlags(uint32_t flags, SplitBehavior behavior, TextPiece piece, EmitPiece emit) {
  Joiner joiner(piece, behavior, emit);
  size_t done = 0;
  for (size_t i = 0; i < piece.text.size();) {
    const Utf8Char c = DecodeUtf8(piece.text.substr(i, 4));
    if (CodePointFlags(c.code_point) & flags) {
      if (i > done) SMELT_RETURN_IF_ERROR(joiner.Add(done, i, false));
      SMELT_RETURN_IF_ERROR(joiner.Add(i, i + c.length, true));
      done = i + c.length;
    }
    i += c.length;
  }
  if (done < piece.text.size()) SMELT_RETURN_IF_ERROR(joiner.Add(done, piece.text.size(), false));
  return joiner.Finish();
}

using Function = std::function<absl::Status(TextPiece, EmitPiece)>;

absl::StatusOr<Function> MakeByteLevel(const ByteLevel& step, RegexEngine engine, bool map_bytes) {
  std::shared_ptr<const Regex> regex;
  if (step.use_regex) {
    SMELT_ASSIGN_OR_RETURN(Regex compiled, Regex::Compile(kGpt2Pattern, engine));
    regex = std::make_shared<const Regex>(std::move(compiled));
  }
  const bool prefix = step.add_prefix_space;
  return [=](TextPiece piece, EmitPiece emit) {
    std::string prefixed;
    if (prefix && !piece.text.starts_with(' ')) {
      prefixed = Cat(" ", piece.text);
      piece.text = prefixed;
      if (piece.start > 0) ++piece.start;
    }
    std::string mapped;
    const auto send = [&](TextPiece part) {
      if (map_bytes) {
        mapped.clear();
        AppendByteLevel(mapped, part.text.substr(0, part.start));
        const size_t start = mapped.size();
        AppendByteLevel(mapped, part.text.substr(part.start));
        part = {mapped, start};
      }
      return emit(part);
    };
    if (regex == nullptr) return send(piece);
    return SplitByRegex(*regex, false, SplitBehavior::kIsolated, piece, send);
  };
}

// \w+|[^\w\s]+ with Rust's \w.
std::string WhitespacePattern() {
  std::string word;
  for (const auto& [first, last] : RustWordSet()) {
    for (const char32_t c : {first, last}) {
      char text[16];
      std::snprintf(text, sizeof text, "\\x{%X}", static_cast<unsigned>(c));
      word += Cat(c == last && first != last ? "-" : "", text);
      if (first == last) break;
    }
  }
  return Cat("[", word, "]+|[^", word, "\\s]+");
}

Function MakeMetaspace(const Metaspace& step) {
  auto pattern = std::make_shared<const Regex>(Regex::Literal(step.replacement));
  return [=](TextPiece piece, EmitPiece emit) {
    std::string text;
    text.reserve(piece.text.size() + piece.text.size() / 2);
    size_t start = 0;
    for (size_t i = 0; i < piece.text.size(); ++i) {
      if (i == piece.start) start = text.size();
      if (piece.text[i] == ' ') {
        text.append(step.replacement);
      } else {
        text.push_back(piece.text[i]);
      }
    }
    if (piece.start == piece.text.size()) start = text.size();
    const bool wanted = step.scheme == PrependScheme::kAlways ||
                        (step.scheme == PrependScheme::kFirst && start > 0);
    if (wanted && !text.starts_with(step.replacement)) {
      text.insert(0, step.replacement);
      if (start > 0) start += step.replacement.size();
    }
    const TextPiece changed{text, start};
    if (!step.split) return emit(changed);
    return SplitByRegex(*pattern, false, SplitBehavior::kMergedWithNext, changed, emit);
  };
}

// What runs a step of a spec.
class StepMaker {
 public:
  StepMaker(RegexEngine engine, bool map_bytes) : engine_(engine), map_bytes_(map_bytes) {}

  absl::StatusOr<Function> operator()(const ByteLevel& step) const {
    return MakeByteLevel(step, engine_, map_bytes_);
  }
  absl::StatusOr<Function> operator()(const Split& step) const {
    SMELT_ASSIGN_OR_RETURN(Regex regex, CompilePattern(step.pattern, engine_));
    return ByRegex(std::move(regex), step.invert, step.behavior);
  }
  absl::StatusOr<Function> operator()(const Metaspace& step) const { return MakeMetaspace(step); }
  absl::StatusOr<Function> operator()(const Digits& step) const {
    return ByFlags(kUnicodeNumeric,
                   step.individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  absl::StatusOr<Function> operator()(const Punctuation& step) const {
    return ByFlags(kUnicodePunctuation, step.behavior);
  }
  absl::StatusOr<Function> operator()(const Whitespace&) const {
    SMELT_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(WhitespacePattern(), engine_));
    return ByRegex(std::move(regex), true, SplitBehavior::kRemoved);
  }
  absl::StatusOr<Function> operator()(const WhitespaceSplit&) const {
    return ByFlags(kUnicodeSpace, SplitBehavior::kRemoved);
  }
  absl::StatusOr<Function> operator()(const CharDelimiterSplit& step) const {
    return ByRegex(Regex::Literal(step.delimiter), false, SplitBehavior::kRemoved);
  }
  absl::StatusOr<Function> operator()(const BertPreTokenizer&) const {
    return [](TextPiece piece, EmitPiece emit) {
      return SplitByFlags(kUnicodeSpace, SplitBehavior::kRemoved, piece, [&](TextPiece word) {
        return SplitByFlags(kUnicodePunctuation, SplitBehavior::kIsolated, word, emit);
      });
    };
  }

 private:
  static Function ByFlags(uint32_t flags, SplitBehavior behavior) {
    return
        [=](TextPiece piece, EmitPiece emit) { return SplitByFlags(flags, behavior, piece, emit); };
  }
  static Function ByRegex(Regex regex, bool invert, SplitBehavior behavior) {
    auto shared = std::make_shared<const Regex>(std::move(regex));
    return [=](TextPiece piece, EmitPiece emit) {
      return SplitByRegex(*shared, invert, behavior, piece, emit);
    };
  }
  RegexEngine engine_;
  bool map_bytes_;
};

}  // namespace

bool LeavesBytes(std::span<const PreTokenizerStep> steps) {
  return !steps.empty() && std::holds_alternative<ByteLevel>(steps.back());
}

absl::StatusOr<PreTokenizer> PreTokenizer::Make(std::span<const PreTokenizerStep> steps,
                                                RegexEngine engine) {
  PreTokenizer out;
  for (const PreTokenizerStep& step : steps) {
    const bool last = &step == &steps.back();
    const ByteLevel* bytes = std::get_if<ByteLevel>(&step);
    if (last && bytes != nullptr && !bytes->use_regex && !bytes->add_prefix_space)
      continue;  // no more than the mapping
    SMELT_ASSIGN_OR_RETURN(Step made, std::visit(StepMaker(engine, !last), step));
    out.steps_.push_back(std::move(made));
  }
  return out;
}

absl::Status PreTokenizer::From(size_t step, TextPiece piece, EmitPiece emit) const {
  if (step == steps_.size()) return emit(piece);
  if (step + 1 == steps_.size()) return steps_[step](piece, emit);
  return steps_[step](piece, [&](TextPiece part) { return From(step + 1, part, emit); });
}

}  // namespace smelt
