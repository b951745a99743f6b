// Methods of Python's texts.
#include <algorithm>

#include "lib/base/cat.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/methods.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

Value Like(Renderer& renderer, const Value& self, std::string text) {
  return renderer.Text(std::move(text), self.string()->markup);
}

template <bool left, bool right>
Value StripMethod(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("strip", arguments, {"chars"});
  const std::string_view text = self.text();
  if (!parameters.Has(0) || parameters[0].is_none())
    return Like(renderer, self, std::string(Strip(text, left, right)));
  return Like(renderer, self, std::string(Strip(text, parameters.Text(0, ""), left, right)));
}

// [start, end) of the method's second and third argument, as bytes.
std::string_view Window(const Value& self, const Parameters& parameters, size_t& offset) {
  const std::string& text = self.text();
  const int64_t length = static_cast<int64_t>(CountCharacters(text));
  const auto bound = [&](size_t i, int64_t otherwise) {
    if (!parameters.Has(i) || parameters[i].is_none()) return otherwise;
    const int64_t at = parameters.Integer(i, 0);
    return std::clamp<int64_t>(at < 0 ? at + length : at, 0, length);
  };
  const int64_t begin = bound(1, 0), end = bound(2, length);
  offset = OffsetOfCharacter(text, static_cast<size_t>(begin));
  return Substring(text, begin, end);
}

template <bool at_end>
Value Affix(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters(at_end ? "endswith" : "startswith", arguments,
                              {"prefix", "start", "end"}, 1);
  size_t offset = 0;
  const std::string_view text = Window(self, parameters, offset);
  const auto matches = [&](const Value& affix) {
    RequireDefined(affix);
    if (!affix.is_string()) {
      throw TemplateError{
          Cat("startswith and endswith take str or a tuple of str, not ", affix.type_name())};
    }
    return at_end ? text.ends_with(affix.text()) : text.starts_with(affix.text());
  };
  const Value& affix = parameters[0];
  if (affix.is_list() && affix.list()->kind == ListKind::kTuple)
    return Value(std::ranges::any_of(affix.list()->items, matches));
  return Value(matches(affix));
}

size_t FindFrom(std::string_view text, std::string_view part, size_t begin) {
  const size_t found = FindText(text.substr(begin), part);
  return found == std::string_view::npos ? found : begin + found;
}

Value Replace(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"}, 2);
  const std::string old = parameters.Text(0, ""), fresh = parameters.Text(1, "");
  int64_t left = parameters.Integer(2, -1);
  const std::string& text = self.text();
  std::string out;
  size_t at = 0;
  while (left != 0) {
    const size_t found = FindFrom(text, old, at);
    if (found == std::string::npos) break;
    out.append(text, at, found - at);
    out += fresh;
    at = found + old.size();
    if (old.empty()) {  // between all characters
      if (at == text.size()) break;
      const size_t length = DecodeUtf8(std::string_view(text).substr(at)).length;
      out.append(text, at, length);
      at += length;
    }
    if (left > 0) --left;
    renderer.budget().Step();
    const Charge fits(renderer.budget(), out.size() < 4096 ? 0 : out.size() / 64);
    if (out.size() > kLongestText) throw TemplateError{"builds texts that are too large"};
  }
  out.append(text, std::min(at, text.size()));
  return Like(renderer, self, std::move(out));
}

// What spaces separate: no empty pieces.
std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  for (text = Strip(text, true, false); !text.empty(); text = Strip(text, true, false)) {
    size_t end = 0;
    while (end < text.size() && !IsSpace(DecodeUtf8(text.substr(end)).code_point))
      end += DecodeUtf8(text.substr(end)).length;
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

// So many words (a negative number: all) from one end, and the rest of the text as one piece.
std::vector<std::string_view> SplitAtSpaces(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> words = Words(text);
  if (limit < 0 || static_cast<int64_t>(words.size()) <= limit) return words;
  const auto kept = static_cast<ptrdiff_t>(limit);
  if (from_right) {
    const auto last = words.end() - kept - 1;  // of the rest
    const char* const end = last->data() + last->size();
    *last = text.substr(0, static_cast<size_t>(end - text.data()));
    words.erase(words.begin(), last);
  } else {
    const auto first = words.begin() + kept;
    *first = text.substr(static_cast<size_t>(first->data() - text.data()));
    words.erase(first + 1, words.end());
  }
  return words;
}

size_t FindNext(std::string_view text, std::string_view part, bool from_right) {
  return from_right ? FindTextFromRight(text, part) : FindText(text, part);
}

std::vector<std::string_view> SplitAt(std::string_view text, std::string_view separator,
                                      int64_t limit, bool from_right) {
  std::vector<std::string_view> pieces;
  while (limit < 0 || static_cast<int64_t>(pieces.size()) < limit) {
    const size_t found = FindNext(text, separator, from_right);
    if (found == std::string_view::npos) break;
    const std::string_view before = text.substr(0, found);
    const std::string_view after = text.substr(found + separator.size());
    pieces.push_back(from_right ? after : before);
    text = from_right ? before : after;
  }
  pieces.push_back(text);
  if (from_right) std::ranges::reverse(pieces);
  return pieces;
}

Value TextList(Renderer& renderer, const std::vector<std::string_view>& pieces,
               ListKind kind = ListKind::kList) {
  std::vector<Value> items;
  for (const std::string_view piece : pieces) items.push_back(renderer.Text(std::string(piece)));
  return MakeList(renderer.budget(), std::move(items), kind);
}

template <bool from_right>
Value Split(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("split", arguments, {"sep", "maxsplit"});
  const int64_t limit = parameters.Integer(1, -1);
  renderer.budget().Take(0);
  renderer.budget().Step(self.text().size());
  if (!parameters.Has(0) || parameters[0].is_none()) {
    return TextList(renderer, SplitAtSpaces(self.text(), limit, from_right));
  }
  const std::string separator = parameters.Text(0, "");
  if (separator.empty()) throw TemplateError{"empty separator"};
  return TextList(renderer, SplitAt(self.text(), separator, limit, from_right));
}

Value SplitLinesMethod(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("splitlines", arguments, {"keepends"});
  return TextList(renderer, SplitLines(self.text(), parameters.Truth(0, false)));
}

template <bool from_right>
Value Partition(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("partition", arguments, {"sep"}, 1);
  const std::string separator = parameters.Text(0, "");
  if (separator.empty()) throw TemplateError{"empty separator"};
  const std::string_view text = self.text();
  const size_t found = FindNext(text, separator, from_right);
  std::vector<std::string_view> parts;
  if (found != std::string_view::npos) {
    parts = {text.substr(0, found), separator, text.substr(found + separator.size())};
  } else if (from_right) {
    parts = {"", "", text};
  } else {
    parts = {text, "", ""};
  }
  return TextList(renderer, parts, ListKind::kTuple);
}

// The character's number, or -1.
template <bool from_right>
int64_t Position(const Value& self, const Parameters& parameters) {
  size_t offset = 0;
  const std::string_view text = Window(self, parameters, offset);
  const std::string part = parameters.Text(0, "");
  const size_t found = FindNext(text, part, from_right);
  if (found == std::string_view::npos) return -1;
  return static_cast<int64_t>(
      CountCharacters(std::string_view(self.text()).substr(0, offset + found)));
}

template <bool from_right, bool must_be_there>
Value Find(Renderer&, const Value& self, const Arguments& arguments) {
  const Parameters parameters("find", arguments, {"sub", "start", "end"}, 1);
  const int64_t at = Position<from_right>(self, parameters);
  if (must_be_there && at < 0) throw TemplateError{"substring not found"};
  return Value(at);
}

Value CountText(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("count", arguments, {"sub", "start", "end"}, 1);
  size_t offset = 0;
  std::string_view text = Window(self, parameters, offset);
  const std::string part = parameters.Text(0, "");
  if (part.empty()) return Value(static_cast<int64_t>(CountCharacters(text)) + 1);
  renderer.budget().Step(text.size());
  int64_t count = 0;
  for (size_t at = FindText(text, part); at != std::string_view::npos;
       at = FindFrom(text, part, at + part.size()))
    ++count;
  return Value(count);
}

Value Join(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("join", arguments, {"iterable"}, 1);
  std::string out;
  bool first = true;
  for (const Value& item : Iterate(renderer.budget(), parameters[0])) {
    if (!item.is_string()) throw TemplateError{Cat("join() takes texts, found ", item.type_name())};
    if (!first) out += self.text();
    first = false;
    out += item.text();
    renderer.budget().Step(1 + item.text().size() / 64);
    if (out.size() > kLongestText) throw TemplateError{"builds texts that are too large"};
  }
  return Like(renderer, self, std::move(out));
}

Value Lower(Renderer& renderer, const Value& self, const Arguments&) {
  return Like(renderer, self, ToLower(self.text()));
}
Value Upper(Renderer& renderer, const Value& self, const Arguments&) {
  return Like(renderer, self, ToUpper(self.text()));
}

Value Capitalize(Renderer& renderer, const Value& self, const Arguments&) {
  const std::string& text = self.text();
  const size_t first = OffsetOfCharacter(text, 1);
  return Like(renderer, self, ToUpper(text.substr(0, first)) + ToLower(text.substr(first)));
}

// Upper case where no letter stands before.
Value Title(Renderer& renderer, const Value& self, const Arguments&) {
  std::string out;
  bool inside = false;
  ForEachCharacter(self.text(), [&](std::string_view character) {
    const char32_t c = DecodeUtf8(character).code_point;
    out += inside ? ToLower(character) : ToUpper(character);
    inside = IsLower(c) || IsUpper(c);
  });
  return Like(renderer, self, std::move(out));
}

Value SwapCase(Renderer& renderer, const Value& self, const Arguments&) {
  std::string out;
  ForEachCharacter(self.text(), [&](std::string_view character) {
    out += IsUpper(DecodeUtf8(character).code_point) ? ToLower(character) : ToUpper(character);
  });
  return Like(renderer, self, std::move(out));
}

template <char align>
Value Justify(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("ljust", arguments, {"width", "fillchar"}, 1);
  const std::string fill = parameters.Text(1, " ");
  if (CountCharacters(fill) != 1) throw TemplateError{"the fill character must be one character"};
  const int64_t missing = std::max<int64_t>(parameters.Integer(0, 0) - Length(self), 0);
  const Charge fits(renderer.budget(), static_cast<size_t>(missing) * fill.size());
  // Python's centre leans left or right by the parities of both lengths.
  const int64_t width = Length(self) + missing;
  const int64_t left = align == '<'   ? 0
                       : align == '>' ? missing
                                      : missing / 2 + (missing & width & 1);
  std::string before, after;
  for (int64_t i = 0; i < missing; ++i) (i < left ? before : after) += fill;
  return Like(renderer, self, before + self.text() + after);
}

Value ZeroFill(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("zfill", arguments, {"width"}, 1);
  const int64_t missing = std::max<int64_t>(parameters.Integer(0, 0) - Length(self), 0);
  const Charge fits(renderer.budget(), static_cast<size_t>(missing));
  std::string text = self.text();
  const size_t at = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return Like(renderer, self, text.insert(at, static_cast<size_t>(missing), '0'));
}

template <bool suffix>
Value RemoveAffix(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("removeprefix", arguments, {"affix"}, 1);
  const std::string affix = parameters.Text(0, "");
  std::string_view text = self.text();
  if (suffix ? text.ends_with(affix) : text.starts_with(affix))
    suffix ? text.remove_suffix(affix.size()) : text.remove_prefix(affix.size());
  return Like(renderer, self, std::string(text));
}

Value ExpandTabs(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("expandtabs", arguments, {"tabsize"});
  const int64_t size = std::clamp<int64_t>(parameters.Integer(0, 8), 0, 1 << 24);
  const Charge fits(renderer.budget(), self.text().size() * static_cast<size_t>(size + 1));
  std::string out;
  int64_t column = 0;
  ForEachCharacter(self.text(), [&](std::string_view character) {
    if (character == "\t") {
      const int64_t blanks = size == 0 ? 0 : size - column % size;
      out.append(static_cast<size_t>(blanks), ' ');
      column += blanks;
    } else {
      out += character;
      column = character == "\n" || character == "\r" ? 0 : column + 1;
    }
  });
  return Like(renderer, self, std::move(out));
}

Value Format(Renderer& renderer, const Value& self, const Arguments& arguments) {
  return Like(renderer, self, FormatBraces(renderer, self.text(), arguments));
}

// Whether all characters are of a kind, and there is one.
template <bool (*kind)(char32_t)>
Value AllAre(Renderer&, const Value& self, const Arguments&) {
  bool all = !self.text().empty();
  CurrentBudget::Step(self.text().size() / 4);
  ForEachCharacter(self.text(), [&](std::string_view character) {
    all = all && kind(DecodeUtf8(character).code_point);
  });
  return Value(all);
}

template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
Value IsCased(Renderer&, const Value& self, const Arguments&) {
  bool some = false, mixed = false;
  CurrentBudget::Step(self.text().size() / 4);
  ForEachCharacter(self.text(), [&](std::string_view character) {
    const char32_t c = DecodeUtf8(character).code_point;
    some |= wanted(c);
    mixed |= other(c);
  });
  return Value(some && !mixed);
}

bool IsAlphanumeric(char32_t c) { return IsAlpha(c) || IsNumeric(c); }

Value IsAscii(Renderer&, const Value& self, const Arguments&) {
  return Value(std::ranges::all_of(self.text(), [](char c) { return c >= 0; }));
}

constexpr NamedMethod kMethods[] = {
    {"strip", StripMethod<true, true>},
    {"lstrip", StripMethod<true, false>},
    {"rstrip", StripMethod<false, true>},
    {"startswith", Affix<false>},
    {"endswith", Affix<true>},
    {"replace", Replace},
    {"split", Split<false>},
    {"rsplit", Split<true>},
    {"splitlines", SplitLinesMethod},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"find", Find<false, false>},
    {"rfind", Find<true, false>},
    {"index", Find<false, true>},
    {"rindex", Find<true, true>},
    {"count", CountText},
    {"join", Join},
    {"lower", Lower},
    {"casefold", Lower},
    {"upper", Upper},
    {"capitalize", Capitalize},
    {"title", Title},
    {"swapcase", SwapCase},
    {"ljust", Justify<'<'>},
    {"rjust", Justify<'>'>},
    {"center", Justify<'^'>},
    {"zfill", ZeroFill},
    {"removeprefix", RemoveAffix<false>},
    {"removesuffix", RemoveAffix<true>},
    {"expandtabs", ExpandTabs},
    {"format", Format},
    {"isspace", AllAre<IsSpace>},
    {"isdigit", AllAre<IsDecimal>},
    {"isdecimal", AllAre<IsDecimal>},
    {"isnumeric", AllAre<IsNumeric>},
    {"isalpha", AllAre<IsAlpha>},
    {"isalnum", AllAre<IsAlphanumeric>},
    {"isascii", IsAscii},
    {"islower", IsCased<IsLower, IsUpper>},
    {"isupper", IsCased<IsUpper, IsLower>},
};

}  // namespace

std::span<const NamedMethod> TextMethods() { return kMethods; }

}  // namespace smelt::jinja
