#include "formats/ollama/modelfile.h"

#include <algorithm>
#include <optional>

#include "lib/base/ascii.h"
#include "lib/base/status.h"
#include "lib/base/unicode.h"
#include "lib/base/utf8.h"

namespace smelt::ollama {
namespace {

struct CommandName {
  Command command;
  std::string_view name;
};

constexpr CommandName kCommands[] = {
    {Command::kFrom, "FROM"},         {Command::kAdapter, "ADAPTER"},
    {Command::kDraft, "DRAFT"},       {Command::kTemplate, "TEMPLATE"},
    {Command::kSystem, "SYSTEM"},     {Command::kLicense, "LICENSE"},
    {Command::kRenderer, "RENDERER"}, {Command::kParser, "PARSER"},
    {Command::kRequires, "REQUIRES"}, {Command::kParameter, "PARAMETER"},
    {Command::kMessage, "MESSAGE"},
};
constexpr std::string_view kRoles[] = {"system", "user", "assistant"};

std::optional<Command> CommandOf(std::string_view word) {
  for (const CommandName& known : kCommands) {
    if (SameWithoutCase(known.name, word)) return known.command;
  }
  return std::nullopt;
}

std::string_view NameOf(Command command) {
  return std::ranges::find(kCommands, command, &CommandName::command)->name;
}

std::string AllCommands() {
  std::string out;
  for (const CommandName& known : kCommands) out += Cat(out.empty() ? "" : ", ", known.name);
  return out;
}

bool HasKey(Command command) {
  return command == Command::kParameter || command == Command::kMessage;
}
bool IsLetter(char32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsNewline(char32_t c) { return c == '\n' || c == '\r'; }
bool IsBlank(char32_t c) { return c == ' ' || c == '\t'; }

bool IsKept(char32_t c) {
  constexpr uint32_t kPrintable = kUnicodeL | kUnicodeM | kUnicodeN | kUnicodeP | kUnicodeS;
  return IsBlank(c) || IsNewline(c) || (CodePointFlags(c) & kPrintable) != 0;
}

std::u32string FromUtf16(std::string_view bytes, bool big_endian) {
  std::u32string out;
  const auto unit = [&](size_t at) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
    return static_cast<char32_t>(big_endian ? byte(at) << 8 | byte(at + 1)
                                            : byte(at + 1) << 8 | byte(at));
  };
  for (size_t at = 0; at + 1 < bytes.size(); at += 2) {
    char32_t c = unit(at);
    if (c >= 0xd800 && c < 0xdc00 && at + 3 < bytes.size()) {
      if (const char32_t low = unit(at + 2); low >= 0xdc00 && low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        at += 2;
      }
    }
    out += c >= 0xd800 && c < 0xe000 ? U'\ufffd' : c;
  }
  if (bytes.size() % 2 != 0) out += U'\ufffd';
  return out;
}

/// The bytes of broken UTF-8 that one U+FFFD stands for: as many as begin a character, as Unicode
/// advises and Go's decoder does.
size_t BrokenLength(std::string_view bytes) {
  struct Lead {
    unsigned char first, last;  ///< of the first byte
    unsigned char low, high;    ///< of the second one
    size_t length;
  };
  constexpr Lead kLeads[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                             {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                             {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                             {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
  const auto within = [&](size_t at, unsigned char low, unsigned char high) {
    const auto byte = at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0;
    return byte >= low && byte <= high;
  };
  for (const Lead& lead : kLeads) {
    if (!within(0, lead.first, lead.last) || !within(1, lead.low, lead.high)) continue;
    size_t length = 2;
    while (length < lead.length && within(length, 0x80, 0xbf)) ++length;
    return length;
  }
  return 1;
}

std::u32string Characters(std::string_view bytes) {
  if (bytes.starts_with("\xff\xfe")) return FromUtf16(bytes.substr(2), false);
  if (bytes.starts_with("\xfe\xff")) return FromUtf16(bytes.substr(2), true);
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
  std::u32string out;
  while (!bytes.empty()) {
    const Utf8Char decoded = DecodeUtf8(bytes);
    out += decoded.valid ? decoded.code_point : U'\ufffd';
    bytes.remove_prefix(decoded.valid ? decoded.length : BrokenLength(bytes));
  }
  return out;
}

std::string ToUtf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) AppendUtf8(out, c);
  return out;
}

/// The text between the quotes that begin and end `text`, triple or single ones; the text itself
/// where it begins with none; nothing while the closing ones are missing.
std::optional<std::u32string_view> Unquoted(std::u32string_view text) {
  for (const std::u32string_view quotes :
       {std::u32string_view(U"\"\"\""), std::u32string_view(U"\"")}) {
    if (!text.starts_with(quotes)) continue;
    if (text.size() < 2 * quotes.size() || !text.ends_with(quotes)) return std::nullopt;
    return text.substr(quotes.size(), text.size() - 2 * quotes.size());
  }
  return text;
}

std::u32string_view Trimmed(std::u32string_view text) {
  constexpr std::u32string_view kSpace = U" \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// Ollama keeps parameters in one list with the commands, by their names in small letters: it reads
/// "PARAMETER system x" as SYSTEM, and a FROM's name there is "model".
void ResolveParameter(ModelfileLine& line) {
  if (line.command != Command::kParameter || line.key != LowerAscii(line.key)) return;
  const std::optional<Command> command = line.key == "model"  ? Command::kFrom
                                         : line.key == "from" ? std::nullopt
                                                              : CommandOf(line.key);
  if (!command.has_value() || *command == Command::kParameter) return;
  line.command = *command;
  line.key.clear();
  if (*command != Command::kMessage) return;
  constexpr std::string_view kColon = ": ";
  const size_t colon = std::min(line.value.find(kColon), line.value.size());
  line.key = line.value.substr(0, colon);
  line.value.erase(0, colon + kColon.size());
}

class Parser {
 public:
  Parser(std::string_view bytes, std::string_view file)
      : text_(Characters(bytes)), file_(Escape(file)) {}

  absl::StatusOr<std::vector<ModelfileLine>> Parse() {
    std::vector<ModelfileLine> lines;
    while (SkipToCommand()) {
      ModelfileLine line{.command = Command::kFrom, .key = {}, .value = {}, .line = line_};
      SMELT_ASSIGN_OR_RETURN(line.command, ReadCommand());
      if (HasKey(line.command)) {
        SMELT_ASSIGN_OR_RETURN(line.key, ReadKey(line.command));
      }
      SMELT_ASSIGN_OR_RETURN(line.value, ReadValue(line.command));
      ResolveParameter(line);
      lines.push_back(std::move(line));
    }
    if (std::ranges::find(lines, Command::kFrom, &ModelfileLine::command) == lines.end()) {
      return Error(
          ErrorCode::kInvalidInput, file_,
          ": no FROM line; a Modelfile needs one, with a file, a folder or a model's name");
    }
    return lines;
  }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char32_t Peek() const { return text_[at_]; }
  char32_t Take() {
    const char32_t c = text_[at_++];
    if (IsNewline(c)) {
      ++line_;
      line_start_ = at_;
    }
    return c;
  }

  /// Where the reader stands now; a newline that ended a word counts as read.
  std::string Place(size_t at) const {
    return Cat(file_, ", line ", line_,
               at >= line_start_ ? Cat(", column ", at - line_start_ + 1) : "");
  }

  bool SkipToCommand() {
    while (!at_end()) {
      if (Peek() == '#') {
        while (!at_end() && !IsNewline(Peek())) Take();
      } else if (IsBlank(Peek()) || IsNewline(Peek())) {
        Take();
      } else {
        return true;
      }
    }
    return false;
  }

  absl::StatusOr<Command> ReadCommand() {
    const size_t first = at_;
    // Ollama takes the first character as it comes, and drops it where it is not printable, as it
    // does in values: a no-break space before a command, say.
    std::u32string letters;
    if (const char32_t c = Take(); IsKept(c)) letters += c;
    while (!at_end() && IsLetter(Peek())) letters += Take();
    const std::string word = ToUtf8(letters);
    const std::optional<Command> command = CommandOf(word);
    if (at_end() && command.has_value()) {
      return Error(ErrorCode::kInvalidInput, Place(first), ": the text ends after ", word,
                   ", where its value was expected");
    }
    const char32_t end = at_end() ? U' ' : Take();
    if (command.has_value() && IsBlank(end)) return *command;
    if (command.has_value()) {
      return Error(ErrorCode::kInvalidInput, Place(first), ": ", word,
                   " must be followed by a space and its value");
    }
    const std::string shown = IsNewline(end) || IsBlank(end) ? word : word + ToUtf8({&end, 1});
    return Error(ErrorCode::kInvalidInput, Place(first), ": ", Escape(shown, 40),
                 " is no command; a line begins with one of ", AllCommands());
  }

  absl::StatusOr<std::string> ReadKey(Command command) {
    const size_t first = at_;
    const bool role = command == Command::kMessage;
    const auto belongs = [role](char32_t c) {
      return IsLetter(c) || (!role && ((c >= '0' && c <= '9') || c == '_'));
    };
    while (!at_end() && belongs(Peek())) Take();
    std::string key = ToUtf8(std::u32string_view(text_).substr(first, at_ - first));
    if (at_end() || !IsBlank(Peek())) {
      return Error(
          ErrorCode::kInvalidInput, Place(first), ": expected ",
          role ? "a role, a space and the message" : "a parameter's name, a space and its value",
          " after ", NameOf(command),
          key.empty() ? "" : Cat(", found ", Escape(key, 40), " and no space"));
    }
    if (role && std::ranges::find(kRoles, key) == std::end(kRoles)) {
      return Error(
          ErrorCode::kInvalidInput, Place(first), ": ", Escape(key, 40),
          " is no role of a message; it must be system, user or assistant, in small letters");
    }
    Take();
    return key;
  }

  absl::StatusOr<std::string> ReadValue(Command command) {
    const std::string place = Place(at_);
    std::u32string value;
    for (;;) {
      if (at_end() || IsNewline(Peek())) {
        if (const auto unquoted = Unquoted(Trimmed(value))) {
          if (!at_end()) Take();
          return ToUtf8(*unquoted);
        }
        if (at_end()) {
          return Error(ErrorCode::kInvalidInput, place, ": the quotes that begin the value of ",
                       NameOf(command), " are not closed at the end of a line");
        }
      }
      const char32_t c = Take();
      if (IsKept(c)) value += c;
    }
  }

  const std::u32string text_;
  const std::string file_;
  size_t at_ = 0, line_start_ = 0;
  uint64_t line_ = 1;
};

// A value that begins with a quote would lose it when read back; Ollama writes it bare.
std::string Quoted(std::string_view value) {
  constexpr std::string_view kSpace = " \t\r\n";
  const bool lines = value.find_first_of("\r\n") != value.npos;
  const bool spaces = !value.empty() && (kSpace.find(value.front()) != kSpace.npos ||
                                         kSpace.find(value.back()) != kSpace.npos);
  if (!lines && !spaces && !value.starts_with('"')) return std::string(value);
  const std::string_view quotes = value.find('"') != value.npos ? "\"\"\"" : "\"";
  return Cat(quotes, value, quotes);
}

}  // namespace

absl::StatusOr<std::vector<ModelfileLine>> ParseModelfile(std::string_view bytes,
                                                          std::string_view file) {
  return Parser(bytes, file).Parse();
}

std::string ModelfileText(const std::vector<ModelfileLine>& lines) {
  std::string out;
  for (const ModelfileLine& line : lines) {
    const std::string_view separator = line.key.empty() && !HasKey(line.command) ? "" : " ";
    out += Cat(NameOf(line.command), separator, line.key, " ", Quoted(line.value), "\n");
  }
  return out;
}

}  // namespace smelt::ollama
