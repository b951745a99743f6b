#include "lib/text/regex/regex_parser.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

using Kind = RegexNode::Kind;
constexpr int kMaxDepth = 50;
constexpr int kMaxRepeat = 65535;             // PCRE2's limit; Oniguruma's is 100000
constexpr size_t kMaxSize = size_t{1} << 18;  // nodes and ranges: some 10 MB

// What groups switch on and off.
struct Options {
  bool fold = false;     ///< letter case does not count
  bool dot_all = false;  ///< the dot matches the end of a line too
};

class Parser {
 public:
  explicit Parser(std::string_view pattern) : all_(pattern), rest_(pattern) {}

  absl::StatusOr<RegexNode> Parse() {
    SMELT_ASSIGN_OR_RETURN(RegexNode node, Alternative(0));
    if (!rest_.empty()) return Invalid("an unmatched parenthesis");
    return node;
  }

 private:
  absl::Status Invalid(std::string_view what) const {
    return Error(ErrorCode::kInvalidInput, "regular expression \"", Escape(all_), "\" has ", what);
  }
  absl::Status Unsupported(std::string_view what) const {
    return Error(ErrorCode::kUnsupported, "regular expression \"", Escape(all_), "\" uses ", what);
  }
  bool Take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  // Of the memory that the tree takes.
  absl::Status Spend(size_t size) {
    size_ += size;
    return size_ > kMaxSize ? Unsupported("too many classes and characters") : absl::OkStatus();
  }

  absl::StatusOr<RegexNode> Alternative(int depth) {
    if (depth > kMaxDepth) return Unsupported("groups nested too deep");
    std::vector<RegexNode> branches;
    do {
      SMELT_ASSIGN_OR_RETURN(RegexNode branch, Sequence(depth));
      branches.push_back(std::move(branch));
    } while (Take("|"));
    if (branches.size() > 1) return MakeNode(Kind::kAlternative, std::move(branches));
    return std::move(branches.front());
  }

  absl::StatusOr<RegexNode> Sequence(int depth) {
    std::vector<RegexNode> items;
    char32_t previous = 0;  // the literal before this one, where letter case does not count
    while (true) {
      SMELT_RETURN_IF_ERROR(SkipComments());
      if (rest_.empty() || rest_.front() == '|' || rest_.front() == ')') break;
      SMELT_RETURN_IF_ERROR(Spend(1));
      if (TakeOptions(')')) {
        // They hold for the rest of the group, alternatives included: "a(?i)b|c" is "a(?i:b|c)".
        options_ = next_;
        SMELT_ASSIGN_OR_RETURN(RegexNode rest, Alternative(depth + 1));
        items.push_back(std::move(rest));
        break;
      }
      char32_t literal = 0;
      SMELT_ASSIGN_OR_RETURN(RegexNode item, Item(depth, literal));
      if (FoldTogether(previous, literal))
        return Unsupported("(?i) with letters that have a form in one character, like ss");
      const size_t left = rest_.size();
      SMELT_ASSIGN_OR_RETURN(item, Quantified(std::move(item)));
      previous = rest_.size() == left ? literal : 0;
      items.push_back(std::move(item));
    }
    if (items.size() == 1) return std::move(items.front());
    return MakeNode(Kind::kConcat, std::move(items));
  }

  // "(?#...)", anywhere between items and their repeats.
  absl::Status SkipComments() {
    while (Take("(?#")) {
      size_t end = 0;
      while (end < rest_.size() && rest_[end] != ')') end += rest_[end] == '\\' ? 2 : 1;
      if (end >= rest_.size()) return Invalid("an open comment");
      rest_.remove_prefix(end + 1);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<RegexNode> Quantified(RegexNode item) {
    for (int level = 0;; ++level) {
      SMELT_RETURN_IF_ERROR(SkipComments());
      if (rest_.empty()) break;
      int min = 0, max = -1;
      bool counted = false, exact = false;
      if (Take("*")) {
      } else if (Take("+")) {
        min = 1;
      } else if (Take("?")) {
        max = 1;
      } else if (rest_.front() == '{' && Count(min, max, exact)) {
        counted = true;
      } else {
        break;
      }
      if (level == kMaxDepth) return Invalid("repeats of repeats nested too deep");
      if (min > kMaxRepeat || max > kMaxRepeat) return Unsupported("long counted repeats");
      if (max >= 0 && min > max) return Invalid("a repeat whose bounds are reversed");
      item = MakeNode(Kind::kRepeat, NodeList(std::move(item)));
      item.min = min;
      item.max = max;
      // "a{2}?" is "(?:a{2})?", and "a{2}+" is "(?:a{2})+": repeats of their own.
      if (!exact && Take("?")) {
        item.greedy = false;
      } else if (!counted && Take("+")) {
        item = MakeNode(Kind::kAtomic, NodeList(std::move(item)));
      }
    }
    return item;
  }

  // "{n}", "{n,}", "{,m}", "{n,m}"; anything else is a literal brace.
  bool Count(int& min, int& max, bool& exact) {
    size_t i = 1;
    const auto number = [&]() -> std::optional<int> {
      const size_t begin = i;
      int value = 0;
      for (; i < rest_.size() && rest_[i] >= '0' && rest_[i] <= '9'; ++i)
        value = std::min(value * 10 + (rest_[i] - '0'), kMaxRepeat + 1);
      return i == begin ? std::nullopt : std::optional(value);
    };
    const std::optional<int> low = number();
    std::optional<int> high = low;
    const bool comma = i < rest_.size() && rest_[i] == ',';
    if (comma) {
      ++i;
      high = number();
    }
    if ((!low && !high) || i >= rest_.size() || rest_[i] != '}') return false;
    min = low.value_or(0);
    max = high.value_or(-1);
    exact = !comma;
    rest_.remove_prefix(i + 1);
    return true;
  }

  // `literal`: set to the character of an item that is one and whose letter case does not count.
  absl::StatusOr<RegexNode> Item(int depth, char32_t& literal) {
    if (rest_.front() == '(') return Parenthesis(depth);
    if (rest_.starts_with("\\")) {
      if (rest_.starts_with("\\b") || rest_.starts_with("\\B"))
        SMELT_RETURN_IF_ERROR(Spend(4 * EscapeSet('w').size()));
      if (std::optional<RegexNode> anchor = TakeAnchor()) return *std::move(anchor);
    }
    if (Take("[")) {
      SMELT_ASSIGN_OR_RETURN(CharSet set, Class(0));
      return OneOf(std::move(set));
    }
    if (Take(".")) return OneOf(options_.dot_all ? AnyCharacter() : NotLineEnd());
    if (Take("^")) return LineBegin();
    if (Take("$")) return LineEnd();
    const char c = rest_.front();
    if (c == '*' || c == '+' || c == '?') return Invalid("a repeat of nothing");
    // Classes of characters keep their letter case, unlike characters.
    const bool escape = rest_.size() > 1 && c == '\\' &&
                        std::string_view("pPsSdDwWhHNO").find(rest_[1]) != std::string_view::npos;
    SMELT_ASSIGN_OR_RETURN(CharSet set, Atom(false));
    if (!escape && options_.fold) {
      literal = set.front().first;
      if (FoldsToSeveral(literal))
        return Unsupported("(?i) with a letter whose other form is several characters");
      set = FoldCase(set);
    }
    return OneOf(std::move(set));
  }

  absl::StatusOr<RegexNode> OneOf(CharSet set) {
    SMELT_RETURN_IF_ERROR(Spend(set.size()));
    return SetNode(std::move(set));
  }

  std::optional<RegexNode> TakeAnchor() {
    if (Take("\\b")) return WordBoundary(true);
    if (Take("\\B")) return WordBoundary(false);
    if (Take("\\A")) return TextBegin();
    if (Take("\\z")) return TextEnd();
    if (Take("\\Z")) return TextOrLastLineEnd();
    return std::nullopt;
  }

  // Every kind of group.
  absl::StatusOr<RegexNode> Parenthesis(int depth) {
    if (TakeOptions(':')) return Group(depth, next_);
    struct LookSyntax {
      std::string_view text;
      bool behind, negated;
    };
    for (const LookSyntax& look :
         {LookSyntax{"(?=", false, false}, LookSyntax{"(?!", false, true},
          LookSyntax{"(?<=", true, false}, LookSyntax{"(?<!", true, true}}) {
      if (!Take(look.text)) continue;
      SMELT_ASSIGN_OR_RETURN(RegexNode inner, Group(depth, options_));
      return Look(std::move(inner), look.behind, look.negated);
    }
    if (Take("(?>")) {
      SMELT_ASSIGN_OR_RETURN(RegexNode inner, Group(depth, options_));
      return MakeNode(Kind::kAtomic, NodeList(std::move(inner)));
    }
    if (rest_.starts_with("(*")) return Unsupported("a group that begins with *");
    if (rest_.starts_with("(?<") || rest_.starts_with("(?'")) {
      SMELT_RETURN_IF_ERROR(SkipGroupName());
      return Group(depth, options_);
    }
    if (rest_.starts_with("(?")) return Unsupported("a kind of group that we do not know");
    Take("(");
    return Group(depth, options_);
  }

  // "(?<name>" and "(?'name'": a name matters to back references only.
  absl::Status SkipGroupName() {
    const char close = rest_[2] == '<' ? '>' : '\'';
    const size_t end = rest_.find(close, 3);
    if (end == std::string_view::npos) return Invalid("an open name of a group");
    std::string_view name = rest_.substr(3, end - 3);
    rest_.remove_prefix(end + 1);
    bool good = !name.empty() && !(name.front() >= '0' && name.front() <= '9');
    while (good && !name.empty()) {
      const Utf8Char c = DecodeUtf8(name);
      good = c.valid && Contains(EscapeSet('w'), c.code_point);
      name.remove_prefix(c.length);
    }
    return good ? absl::OkStatus() : Invalid("a bad name of a group");
  }

  // "(?:", "(?i:", "(?m-i:" and so on where `end` is a colon, "(?i)" where it is a parenthesis; m
  // lets the dot match line ends (Ruby's meaning).
  bool TakeOptions(char end) {
    if (!rest_.starts_with("(?")) return false;
    next_ = options_;
    bool on = true;
    for (size_t i = 2; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == end && (end == ':' || i > 2)) {
        rest_.remove_prefix(i + 1);
        return true;
      }
      if (c == '-' && on) {
        on = false;
      } else if (c == 'i') {
        next_.fold = on;
      } else if (c == 'm') {
        next_.dot_all = on;
      } else {
        return false;
      }
    }
    return false;
  }

  // Behind what opens it.
  absl::StatusOr<RegexNode> Group(int depth, Options options) {
    const Options before = std::exchange(options_, options);
    SMELT_ASSIGN_OR_RETURN(RegexNode node, Alternative(depth + 1));
    options_ = before;
    if (!Take(")")) return Invalid("an open parenthesis");
    return node;
  }

  // A single character or an escape.
  absl::StatusOr<CharSet> Atom(bool in_class) {
    if (!Take("\\")) {
      const Utf8Char c = DecodeUtf8(rest_);
      if (!c.valid) return Invalid("a byte that is not UTF-8");
      rest_.remove_prefix(c.length);
      return CharSet{{c.code_point, c.code_point}};
    }
    if (rest_.empty()) return Invalid("a lone backslash at its end");
    const char c = rest_.front();
    if (c == 'p' || c == 'P') return Property();
    const Utf8Char literal = DecodeUtf8(rest_);
    rest_.remove_prefix(literal.length);
    switch (c) {
      case 's':
      case 'd':
      case 'w':
        return EscapeSet(c);
      case 'S':
      case 'D':
      case 'W':
        return Complement(EscapeSet(static_cast<char>(c + 32)));
      case 'n':
        return CharSet{{'\n', '\n'}};
      case 'r':
        return CharSet{{'\r', '\r'}};
      case 't':
        return CharSet{{'\t', '\t'}};
      case 'f':
        return CharSet{{'\f', '\f'}};
      case 'v':
        return CharSet{{'\v', '\v'}};
      case 'a':
        return CharSet{{'\a', '\a'}};
      case 'e':
        return CharSet{{0x1b, 0x1b}};
      case 'h':
      case 'H': {
        const CharSet digits = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
        return c == 'h' ? digits : Complement(digits);
      }
      case 'N':
      case 'O':
        if (in_class) break;
        return c == 'N' ? NotLineEnd() : AnyCharacter();
      case 'x':
      case 'u':
        return Hex(c == 'u' ? 4 : 2);
      default:
        break;
    }
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (word && !(in_class && c == 'b')) return Unsupported(Cat("the escape \\", c));
    if (word) return CharSet{{'\b', '\b'}};
    return CharSet{{literal.code_point, literal.code_point}};
  }

  absl::StatusOr<CharSet> Hex(size_t digits) {
    const bool braces = digits == 2 && Take("{");
    char32_t value = 0;
    size_t n = 0;
    for (; n < (braces ? 6 : digits) && n < rest_.size(); ++n) {
      const char c = rest_[n];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value * 16 + static_cast<char32_t>(digit);
    }
    rest_.remove_prefix(n);
    if (n == 0 || value > 0x10ffff || (braces && !Take("}")))
      return Invalid("a bad hexadecimal escape");
    if (digits == 2 && !braces && value >= 0x80)
      return Unsupported("a byte beyond ASCII (\\x{...} is a character)");
    return CharSet{{value, value}};
  }

  absl::StatusOr<CharSet> Property() {
    bool negated = rest_.front() == 'P';
    rest_.remove_prefix(1);
    std::string_view name = rest_.substr(0, 1);
    if (Take("{")) {
      if (Take("^")) negated = !negated;
      const size_t end = rest_.find('}');
      if (end == std::string_view::npos) return Invalid("an open \\p{");
      name = rest_.substr(0, end);
      rest_.remove_prefix(end + 1);
    } else {
      rest_.remove_prefix(name.size());
    }
    std::optional<CharSet> set = PropertySet(name);
    if (!set) return Unsupported(Cat("the property \\p{", Escape(name, 30), "}"));
    return negated ? Complement(*set) : *set;
  }

  // "[:alpha:]" and "[:^alpha:]", behind the bracket; nothing for what is none.
  absl::StatusOr<std::optional<CharSet>> Posix() {
    std::string_view name = rest_;
    if (!name.starts_with(":")) return std::nullopt;
    const size_t end = name.find(":]");
    if (end == 0 || end == std::string_view::npos) return std::nullopt;
    name = name.substr(1, end - 1);
    const bool negated = name.starts_with("^");
    if (negated) name.remove_prefix(1);
    if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz") != std::string_view::npos)
      return std::nullopt;
    std::optional<CharSet> set = PropertySet(Cat("[:", name, ":]"));
    if (!set) return Invalid(Cat("an unknown class [:", Escape(name, 30), ":]"));
    rest_.remove_prefix(end + 2);
    return negated ? Complement(*set) : *set;
  }

  // Behind "[". Letter case counts for a class as a whole, before the outermost ^ turns it around.
  absl::StatusOr<CharSet> Class(int depth) {
    if (depth > kMaxDepth) return Unsupported("classes nested too deep");
    const bool negated = Take("^");
    std::optional<CharSet> meet;  // of the operands of && before this one
    CharSet set;                  // in the order of the text until Finish
    const auto finish = [&] {
      set = Union(set, {});
      if (!meet) return;
      set = Complement(Union(Complement(*meet), Complement(set)));
    };
    // A bracket at the beginning is a character where another one closes the class.
    if (rest_.starts_with("]")) {
      if (rest_.find(']', 1) == std::string_view::npos) return Invalid("an empty class");
      rest_.remove_prefix(1);
      set = {{']', ']'}};
      if (rest_.starts_with("-")) return Unsupported("a range from a bracket");
    }
    while (!Take("]")) {
      if (rest_.empty()) return Invalid("an open bracket");
      if (Take("&&")) {
        finish();
        meet = std::exchange(set, {});
        continue;
      }
      SMELT_ASSIGN_OR_RETURN(const CharSet part, Take("[") ? NestedClass(depth) : RangeOrAtom());
      SMELT_RETURN_IF_ERROR(Spend(part.size()));
      set.insert(set.end(), part.begin(), part.end());
    }
    finish();
    if (depth == 0 && options_.fold) set = FoldCase(set);
    return negated ? Complement(set) : set;
  }

  // "[:alpha:]" or "[...]", behind the bracket.
  absl::StatusOr<CharSet> NestedClass(int depth) {
    SMELT_ASSIGN_OR_RETURN(std::optional<CharSet> posix, Posix());
    if (!posix) return Class(depth + 1);
    if (rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']')
      return Invalid("a range from a class");
    return *std::move(posix);
  }

  absl::StatusOr<CharSet> RangeOrAtom() {
    SMELT_ASSIGN_OR_RETURN(CharSet low, Atom(true));
    const bool range = rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']';
    if (!range) return low;
    rest_.remove_prefix(1);
    if (rest_.front() == '[' || rest_.starts_with("&&"))
      return Unsupported("a range between classes");
    SMELT_ASSIGN_OR_RETURN(const CharSet high, Atom(true));
    const auto single = [](const CharSet& s) { return s.size() == 1 && s[0].first == s[0].second; };
    if (!single(low) || !single(high)) return Invalid("a range between classes");
    if (low[0].first > high[0].first) return Invalid("a range whose ends are reversed");
    return CharSet{{low[0].first, high[0].first}};
  }

  std::string_view all_, rest_;
  Options options_, next_;
  size_t size_ = 0;
};

}  // namespace

absl::StatusOr<RegexNode> ParseRegex(std::string_view pattern) { return Parser(pattern).Parse(); }

}  // namespace smelt
