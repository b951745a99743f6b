#include "lib/text/regex/regex_parser.h"

#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

using Kind = RegexNode::Kind;
constexpr int kMaxDepth = 50;
constexpr int kMaxRepeat = 64;

RegexNode SetNode(CharSet set) {
  RegexNode node;
  node.kind = Kind::kSet;
  node.set = std::move(set);
  return node;
}

// What groups switch on and off.
struct Options {
  bool fold = false;     ///< letter case does not count
  bool dot_all = false;  ///< the dot matches the end of a line too
};

// Takes as much as it can and gives nothing back: whatever follows, none of `set` does.
RegexNode Possessive(RegexNode repeat) {
  RegexNode look = SetNode(repeat.children.front().set);
  look.kind = Kind::kLook;
  look.negated = true;
  RegexNode node;
  if (repeat.max == 1) {
    node.kind = Kind::kAlternative;
    RegexNode once = std::move(repeat.children.front());
    node.children.push_back(std::move(once));
  } else {
    node.children.push_back(std::move(repeat));
  }
  node.children.push_back(std::move(look));
  return node;
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : all_(pattern), rest_(pattern) {}

  /// The class that begins at `at`, behind its bracket; `at` moves behind it.
  absl::StatusOr<CharSet> ClassAt(size_t& at) {
    rest_.remove_prefix(at);
    SMELT_ASSIGN_OR_RETURN(CharSet set, Class(0));
    at = all_.size() - rest_.size();
    return set;
  }

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

  absl::StatusOr<RegexNode> Alternative(int depth) {
    if (depth > kMaxDepth) return Unsupported("groups nested too deep");
    RegexNode node;
    node.kind = Kind::kAlternative;
    // At the beginning it holds for all alternatives; elsewhere Oniguruma and PCRE2 differ.
    const Options before = options_;
    if (Take("(?i)")) options_.fold = true;
    do {
      SMELT_ASSIGN_OR_RETURN(RegexNode branch, Sequence(depth));
      node.children.push_back(std::move(branch));
    } while (Take("|"));
    options_ = before;
    if (node.children.size() > 1) return node;
    RegexNode only = std::move(node.children.front());
    return only;
  }

  absl::StatusOr<RegexNode> Sequence(int depth) {
    RegexNode node;
    while (!rest_.empty() && rest_.front() != '|' && rest_.front() != ')') {
      SMELT_ASSIGN_OR_RETURN(RegexNode item, Item(depth));
      SMELT_ASSIGN_OR_RETURN(item, Quantified(std::move(item)));
      node.children.push_back(std::move(item));
    }
    return node;
  }

  absl::StatusOr<RegexNode> Quantified(RegexNode item) {
    for (int level = 0; !rest_.empty(); ++level) {
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
      if (item.kind == Kind::kLook) return Unsupported("a repeated lookahead");
      RegexNode repeat;
      repeat.kind = Kind::kRepeat;
      repeat.min = min;
      repeat.max = max;
      repeat.children.push_back(std::move(item));
      // "a{2}?" is "(?:a{2})?", and "a{2}+" is "(?:a{2})+": repeats of their own.
      if (!exact && Take("?")) {
        repeat.greedy = false;
      } else if (!counted && Take("+")) {
        if (repeat.children.front().kind != Kind::kSet)
          return Unsupported("a possessive quantifier behind a group");
        repeat = Possessive(std::move(repeat));
      }
      item = std::move(repeat);
    }
    return item;
  }

  // "{n}", "{n,}", "{,m}", "{n,m}"; anything else is a literal brace.
  bool Count(int& min, int& max, bool& exact) {
    size_t i = 1;
    const auto number = [&](int fallback) {
      const size_t begin = i;
      int value = 0;
      while (i < rest_.size() && rest_[i] >= '0' && rest_[i] <= '9' && i - begin < 6)
        value = value * 10 + (rest_[i++] - '0');
      return i == begin ? fallback : value;
    };
    const int first = number(-1);
    int low = first, high = first;
    const bool comma = i < rest_.size() && rest_[i] == ',';
    if (comma) {
      ++i;
      high = number(-1);
      if (first < 0 && high < 0) return false;
      if (first < 0) low = 0;
    } else if (first < 0) {
      return false;
    }
    if (i >= rest_.size() || rest_[i] != '}') return false;
    min = low;
    max = high;
    exact = !comma;
    rest_.remove_prefix(i + 1);
    return true;
  }

  absl::StatusOr<RegexNode> Item(int depth) {
    if (TakeOptions()) return Group(depth, next_);
    if (Take("(?=")) return Look(depth, false);
    if (Take("(?!")) return Look(depth, true);
    if (rest_.starts_with("(?")) return Unsupported("a kind of group that we do not know");
    if (Take("(")) return Group(depth, options_);
    if (Take("[")) {
      SMELT_ASSIGN_OR_RETURN(CharSet set, Class(0));
      return SetNode(std::move(set));
    }
    const CharSet line = Complement({{'\n', '\n'}});
    if (Take(".")) return SetNode(options_.dot_all ? Complement({}) : line);
    if (Take("$")) {  // the end of a line: no character of one follows
      RegexNode node = SetNode(line);
      node.kind = Kind::kLook;
      node.negated = true;
      return node;
    }
    const char c = rest_.front();
    if (c == '^') return Unsupported("the anchor ^");
    if (c == '*' || c == '+' || c == '?') return Invalid("a repeat of nothing");
    // Classes of characters keep their letter case, unlike characters.
    const bool escape = rest_.size() > 1 && c == '\\' &&
                        std::string_view("pPsSdDwWhHNO").find(rest_[1]) != std::string_view::npos;
    SMELT_ASSIGN_OR_RETURN(CharSet set, Atom(false));
    if (escape) return SetNode(std::move(set));
    SMELT_ASSIGN_OR_RETURN(set, Folded(std::move(set)));
    return SetNode(std::move(set));
  }

  absl::StatusOr<CharSet> Folded(CharSet set) {
    if (!options_.fold) return set;
    std::optional<CharSet> folded = FoldAscii(set);
    if (!folded) return Unsupported("letter case beyond ASCII");
    return *std::move(folded);
  }

  // "(?:", "(?i:", "(?m-i:" and so on; m lets the dot match line ends (Ruby's meaning).
  bool TakeOptions() {
    if (!rest_.starts_with("(?")) return false;
    next_ = options_;
    bool on = true;
    for (size_t i = 2; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == ':') {
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

  absl::StatusOr<RegexNode> Group(int depth, Options options) {
    const Options before = std::exchange(options_, options);
    SMELT_ASSIGN_OR_RETURN(RegexNode node, Alternative(depth + 1));
    options_ = before;
    if (!Take(")")) return Invalid("an open parenthesis");
    return node;
  }

  absl::StatusOr<RegexNode> Look(int depth, bool negated) {
    SMELT_ASSIGN_OR_RETURN(RegexNode inner, Group(depth, options_));
    while (inner.kind == Kind::kConcat && inner.children.size() == 1) {
      RegexNode only = std::move(inner.children.front());
      inner = std::move(only);
    }
    if (inner.kind != Kind::kSet) return Unsupported("a lookahead over more than one character");
    inner.kind = Kind::kLook;
    inner.negated = negated;
    return inner;
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
      case 'h':
      case 'H': {
        const CharSet digits = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
        return c == 'h' ? digits : Complement(digits);
      }
      case 'N':
      case 'O':
        if (in_class) break;
        return c == 'N' ? Complement({{'\n', '\n'}}) : Complement({});
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
    CharSet set;
    const auto intersect = [](const CharSet& a, const CharSet& b) {
      return Complement(Union(Complement(a), Complement(b)));
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
        meet = meet ? intersect(*meet, set) : set;
        set.clear();
        continue;
      }
      if (Take("[")) {
        SMELT_ASSIGN_OR_RETURN(std::optional<CharSet> inner, Posix());
        const bool posix = inner.has_value();
        if (!posix) {
          SMELT_ASSIGN_OR_RETURN(inner, Class(depth + 1));
        }
        set = Union(set, *inner);
        if (posix && rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']')
          return Invalid("a range from a class");
        continue;
      }
      SMELT_ASSIGN_OR_RETURN(CharSet low, Atom(true));
      const bool range = rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']';
      if (!range) {
        set = Union(set, low);
        continue;
      }
      rest_.remove_prefix(1);
      if (rest_.front() == '[' || rest_.starts_with("&&"))
        return Unsupported("a range between classes");
      SMELT_ASSIGN_OR_RETURN(CharSet high, Atom(true));
      const auto single = [](const CharSet& s) {
        return s.size() == 1 && s[0].first == s[0].second;
      };
      if (!single(low) || !single(high)) return Invalid("a range between classes");
      if (low[0].first > high[0].first) return Invalid("a range whose ends are reversed");
      set = Union(set, {{low[0].first, high[0].first}});
    }
    if (meet) set = intersect(*meet, set);
    if (depth == 0) {
      SMELT_ASSIGN_OR_RETURN(set, Folded(std::move(set)));
    }
    return negated ? Complement(set) : set;
  }

  std::string_view all_, rest_;
  Options options_, next_;
};

}  // namespace

absl::StatusOr<RegexNode> ParseRegex(std::string_view pattern) { return Parser(pattern).Parse(); }

absl::StatusOr<CharSet> ParseRegexClass(std::string_view pattern, size_t& at) {
  return Parser(pattern).ClassAt(at);
}

}  // namespace smelt
