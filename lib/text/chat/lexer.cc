#include "lib/text/chat/lexer.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "lib/base/cat.h"
#include "lib/base/utf8.h"
#include "lib/text/chat/budget.h"

namespace smelt::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\v\f";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameByte(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// One kind of newline; the last one of the file is not part of the template.
std::string NormalizeNewlines(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source)) {}

  std::vector<Token> Run() {
    while (at_ < source_.size()) ReadData();
    Push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void Fail(std::string_view what) const {
    throw TemplateError{Cat("line ", line_, ": ", what)};
  }

  void Push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  std::string_view Rest() const { return std::string_view(source_).substr(at_); }
  bool StartsWith(std::string_view text) const { return Rest().starts_with(text); }

  void Advance(size_t bytes) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                    source_.begin() + static_cast<ptrdiff_t>(at_ + bytes), '\n'));
    at_ += bytes;
  }

  void SkipSpaces() {
    Advance(std::min(source_.find_first_not_of(kSpaces, at_), source_.size()) - at_);
  }

  // Text up to the next tag, and the tag.
  void ReadData() {
    size_t tag = at_;
    do {
      tag = source_.find('{', tag);
    } while (tag != std::string::npos &&
             (tag + 1 == source_.size() ||
              std::string_view("%{#").find(source_[tag + 1]) == std::string_view::npos) &&
             ++tag != 0);
    if (tag == std::string::npos) {
      PushData(Rest());
      return Advance(source_.size() - at_);
    }
    const std::string_view data = std::string_view(source_).substr(at_, tag - at_);
    const char kind = source_[tag + 1];
    PushData(Trimmed(data, tag + 2 < source_.size() ? source_[tag + 2] : ' ', kind != '{'));
    Advance(data.size() + 2);
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) Advance(1);
    if (kind == '#') return SkipComment();
    if (kind == '%' && ReadRaw()) return;
    ReadTag(kind == '{');
  }

  // What is left of the text before a tag: of the line's blanks before a block nothing.
  std::string_view Trimmed(std::string_view data, char sign, bool block) const {
    if (sign == '-') {
      const size_t last = data.find_last_not_of(kSpaces);
      return data.substr(0, last == std::string_view::npos ? 0 : last + 1);
    }
    if (sign == '+' || !block) return data;
    const size_t newline = data.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starts_) return data;
    const bool blank = data.find_first_not_of(kSpaces, line) == std::string_view::npos;
    return blank ? data.substr(0, line) : data;
  }

  void PushData(std::string_view data) {
    if (!data.empty()) Push(TokenKind::kData, std::string(data));
  }

  // The end of a tag: "%}" also takes the newline behind it, "-%}" all white space.
  bool TakeEnd(std::string_view end, bool takes_newline) {
    size_t length = 0;
    if (StartsWith(end)) {
      length = end.size();
      if (takes_newline && at_ + length < source_.size() && source_[at_ + length] == '\n') ++length;
    } else if (StartsWith("-") && Rest().substr(1).starts_with(end)) {
      length = 1 + end.size();
      length = std::min(source_.find_first_not_of(kSpaces, at_ + length), source_.size()) - at_;
    } else if (takes_newline && StartsWith("+") && Rest().substr(1).starts_with(end)) {
      length = 1 + end.size();
    } else {
      return false;
    }
    Advance(length);
    line_starts_ = source_[at_ - 1] == '\n';
    return true;
  }

  void SkipComment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) Fail("a comment is not closed: \"#}\" is missing");
    const bool signed_end = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
    Advance(end - at_ - (signed_end ? 1 : 0));
    TakeEnd("#}", true);
  }

  // {% raw %} ... {% endraw %}; false when the block is another one.
  bool ReadRaw() {
    const size_t begin = at_;
    const int line = line_;
    SkipSpaces();
    if (!StartsWith("raw")) return Rewind(begin, line);
    Advance(3);
    SkipSpaces();
    if (!TakeEnd("%}", false)) return Rewind(begin, line);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos;
         tag = source_.find("{%", tag + 2)) {
      size_t name = tag + 2;
      if (name < source_.size() && (source_[name] == '-' || source_[name] == '+')) ++name;
      name = std::min(source_.find_first_not_of(kSpaces, name), source_.size());
      if (source_.compare(name, 6, "endraw") != 0) continue;
      const std::string_view data = std::string_view(source_).substr(at_, tag - at_);
      PushData(Trimmed(data, source_[tag + 2], true));
      Advance(name + 6 - at_);
      SkipSpaces();
      if (!TakeEnd("%}", true)) Fail("the tag endraw is not closed");
      return true;
    }
    Fail("a raw block is not closed: {% endraw %} is missing");
  }

  bool Rewind(size_t at, int line) {
    at_ = at;
    line_ = line;
    return false;
  }

  void ReadTag(bool variable) {
    Push(variable ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
    const std::string_view end = variable ? "}}" : "%}";
    std::string open;  // brackets inside each other; a tag does not end within them
    for (;;) {
      if (open.empty() && TakeEnd(end, !variable)) break;
      SkipSpaces();
      if (open.empty() && TakeEnd(end, !variable)) break;
      if (at_ == source_.size()) Fail(Cat("a tag is not closed: \"", end, "\" is missing"));
      ReadToken(open);
    }
    Push(variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, "");
  }

  void ReadToken(std::string& open) {
    const char c = source_[at_];
    if (c == '"' || c == '\'') return ReadString(c);
    if (IsDigit(c)) return ReadNumber();
    if (IsNameByte(c)) {
      size_t end = at_;
      while (end < source_.size() && IsNameByte(source_[end])) ++end;
      Push(TokenKind::kName, source_.substr(at_, end - at_));
      return Advance(end - at_);
    }
    constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                               "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                               ">",  "<",  "=",  ".",  ":",  "|",  ","};
    for (const std::string_view op : kOperators) {
      if (!StartsWith(op)) continue;
      Balance(op[0], open);
      Push(TokenKind::kOperator, std::string(op));
      return Advance(op.size());
    }
    Fail(Cat("unexpected character ", Escape(Rest().substr(0, DecodeUtf8(Rest()).length))));
  }

  void Balance(char c, std::string& open) const {
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) Fail(Cat("unexpected \"", c, "\""));
      if (open.back() != c) Fail(Cat("unexpected \"", c, "\", expected \"", open.back(), "\""));
      open.pop_back();
    }
  }

  void ReadNumber() {
    size_t end = at_;
    bool real = false;
    const auto digits = [&] {
      while (end < source_.size() &&
             (IsDigit(source_[end]) ||
              (source_[end] == '_' && end + 1 < source_.size() && IsDigit(source_[end + 1])))) {
        ++end;
      }
    };
    const bool based = source_[at_] == '0' && at_ + 1 < source_.size() &&
                       std::string_view("xXoObB").find(source_[at_ + 1]) != std::string_view::npos;
    if (based) {
      end += 2;
      while (
          end < source_.size() &&
          (std::isxdigit(static_cast<unsigned char>(source_[end])) != 0 || source_[end] == '_')) {
        ++end;
      }
    } else {
      digits();
      const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
      if (!after_dot && end + 1 < source_.size() && source_[end] == '.' &&
          IsDigit(source_[end + 1])) {
        real = true;
        ++end;
        digits();
      }
      if (!after_dot && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        const size_t sign =
            end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
        if (end + 1 + sign < source_.size() && IsDigit(source_[end + 1 + sign])) {
          real = true;
          end += 1 + sign;
          digits();
        }
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    Push(real ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    Advance(end - at_);
  }

  void ReadString(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) Fail("a string is not closed");
    Push(TokenKind::kString, Unescaped(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    Advance(end + 1 - at_);
  }

  // The escapes of Python's string literals; a backslash before anything else stands for itself.
  std::string Unescaped(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      constexpr std::string_view kNames = "abfnrtv\\'\"", kValues = "\a\b\f\n\r\t\v\\'\"";
      const char c = text[++i];
      if (const size_t named = kNames.find(c); named != std::string_view::npos) {
        out += kValues[named];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        AppendCode(out, text.substr(i + 1, digits), digits, 16);
        i += digits;
      } else if (c >= '0' && c <= '7') {
        size_t digits = 1;
        while (digits < 3 && i + digits < text.size() && text[i + digits] >= '0' &&
               text[i + digits] <= '7')
          ++digits;
        AppendCode(out, text.substr(i, digits), digits, 8);
        i += digits - 1;
      } else if (c == 'N') {
        Fail("\\N escapes are not supported");
      } else if (c != '\n') {  // a newline behind a backslash is left out
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void AppendCode(std::string& out, std::string_view digits, size_t expected, int base) const {
    uint32_t code = 0;
    for (const char c : digits) {
      const int digit = IsDigit(c)                                          ? c - '0'
                        : std::isxdigit(static_cast<unsigned char>(c)) != 0 ? (c | 32) - 'a' + 10
                                                                            : 16;
      if (digit >= base) Fail("a string holds a broken escape");
      code = code * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
    }
    if (digits.size() != expected || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
      Fail("a string holds a broken escape");
    AppendUtf8(out, code);
  }

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  ///< the last tag's end took a newline
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace smelt::jinja
