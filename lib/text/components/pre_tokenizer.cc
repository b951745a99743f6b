#include "lib/text/components/pre_tokenizer.h"

#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

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

// A step that is one function.
class Step : public PreTokenizer {
 public:
  using Function = std::function<absl::Status(TextPiece, EmitPiece)>;
  explicit Step(Function function) : function_(std::move(function)) {}
  absl::Status Split(TextPiece piece, EmitPiece emit) const override {
    return function_(piece, emit);
  }

 private:
  Function function_;
};

class Chain : public PreTokenizer {
 public:
  explicit Chain(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  absl::Status Split(TextPiece piece, EmitPiece emit) const override {
    return From(0, piece, emit);
  }

 private:
  absl::Status From(size_t i, TextPiece piece, EmitPiece emit) const {
    if (i == steps_.size()) return emit(piece);
    if (i + 1 == steps_.size()) return steps_[i]->Split(piece, emit);
    return steps_[i]->Split(piece, [&](TextPiece part) { return From(i + 1, part, emit); });
  }
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

absl::StatusOr<SplitBehavior> BehaviorOf(const JsonValue& json, SplitBehavior fallback) {
  const std::string name = TextOf(json, "behavior");
  if (name.empty()) return fallback;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return Error(ErrorCode::kUnsupported, "the split behavior \"", Escape(name), "\" is not known");
}

absl::StatusOr<Step::Function> MakeByteLevel(const JsonValue& json, RegexEngine engine,
                                             bool map_bytes) {
  const bool prefix = FlagOf(json, "add_prefix_space", true);
  std::shared_ptr<const Regex> regex;
  if (FlagOf(json, "use_regex", true)) {
    SMELT_ASSIGN_OR_RETURN(Regex compiled, Regex::Compile(kGpt2Pattern, engine));
    regex = std::make_shared<const Regex>(std::move(compiled));
  }
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

absl::StatusOr<Step::Function> MakeMetaspace(const JsonValue& json) {
  std::string replacement = TextOf(json, "replacement");
  if (replacement.empty()) replacement = "\xe2\x96\x81";
  std::string scheme = TextOf(json, "prepend_scheme");
  if (scheme.empty()) scheme = FlagOf(json, "add_prefix_space", true) ? "always" : "never";
  if (scheme != "always" && scheme != "never" && scheme != "first") {
    return Error(ErrorCode::kUnsupported, "Metaspace's prepend_scheme \"", Escape(scheme),
                 "\" is not known");
  }
  const bool split = FlagOf(json, "split", true);
  auto pattern = std::make_shared<const Regex>(Regex::Literal(replacement));
  return [=](TextPiece piece, EmitPiece emit) {
    std::string text;
    text.reserve(piece.text.size() + piece.text.size() / 2);
    size_t start = 0;
    for (size_t i = 0; i < piece.text.size(); ++i) {
      if (i == piece.start) start = text.size();
      if (piece.text[i] == ' ') {
        text.append(replacement);
      } else {
        text.push_back(piece.text[i]);
      }
    }
    if (piece.start == piece.text.size()) start = text.size();
    const bool wanted = scheme == "always" || (scheme == "first" && start > 0);
    if (wanted && !text.starts_with(replacement)) {
      text.insert(0, replacement);
      if (start > 0) start += replacement.size();
    }
    const TextPiece changed{text, start};
    if (!split) return emit(changed);
    return SplitByRegex(*pattern, false, SplitBehavior::kMergedWithNext, changed, emit);
  };
}

absl::StatusOr<Step::Function> MakeFunction(std::string_view type, const JsonValue& json,
                                            RegexEngine engine, bool map_bytes) {
  const auto by_flags = [](uint32_t flags, SplitBehavior behavior) {
    return
        [=](TextPiece piece, EmitPiece emit) { return SplitByFlags(flags, behavior, piece, emit); };
  };
  const auto by_regex = [](Regex regex, bool invert, SplitBehavior behavior) {
    auto shared = std::make_shared<const Regex>(std::move(regex));
    return [=](TextPiece piece, EmitPiece emit) {
      return SplitByRegex(*shared, invert, behavior, piece, emit);
    };
  };
  if (type == "ByteLevel") return MakeByteLevel(json, engine, map_bytes);
  if (type == "Metaspace") return MakeMetaspace(json);
  if (type == "Split") {
    SMELT_ASSIGN_OR_RETURN(Regex regex, PatternOf(json, engine));
    SMELT_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                           BehaviorOf(json, SplitBehavior::kIsolated));
    return by_regex(std::move(regex), FlagOf(json, "invert", false), behavior);
  }
  if (type == "Digits") {
    return by_flags(kUnicodeNumeric, FlagOf(json, "individual_digits", false)
                                         ? SplitBehavior::kIsolated
                                         : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    SMELT_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                           BehaviorOf(json, SplitBehavior::kIsolated));
    return by_flags(kUnicodePunctuation, behavior);
  }
  if (type == "WhitespaceSplit") return by_flags(kUnicodeSpace, SplitBehavior::kRemoved);
  if (type == "Whitespace") {
    SMELT_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(WhitespacePattern(), engine));
    return by_regex(std::move(regex), true, SplitBehavior::kRemoved);
  }
  if (type == "CharDelimiterSplit")
    return by_regex(Regex::Literal(TextOf(json, "delimiter")), false, SplitBehavior::kRemoved);
  if (type == "BertPreTokenizer") {
    return [](TextPiece piece, EmitPiece emit) {
      return SplitByFlags(kUnicodeSpace, SplitBehavior::kRemoved, piece, [&](TextPiece word) {
        return SplitByFlags(kUnicodePunctuation, SplitBehavior::kIsolated, word, emit);
      });
    };
  }
  return Error(ErrorCode::kUnsupported, "the pre-tokenizer \"", Escape(type), "\" is not known");
}

// The steps, nested sequences resolved.
absl::Status Flatten(const JsonValue& json, std::vector<const JsonValue*>& steps) {
  if (TextOf(json, "type") != "Sequence") {
    if (!json.is_null()) steps.push_back(&json);
    return absl::OkStatus();
  }
  const JsonValue* list = json.Find("pretokenizers");
  if (list == nullptr || !list->is_array())
    return Error(ErrorCode::kInvalidInput,
                 "the pre-tokenizer Sequence has no list \"pretokenizers\"");
  for (const JsonValue& item : *list->as_array()) SMELT_RETURN_IF_ERROR(Flatten(item, steps));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const JsonValue* json,
                                                               RegexEngine engine,
                                                               bool* byte_level_last) {
  if (byte_level_last != nullptr) *byte_level_last = false;
  if (json == nullptr || json->is_null()) return std::unique_ptr<PreTokenizer>();
  std::vector<const JsonValue*> parts;
  SMELT_RETURN_IF_ERROR(Flatten(*json, parts));
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string type = TextOf(*parts[i], "type");
    const bool last_bytes =
        byte_level_last != nullptr && type == "ByteLevel" && i + 1 == parts.size();
    if (last_bytes) *byte_level_last = true;
    SMELT_ASSIGN_OR_RETURN(Step::Function function,
                           MakeFunction(type, *parts[i], engine, !last_bytes));
    steps.push_back(std::make_unique<Step>(std::move(function)));
  }
  if (steps.size() == 1) return std::move(steps.front());
  return std::unique_ptr<PreTokenizer>(std::make_unique<Chain>(std::move(steps)));
}

}  // namespace smelt
