#include "formats/ollama/go_template.h"

#include <algorithm>
#include <string>
#include <vector>

#include "lib/base/ascii.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt::ollama {
namespace {

constexpr std::string_view kFunctions[] = {
    "and",
    "or",
    "not",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "html",
    "js",
    "urlquery",
    "call",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "json",
    "currentDate",
    "yesterdayDate",
    "toTypeScriptType",
};
constexpr std::string_view kKeywords[] = {"if",    "else",     "end",   "range",    "with",
                                          "block", "template", "break", "continue", "define"};
/// Deeper nesting than any template has; Go's parser has no limit but its stack.
constexpr int kMostDepth = 200;

enum class Kind {
  kEnd,    ///< of the action
  kName,   ///< a function, a keyword, true, false, nil
  kField,  ///< .Name
  kDot,
  kVariable,  ///< $ or $name
  kConstant,  ///< a text, a character or a number
  kPipe,
  kOpen,
  kClose,
  kComma,
  kAssign,   ///< =
  kDeclare,  ///< :=
  kSpace,
};

struct Token {
  Kind kind = Kind::kEnd;
  std::string_view text;
};

bool IsWordStart(char c) {
  return c == '_' || IsLowerAscii(c) || IsUpperAscii(c) || static_cast<unsigned char>(c) >= 0x80;
}
bool IsWord(char c) { return IsWordStart(c) || IsDigit(c); }
bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/// Bytes of the escape that `text` begins with, as Go reads it; 0 for none.
size_t EscapeLength(std::string_view text, char quote) {
  if (text.size() < 2) return 0;
  const auto digits = [&](size_t from, size_t count, std::string_view set) -> size_t {
    if (text.size() < from + count) return 0;
    const std::string lower = LowerAscii(text.substr(from, count));
    return lower.find_first_not_of(set) == std::string::npos ? from + count : 0;
  };
  constexpr std::string_view kHex = "0123456789abcdef", kOctal = "01234567";
  switch (text[1]) {
    case 'x':
      return digits(2, 2, kHex);
    case 'u':
      return digits(2, 4, kHex);
    case 'U':
      return digits(2, 8, kHex);
    default:
      break;
  }
  if (kOctal.find(text[1]) != kOctal.npos) return digits(1, 3, kOctal);
  constexpr std::string_view kPlain = "abfnrtv\\";
  return kPlain.find(text[1]) != kPlain.npos || text[1] == quote ? 2 : 0;
}

class Checker {
 public:
  explicit Checker(std::string_view text) : text_(text) {}

  absl::Status Check() {
    SMELT_RETURN_IF_ERROR(List(0, "", nullptr));
    return absl::OkStatus();
  }

 private:
  template <typename... Parts>
  absl::Status Bad(const Parts&... parts) const {
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<int64_t>(at_), '\n');
    return Error(ErrorCode::kInvalidInput, "line ", static_cast<int64_t>(line),
                 " of the template: ", parts...);
  }

  // ------------------------------------------------------------ tokens of an action
  absl::StatusOr<size_t> EndOfQuoted(char quote) const {
    size_t characters = 0;
    for (size_t i = at_ + 1; i < text_.size(); ++characters) {
      if (text_[i] == quote) {
        if (quote == '\'' && characters != 1) return Bad("a constant in ' is one character");
        return i + 1;
      }
      if (quote == '`') {
        ++i;
        continue;
      }
      if (text_[i] == '\n') break;
      if (text_[i] == '\\') {
        const size_t length = EscapeLength(text_.substr(i), quote);
        if (length == 0)
          return Bad("unknown escape in ", Escape(text_.substr(at_, i + 2 - at_), 40));
        i += length;
      } else {
        i += DecodeUtf8(text_.substr(i)).length;
      }
    }
    return Bad("a text that begins with ", std::string(1, quote), " has no end");
  }

  bool AtActionEnd() const {
    const std::string_view rest = text_.substr(at_);
    return rest.starts_with("}}") ||
           (!rest.empty() && IsBlank(rest[0]) && rest.substr(1).starts_with("-}}"));
  }

  absl::StatusOr<Token> Next() {
    if (AtActionEnd()) return Token{Kind::kEnd, ""};
    if (at_ == text_.size()) return Bad("an action {{ has no end }}");
    const size_t first = at_;
    const char c = text_[at_];
    const auto token = [&](Kind kind, size_t end) {
      at_ = end;
      return Token{kind, text_.substr(first, end - first)};
    };
    const auto word_end = [&](size_t from) {
      while (from < text_.size() && IsWord(text_[from])) ++from;
      return from;
    };
    if (IsBlank(c)) {
      size_t end = at_;
      while (end < text_.size() && IsBlank(text_[end]) &&
             !(text_.substr(end + 1).starts_with("-}}")))
        ++end;
      return token(Kind::kSpace, std::max(end, at_));
    }
    if (c == '"' || c == '`' || c == '\'') {
      SMELT_ASSIGN_OR_RETURN(const size_t end, EndOfQuoted(c));
      return token(Kind::kConstant, end);
    }
    if (c == '.' && at_ + 1 < text_.size() && IsWordStart(text_[at_ + 1])) {
      return token(Kind::kField, word_end(at_ + 1));
    }
    if (c == '$') return token(Kind::kVariable, word_end(at_ + 1));
    if (IsWordStart(c)) return token(Kind::kName, word_end(at_));
    const bool digit_next =
        at_ + 1 < text_.size() && (IsDigit(text_[at_ + 1]) || text_[at_ + 1] == '.');
    if (IsDigit(c) || ((c == '.' || c == '+' || c == '-') && digit_next)) return Number(first);
    if (text_.substr(at_).starts_with(":=")) return token(Kind::kDeclare, at_ + 2);
    switch (c) {
      case '.':
        return token(Kind::kDot, at_ + 1);
      case '|':
        return token(Kind::kPipe, at_ + 1);
      case '(':
        return token(Kind::kOpen, at_ + 1);
      case ')':
        return token(Kind::kClose, at_ + 1);
      case ',':
        return token(Kind::kComma, at_ + 1);
      case '=':
        return token(Kind::kAssign, at_ + 1);
      default:
        return Bad("the character ", Escape(std::string(1, c)), " has no meaning in an action");
    }
  }

  absl::StatusOr<Token> Number(size_t first) {
    size_t end = first;
    const auto take = [&](std::string_view set) {
      const bool some = end < text_.size() && set.find(LowerAscii(text_[end])) != set.npos;
      end += some;
      return some;
    };
    std::string_view digits = "0123456789_";
    take("+-");
    if (take("0")) {
      if (take("x")) {
        digits = "0123456789abcdef_";
      } else if (take("o")) {
        digits = "01234567_";
      } else if (take("b")) {
        digits = "01_";
      }
    }
    const auto take_all = [&] {
      while (take(digits)) {
      }
    };
    take_all();
    if (take(".")) take_all();
    if (take(digits.size() > 11 ? "p" : "e")) {
      take("+-");
      digits = "0123456789_";
      take_all();
    }
    take("i");
    if (end < text_.size() && IsWord(text_[end])) {
      return Bad("bad number ", Escape(text_.substr(first, end + 1 - first), 40));
    }
    at_ = end;
    return Token{Kind::kConstant, text_.substr(first, end - first)};
  }

  absl::StatusOr<Token> NextSolid() {
    for (;;) {
      SMELT_ASSIGN_OR_RETURN(const Token token, Next());
      if (token.kind != Kind::kSpace) return token;
    }
  }

  absl::StatusOr<Token> PeekSolid() {
    const size_t at = at_;
    absl::StatusOr<Token> token = NextSolid();
    at_ = at;
    return token;
  }

  absl::Status ActionEnd() {
    SMELT_ASSIGN_OR_RETURN(const Token token, NextSolid());
    if (token.kind != Kind::kEnd) {
      return Bad("unexpected ", Escape(token.text, 40), " before the end of the action");
    }
    at_ += text_[at_] == '}' ? 2 : 4;
    return absl::OkStatus();
  }

  // ------------------------------------------------------------ pipelines
  /// Operands up to a pipe or the end. `stage`: pipes before it, whose value becomes the last
  /// argument.
  absl::Status CommandOf(int depth, int stage) {
    for (size_t operands = 0;; ++operands) {
      SMELT_ASSIGN_OR_RETURN(const Token next, PeekSolid());
      if (next.kind == Kind::kEnd || next.kind == Kind::kPipe || next.kind == Kind::kClose) {
        // Go lets a pipe end the action.
        if (operands > 0 || (stage > 0 && next.kind == Kind::kEnd)) return absl::OkStatus();
        return Bad("a value is missing", next.kind == Kind::kPipe ? " before |" : "");
      }
      const bool value = next.kind == Kind::kConstant || next.kind == Kind::kDot || IsLiteral(next);
      if (stage > 0 && operands == 0 && value) {
        return Bad(Escape(next.text, 40), " behind | is no function");
      }
      SMELT_RETURN_IF_ERROR(Operand(depth));
    }
  }

  static bool IsLiteral(const Token& token) {
    return token.kind == Kind::kName &&
           (token.text == "true" || token.text == "false" || token.text == "nil");
  }

  absl::Status Operand(int depth) {
    SMELT_ASSIGN_OR_RETURN(const Token token, NextSolid());
    switch (token.kind) {
      case Kind::kName:
        if (IsLiteral(token)) break;
        if (std::ranges::find(kKeywords, token.text) != std::end(kKeywords)) {
          return Bad("unexpected ", token.text, " in an action");
        }
        if (std::ranges::find(kFunctions, token.text) == std::end(kFunctions)) {
          return Bad("function ", Escape(token.text, 40), " is not one of Ollama's");
        }
        break;
      case Kind::kVariable:
        if (std::ranges::find(variables_, token.text) == variables_.end()) {
          return Bad("variable ", Escape(token.text, 40), " is not declared");
        }
        break;
      case Kind::kOpen: {
        SMELT_RETURN_IF_ERROR(Pipeline(depth + 1, false));
        SMELT_ASSIGN_OR_RETURN(const Token close, NextSolid());
        if (close.kind != Kind::kClose) return Bad("a parenthesis is not closed");
        break;
      }
      case Kind::kField:
      case Kind::kDot:
      case Kind::kConstant:
        break;
      default:
        return Bad("unexpected ", Escape(token.text, 40), " in an action");
    }
    // Fields of what stands before.
    for (;;) {
      const size_t at = at_;
      SMELT_ASSIGN_OR_RETURN(const Token next, Next());
      if (next.kind != Kind::kField) {
        at_ = at;
        if (next.kind == Kind::kSpace || next.kind == Kind::kEnd || next.kind == Kind::kPipe ||
            next.kind == Kind::kClose)
          return absl::OkStatus();
        return Bad("unexpected ", Escape(next.text, 40), " after ", Escape(token.text, 40));
      }
      if (token.kind == Kind::kConstant || token.kind == Kind::kDot || IsLiteral(token)) {
        return Bad("unexpected ", Escape(next.text, 40), " after ", Escape(token.text, 40));
      }
    }
  }

  /// `$a :=`, `$a =` or, for range, `$a, $b :=` in front of a pipeline.
  absl::Status Declarations(bool range) {
    const size_t start = at_;
    std::vector<std::string_view> names;
    for (;;) {
      SMELT_ASSIGN_OR_RETURN(const Token name, NextSolid());
      if (name.kind != Kind::kVariable) break;
      names.push_back(name.text);
      SMELT_ASSIGN_OR_RETURN(const Token after, NextSolid());
      if (after.kind == Kind::kComma && range && names.size() == 1) continue;
      if (after.kind == Kind::kDeclare) {
        variables_.insert(variables_.end(), names.begin(), names.end());
        return absl::OkStatus();
      }
      if (after.kind == Kind::kAssign) return absl::OkStatus();  // Go looks when it runs
      break;
    }
    at_ = start;
    return absl::OkStatus();
  }

  absl::Status Pipeline(int depth, bool range) {
    if (depth > kMostDepth) return Bad("nested too deeply");
    SMELT_ASSIGN_OR_RETURN(const Token first, PeekSolid());
    if (first.kind == Kind::kVariable) SMELT_RETURN_IF_ERROR(Declarations(range));
    for (int stage = 0;; ++stage) {
      SMELT_RETURN_IF_ERROR(CommandOf(depth, stage));
      SMELT_ASSIGN_OR_RETURN(const Token next, PeekSolid());
      if (next.kind != Kind::kPipe) return absl::OkStatus();
      SMELT_RETURN_IF_ERROR(NextSolid().status());
    }
  }

  // ------------------------------------------------------------ text and control structures
  /// Text and actions up to the `end` (or `else`, if `stopped_at` is given) of `structure`; up to
  /// the end of the text where that is empty.
  absl::Status List(int depth, std::string_view structure, std::string_view* stopped_at) {
    if (depth > kMostDepth) return Bad("nested too deeply");
    for (;;) {
      const size_t open = text_.find("{{", at_);
      if (open == text_.npos) {
        at_ = text_.size();
        if (structure.empty()) return absl::OkStatus();
        return Bad("{{ ", structure, " }} has no {{ end }}");
      }
      at_ = open + 2;
      if (text_.substr(at_).starts_with("-") && at_ + 1 < text_.size() && IsBlank(text_[at_ + 1]))
        at_ += 2;
      if (text_.substr(at_).starts_with("/*")) {
        SMELT_RETURN_IF_ERROR(Comment());
        continue;
      }
      SMELT_ASSIGN_OR_RETURN(const Token first, PeekSolid());
      if (first.kind == Kind::kName && (first.text == "end" || first.text == "else")) {
        SMELT_RETURN_IF_ERROR(NextSolid().status());
        const bool may = !structure.empty() && (first.text == "end" || stopped_at != nullptr);
        if (!may) return Bad("unexpected {{ ", first.text, " }}");
        if (stopped_at != nullptr) *stopped_at = first.text;
        return first.text == "end" ? ActionEnd() : absl::OkStatus();
      }
      SMELT_RETURN_IF_ERROR(Action(depth, first));
    }
  }

  absl::Status Comment() {
    const size_t close = text_.find("*/", at_);
    if (close == text_.npos) return Bad("a comment has no end */");
    at_ = close + 2;
    if (!AtActionEnd()) return Bad("a comment must end right before }}");
    at_ += text_[at_] == '}' ? 2 : 4;
    return absl::OkStatus();
  }

  absl::Status Action(int depth, const Token& first) {
    if (first.kind == Kind::kName) {
      const std::string_view word = first.text;
      if (word == "if" || word == "with" || word == "range") return Structure(depth, word);
      if (word == "define" || word == "block" || word == "template") return Named(depth, word);
      if (word == "break" || word == "continue") {
        SMELT_RETURN_IF_ERROR(NextSolid().status());
        if (ranges_ == 0) return Bad("{{ ", word, " }} outside a range");
        return ActionEnd();
      }
    }
    SMELT_RETURN_IF_ERROR(Pipeline(depth, false));
    return ActionEnd();
  }

  absl::Status Structure(int depth, std::string_view word) {
    SMELT_RETURN_IF_ERROR(NextSolid().status());
    const size_t declared = variables_.size();
    const bool range = word == "range";
    SMELT_RETURN_IF_ERROR(Pipeline(depth + 1, range));
    SMELT_RETURN_IF_ERROR(ActionEnd());
    std::string_view end;
    ranges_ += range;
    SMELT_RETURN_IF_ERROR(List(depth + 1, word, &end));
    ranges_ -= range;
    if (end == "else") {
      SMELT_ASSIGN_OR_RETURN(const Token next, PeekSolid());
      const bool chained = next.kind == Kind::kName && next.text == word && !range;
      if (chained) {
        SMELT_RETURN_IF_ERROR(Structure(depth + 1, word));  // its end is this one's
      } else {
        SMELT_RETURN_IF_ERROR(ActionEnd());
        SMELT_RETURN_IF_ERROR(List(depth + 1, word, nullptr));
      }
    }
    variables_.resize(declared);
    return absl::OkStatus();
  }

  /// {{ define "name" }} ... {{ end }}, {{ block "name" pipeline }} ... {{ end }},
  /// {{ template "name" pipeline }}
  absl::Status Named(int depth, std::string_view word) {
    SMELT_RETURN_IF_ERROR(NextSolid().status());
    SMELT_ASSIGN_OR_RETURN(const Token name, NextSolid());
    if (name.kind != Kind::kConstant || (name.text[0] != '"' && name.text[0] != '`')) {
      return Bad(word, " needs a name in quotes");
    }
    if (word == "define" && depth > 0) return Bad("unexpected define inside a structure");
    SMELT_ASSIGN_OR_RETURN(const Token next, PeekSolid());
    if (word == "block" || (word == "template" && next.kind != Kind::kEnd)) {
      SMELT_RETURN_IF_ERROR(Pipeline(depth + 1, false));
    }
    SMELT_RETURN_IF_ERROR(ActionEnd());
    if (word == "template") return absl::OkStatus();
    std::vector<std::string_view> outer = {"$"};
    variables_.swap(outer);
    SMELT_RETURN_IF_ERROR(List(depth + 1, word, nullptr));
    variables_.swap(outer);
    return absl::OkStatus();
  }

  const std::string_view text_;
  size_t at_ = 0;
  int ranges_ = 0;
  std::vector<std::string_view> variables_ = {"$"};
};

}  // namespace

absl::Status CheckGoTemplate(std::string_view text) { return Checker(text).Check(); }

}  // namespace smelt::ollama
