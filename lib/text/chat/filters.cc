// `value | NAME(...)`.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <span>

#include "lib/base/cat.h"
#include "lib/text/chat/builtins.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

constexpr size_t kLongestText = 64 << 20;

std::string TextOf(Renderer& renderer, const Value& value) {
  return ToText(renderer.budget(), value);
}

bool IsMarkup(const Value& value) { return value.is_string() && value.string()->markup; }

Value TextLike(Renderer& renderer, const Value& value, std::string text) {
  return renderer.Text(std::move(text), IsMarkup(value));
}

// The method of a text, on whatever value as text.
template <const char* name>
Value AsMethod(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Value text = value.is_string() ? value : renderer.Text(TextOf(renderer, value));
  return renderer.Call(*FindMethod(renderer, text, name), arguments);
}
constexpr char kLower[] = "lower", kUpper[] = "upper", kCapitalize[] = "capitalize",
               kStrip[] = "strip", kReplace[] = "replace", kCenter[] = "center";

// ---------------------------------------------------------------------- values
Value DefaultFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("default", arguments, {"default_value", "boolean"});
  const bool absent = value.is_undefined() || (parameters.Truth(1, false) && !value.truth());
  return absent ? parameters.Or(0, renderer.Text("")) : value;
}

Value LengthFilter(Renderer&, const Value& value, const Arguments&) { return Value(Length(value)); }

Value StringFilter(Renderer& renderer, const Value& value, const Arguments&) {
  return value.is_string() ? value : renderer.Text(TextOf(renderer, value));
}

Value SafeFilter(Renderer& renderer, const Value& value, const Arguments&) {
  return renderer.Text(TextOf(renderer, value), true);
}

Value EscapeFilter(Renderer& renderer, const Value& value, const Arguments&) {
  if (IsMarkup(value)) return value;
  return renderer.Text(EscapeMarkup(TextOf(renderer, value)), true);
}

Value ForceEscapeFilter(Renderer& renderer, const Value& value, const Arguments&) {
  return renderer.Text(EscapeMarkup(TextOf(renderer, value)), true);
}

Value AttrFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("attr", arguments, {"name"}, 1);
  const std::string name = parameters.Text(0, "");
  if (!value.is_dict()) return renderer.Attribute(value, name);
  if (std::optional<Value> method = FindMethod(renderer, value, name)) return *method;
  return Value::MakeUndefined(Cat("'dict object' has no attribute '", Escape(name, 60), "'"));
}

Value ToJsonFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("tojson", arguments,
                              {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = parameters.Truth(0, false);
  style.sort_keys = parameters.Truth(3, false);
  const Value indent = parameters.Or(1, Value());
  if (indent.is_string()) {
    style.indent = indent.text();
  } else if (!indent.is_none()) {
    const int64_t blanks = std::clamp<int64_t>(parameters.Integer(1, 0), 0, 100000);
    style.indent = std::string(static_cast<size_t>(blanks), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (parameters.Has(2) && !parameters[2].is_none()) {
    const std::vector<Value> both = Iterate(renderer.budget(), parameters[2]);
    if (both.size() != 2 || !both[0].is_string() || !both[1].is_string())
      throw TemplateError{"tojson() takes two texts as separators"};
    style.item_separator = both[0].text();
    style.key_separator = both[1].text();
  }
  return renderer.Text(ToJson(renderer.budget(), value, style));
}

// ---------------------------------------------------------------------- numbers
std::optional<double> ParseReal(std::string_view text) {
  CurrentBudget::Step(1 + text.size() / 64);
  text = Strip(text, true, true);
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<int64_t> ParseInteger(std::string_view text, int base) {
  CurrentBudget::Step(1 + text.size() / 64);
  text = Strip(text, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (base != 10 && text.size() > 2 && text[0] == '0') {
    const char kind = static_cast<char>(text[1] | 32);
    if ((base == 16 && kind == 'x') || (base == 8 && kind == 'o') || (base == 2 && kind == 'b'))
      text.remove_prefix(2);
  }
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return negative ? -number : number;
}

Value IntFilter(Renderer&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("int", arguments, {"default", "base"});
  const Value otherwise = parameters.Or(0, Value(int64_t{0}));
  const int64_t base = parameters.Integer(1, 10);
  RequireDefined(value);
  if (value.is_integer()) return Value(value.integer());
  std::optional<double> real;
  if (value.is_float()) real = value.real();
  if (value.is_string()) {
    if (base < 2 || base > 36) throw TemplateError{"int() base must be between 2 and 36"};
    if (const auto whole = ParseInteger(value.text(), static_cast<int>(base))) return Value(*whole);
    real = ParseReal(value.text());
  }
  if (!real || !(std::fabs(*real) < 9.2e18)) return otherwise;
  return Value(static_cast<int64_t>(*real));
}

Value FloatFilter(Renderer&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("float", arguments, {"default"});
  RequireDefined(value);
  if (value.is_number()) return Value(value.real());
  const std::optional<double> real =
      value.is_string() ? ParseReal(value.text()) : std::optional<double>();
  return real ? Value(*real) : parameters.Or(0, Value(0.0));
}

Value AbsFilter(Renderer&, const Value& value, const Arguments&) {
  RequireDefined(value);
  if (!value.is_number())
    throw TemplateError{Cat("bad operand type for abs(): '", value.type_name(), "'")};
  if (value.is_float()) return Value(std::fabs(value.real()));
  return value.integer() < 0 ? Negated(value) : Value(value.integer());
}

Value RoundFilter(Renderer&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("round", arguments, {"precision", "method"});
  const int64_t precision = std::clamp<int64_t>(parameters.Integer(0, 0), -300, 300);
  const std::string method = parameters.Text(1, "common");
  RequireDefined(value);
  if (!value.is_number()) throw TemplateError{Cat("a ", value.type_name(), " cannot be rounded")};
  if (method == "ceil" || method == "floor") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = value.real() * scale;
    return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
  }
  if (method != "common") throw TemplateError{"method must be common, ceil or floor"};
  if (value.is_integer() && precision >= 0) return Value(value.integer());
  if (precision >= 0) {  // the digits as printed: rounded once, half to even
    char digits[720];
    std::snprintf(digits, sizeof(digits), "%.*f", static_cast<int>(precision), value.real());
    return Value(std::strtod(digits, nullptr));
  }
  const double scale = std::pow(10.0, static_cast<double>(-precision));
  const double rounded = std::nearbyint(value.real() / scale) * scale;
  return value.is_integer() ? Value(static_cast<int64_t>(rounded)) : Value(rounded);
}

// ---------------------------------------------------------------------- texts
Value TrimFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return AsMethod<kStrip>(renderer, value, arguments);
}

Value TitleFilter(Renderer& renderer, const Value& value, const Arguments&) {
  constexpr std::string_view kBreaks = "-([{<";
  std::string out;
  bool begins = true;
  ForEachCharacter(TextOf(renderer, value), [&](std::string_view character) {
    const bool breaks =
        IsSpace(DecodeUtf8(character).code_point) ||
        (character.size() == 1 && kBreaks.find(character) != std::string_view::npos);
    out += begins ? ToUpper(character) : ToLower(character);
    begins = breaks;
  });
  return TextLike(renderer, value, std::move(out));
}

Value ReplaceFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"}, 2);
  Arguments texts;
  for (size_t i = 0; i < 2; ++i)
    texts.positional.push_back(renderer.Text(TextOf(renderer, parameters[i])));
  if (parameters.Has(2) && !parameters[2].is_none()) texts.positional.push_back(parameters[2]);
  return AsMethod<kReplace>(renderer, renderer.Text(TextOf(renderer, value)), texts);
}

Value CenterFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("center", arguments, {"width"});
  return AsMethod<kCenter>(renderer, value, {{Value(parameters.Integer(0, 80))}, {}});
}

Value IndentFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("indent", arguments, {"width", "first", "blank"});
  const Value width = parameters.Or(0, Value(int64_t{4}));
  const std::string margin =
      width.is_string()
          ? width.text()
          : std::string(static_cast<size_t>(std::clamp<int64_t>(parameters.Integer(0, 4), 0, 1000)),
                        ' ');
  RequireDefined(value);
  if (!value.is_string()) throw TemplateError{Cat("indent() takes str, not ", value.type_name())};
  const std::string text = Cat(value.text(), "\n");
  const bool first = parameters.Truth(1, false), blank = parameters.Truth(2, false);
  std::string out;
  bool begins = true;
  for (const std::string_view line : SplitLines(text, false)) {
    if (!begins) out += '\n';
    if (begins ? first : blank || !line.empty()) out += margin;
    out += line;
    begins = false;
    renderer.budget().Step(1 + (margin.size() + line.size()) / 64);
    if (out.size() > kLongestText) throw TemplateError{"builds texts that are too large"};
  }
  return TextLike(renderer, value, std::move(out));
}

Value WordCountFilter(Renderer& renderer, const Value& value, const Arguments&) {
  int64_t count = 0;
  bool inside = false;
  ForEachCharacter(TextOf(renderer, value), [&](std::string_view character) {
    const char32_t c = DecodeUtf8(character).code_point;
    const bool word = IsAlpha(c) || IsNumeric(c) || c == '_';
    count += word && !inside;
    inside = word;
  });
  return Value(count);
}

Value TruncateFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const int64_t length = parameters.Integer(0, 255), leeway = parameters.Integer(3, 5);
  const std::string end = parameters.Text(2, "...");
  const int64_t marked = static_cast<int64_t>(CountCharacters(end));
  if (length < marked || leeway < 0)
    throw TemplateError{"truncate() needs a length that its end fits into"};
  if (Length(value) <= length + leeway) return value;
  if (!value.is_string()) throw TemplateError{Cat("truncate() cannot cut a ", value.type_name())};
  const std::string& text = value.text();
  std::string_view kept = Substring(text, 0, length - marked);
  if (!parameters.Truth(1, false)) kept = kept.substr(0, kept.rfind(' '));
  return TextLike(renderer, value, Cat(kept, end));
}

Value FormatFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty())
    throw TemplateError{"format() takes values by position or by name, not both"};
  Value values = MakeList(renderer.budget(), arguments.positional, ListKind::kTuple);
  if (!arguments.named.empty()) {
    std::vector<std::pair<Value, Value>> items;
    for (const auto& [name, item] : arguments.named) items.emplace_back(renderer.Text(name), item);
    values = MakeDict(renderer.budget(), std::move(items));
  }
  return TextLike(renderer, value,
                  FormatPercent(renderer.budget(), TextOf(renderer, value), values));
}

Value UrlEncodeFilter(Renderer& renderer, const Value& value, const Arguments&) {
  const auto quoted = [&](const Value& part, std::string_view safe) {
    std::string out;
    for (const char c : TextOf(renderer, part)) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') ||
                         std::string_view("_.-~").find(c) != std::string_view::npos;
      constexpr char kDigits[] = "0123456789ABCDEF";
      const unsigned char byte = static_cast<unsigned char>(c);
      if (plain || safe.find(c) != std::string_view::npos) {
        out += c;
      } else if (c == ' ' && safe.empty()) {
        out += '+';
      } else {
        out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
      }
    }
    return out;
  };
  if (!value.is_dict() && !value.is_list()) return renderer.Text(quoted(value, "/"));
  std::string out;
  const Value pairs =
      value.is_dict() ? renderer.Call(*FindMethod(renderer, value, "items"), {}) : value;
  for (const Value& pair : Iterate(renderer.budget(), pairs)) {
    const std::vector<Value> both = Iterate(renderer.budget(), pair);
    if (both.size() != 2) throw TemplateError{"urlencode() takes pairs"};
    out += Cat(out.empty() ? "" : "&", quoted(both[0], ""), "=", quoted(both[1], ""));
  }
  return renderer.Text(std::move(out));
}

// ---------------------------------------------------------------------- lists
Value ListFilter(Renderer& renderer, const Value& value, const Arguments&) {
  return MakeList(renderer.budget(), Iterate(renderer.budget(), value));
}

Value ItemsFilter(Renderer& renderer, const Value& value, const Arguments&) {
  if (value.is_undefined()) return MakeList(renderer.budget(), {}, ListKind::kGenerator);
  if (!value.is_dict()) throw TemplateError{"Can only get item pairs from a mapping."};
  const Value items = renderer.Call(*FindMethod(renderer, value, "items"), {});
  return MakeList(renderer.budget(), items.list()->items, ListKind::kGenerator);
}

Value FirstFilter(Renderer& renderer, const Value& value, const Arguments&) {
  const std::vector<Value> items = Iterate(renderer.budget(), value);
  return items.empty() ? Value::MakeUndefined("No first item, sequence was empty.") : items.front();
}

Value LastFilter(Renderer& renderer, const Value& value, const Arguments&) {
  const std::vector<Value> items = Iterate(renderer.budget(), value);
  return items.empty() ? Value::MakeUndefined("No last item, sequence was empty.") : items.back();
}

Value JoinFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("join", arguments, {"d", "attribute"});
  const std::string separator = parameters.Has(0) ? TextOf(renderer, parameters[0]) : "";
  std::string out;
  bool first = true;
  for (const Value& item : Iterate(renderer.budget(), value)) {
    if (!first) out += separator;
    first = false;
    const bool by_attribute = parameters.Has(1) && !parameters[1].is_none();
    out += TextOf(renderer, by_attribute ? FollowPath(renderer, item, parameters[1]) : item);
    renderer.budget().Step(1 + separator.size() / 64);
    if (out.size() > kLongestText) throw TemplateError{"builds texts that are too large"};
  }
  return renderer.Text(std::move(out));
}

Value ReverseFilter(Renderer& renderer, const Value& value, const Arguments&) {
  std::vector<Value> items = Iterate(renderer.budget(), value);
  std::ranges::reverse(items);
  if (!value.is_string())
    return MakeList(renderer.budget(), std::move(items), ListKind::kGenerator);
  std::string out;
  for (const Value& item : items) out += item.text();
  return TextLike(renderer, value, std::move(out));
}

// What two items are compared by: without case unless asked, an attribute if named; several
// attributes with commas where the filter knows that.
class SortKey {
 public:
  SortKey(Renderer& renderer, bool case_sensitive, Value attribute, bool several = false)
      : renderer_(renderer),
        case_sensitive_(case_sensitive),
        several_(several),
        attribute_(std::move(attribute)) {}

  Value Of(const Value& item) const {
    if (!several_ || !attribute_.is_string()) return One(item, attribute_);
    std::vector<Value> keys;
    std::string_view paths = attribute_.text();
    while (true) {
      const size_t comma = std::min(paths.find(','), paths.size());
      keys.push_back(One(item, renderer_.Text(std::string(paths.substr(0, comma)))));
      if (comma == paths.size()) break;
      paths.remove_prefix(comma + 1);
    }
    return MakeList(renderer_.budget(), std::move(keys));
  }

 private:
  Value One(const Value& item, const Value& attribute) const {
    Value key = attribute.is_none() ? item : FollowPath(renderer_, item, attribute);
    if (case_sensitive_ || !key.is_string()) return key;
    return renderer_.Text(ToLower(key.text()));
  }

  Renderer& renderer_;
  const bool case_sensitive_, several_;
  const Value attribute_;
};

std::vector<Value> Sorted(Renderer& renderer, std::vector<Value> items, const SortKey& key,
                          bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value of = key.Of(item);
    keyed.emplace_back(std::move(of), std::move(item));
  }
  const auto less = [&](const auto& a, const auto& b) {
    renderer.budget().Step();
    return reverse ? Less(b.first, a.first) : Less(a.first, b.first);
  };
  std::ranges::stable_sort(keyed, less);
  items.clear();
  for (auto& [unused, item] : keyed) items.push_back(std::move(item));
  return items;
}

Value SortFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const SortKey key(renderer, parameters.Truth(1, false), parameters.Or(2, Value()), true);
  return MakeList(renderer.budget(), Sorted(renderer, Iterate(renderer.budget(), value), key,
                                            parameters.Truth(0, false)));
}

Value DictSortFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = parameters.Text(1, "key");
  if (by != "key" && by != "value")
    throw TemplateError{"You can only sort by either \"key\" or \"value\""};
  RequireDefined(value);
  if (!value.is_dict())
    throw TemplateError{Cat("'", value.type_name(), " object' has no attribute 'items'")};
  const Value items = renderer.Call(*FindMethod(renderer, value, "items"), {});
  const SortKey key(renderer, parameters.Truth(0, false), Value(int64_t{by == "key" ? 0 : 1}));
  return MakeList(renderer.budget(),
                  Sorted(renderer, items.list()->items, key, parameters.Truth(2, false)));
}

template <bool largest>
Value ExtremeFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("min", arguments, {"case_sensitive", "attribute"});
  const SortKey key(renderer, parameters.Truth(0, false), parameters.Or(1, Value()));
  const std::vector<Value> items = Iterate(renderer.budget(), value);
  if (items.empty()) return Value::MakeUndefined("No aggregated item, sequence was empty.");
  Value best = items[0], best_key = key.Of(best);
  for (const Value& item : std::span(items).subspan(1)) {
    Value of = key.Of(item);
    if (largest ? Less(best_key, of) : Less(of, best_key)) {
      best = item;
      best_key = std::move(of);
    }
  }
  return best;
}

Value UniqueFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("unique", arguments, {"case_sensitive", "attribute"});
  const SortKey key(renderer, parameters.Truth(0, false), parameters.Or(1, Value()));
  std::set<Value, KeyLess> seen;
  std::vector<Value> items;
  for (const Value& item : Iterate(renderer.budget(), value)) {
    Value of = key.Of(item);
    if (of.is_dict() || (of.is_list() && of.list()->kind != ListKind::kTuple))
      throw TemplateError{Cat("unhashable type: '", of.type_name(), "'")};
    if (seen.insert(std::move(of)).second) items.push_back(item);
  }
  return MakeList(renderer.budget(), std::move(items), ListKind::kGenerator);
}

Value SumFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("sum", arguments, {"attribute", "start"});
  const Value attribute = parameters.Or(0, Value());
  Value sum = parameters.Or(1, Value(int64_t{0}));
  for (const Value& item : Iterate(renderer.budget(), value)) {
    sum = Binary(renderer.budget(), "+", sum,
                 attribute.is_none() ? item : FollowPath(renderer, item, attribute));
  }
  return sum;
}

Value BatchFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = parameters.Integer(0, 1);
  if (size < 1 || size > 1 << 20) throw TemplateError{"batch() takes a size of at least 1"};
  std::vector<Value> batches, batch;
  const auto close = [&] { batches.push_back(MakeList(renderer.budget(), std::move(batch))); };
  for (Value& item : Iterate(renderer.budget(), value)) {
    if (static_cast<int64_t>(batch.size()) == size) {
      close();
      batch.clear();
    }
    batch.push_back(std::move(item));
  }
  if (!batch.empty()) {
    const bool fill = parameters.Has(1) && !parameters[1].is_none();
    renderer.budget().Step(static_cast<uint64_t>(size));
    if (fill) batch.resize(static_cast<size_t>(size), parameters[1]);
    close();
  }
  return MakeList(renderer.budget(), std::move(batches), ListKind::kGenerator);
}

Value SliceFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("slice", arguments, {"slices", "fill_with"}, 1);
  const int64_t slices = parameters.Integer(0, 1);
  if (slices < 1 || slices > 1 << 20) throw TemplateError{"slice() takes a number of at least 1"};
  const std::vector<Value> items = Iterate(renderer.budget(), value);
  const int64_t each = static_cast<int64_t>(items.size()) / slices,
                longer = static_cast<int64_t>(items.size()) % slices;
  std::vector<Value> parts;
  auto at = items.begin();
  for (int64_t i = 0; i < slices; ++i) {
    const auto end = at + each + (i < longer ? 1 : 0);
    std::vector<Value> part(at, end);
    const bool fill = parameters.Has(1) && !parameters[1].is_none() && i >= longer;
    if (fill) part.push_back(parameters[1]);
    parts.push_back(MakeList(renderer.budget(), std::move(part)));
    at = end;
  }
  return MakeList(renderer.budget(), std::move(parts), ListKind::kGenerator);
}

Value GroupByFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const SortKey key(renderer, parameters.Truth(2, false), parameters[0]);
  std::vector<Value> groups, group;
  Value current;
  const auto close = [&] {
    if (group.empty()) return;
    Value name = FollowPath(renderer, group[0], parameters[0]);
    groups.push_back(MakeList(renderer.budget(),
                              {std::move(name), MakeList(renderer.budget(), std::move(group))},
                              ListKind::kTuple, std::string(kGroupLabel)));
    group.clear();
  };
  for (Value& item : Sorted(renderer, Iterate(renderer.budget(), value), key, false)) {
    Value of = key.Of(item);
    if (!group.empty() && !Equal(of, current)) close();
    current = std::move(of);
    group.push_back(std::move(item));
  }
  close();
  return MakeList(renderer.budget(), std::move(groups));
}

// ---------------------------------------------------------------------- for each item
// A filter by name with the arguments behind it, or an attribute.
Value MapFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  std::vector<Value> mapped;
  if (!value.truth()) return MakeList(renderer.budget(), {}, ListKind::kGenerator);
  if (arguments.positional.empty()) {
    const Parameters parameters("map", arguments, {"attribute", "default"}, 1);
    for (const Value& item : Iterate(renderer.budget(), value)) {
      const Value found = FollowPath(renderer, item, parameters[0]);
      mapped.push_back(found.is_undefined() ? parameters.Or(1, found) : found);
    }
  } else {
    const std::string name = TextOf(renderer, arguments.positional[0]);
    const Filter filter = FindFilter(name);
    if (filter == nullptr)
      throw TemplateError{Cat("the filter '", Escape(name, 40), "' is not supported")};
    const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()},
                         arguments.named};
    for (const Value& item : Iterate(renderer.budget(), value))
      mapped.push_back(filter(renderer, item, rest));
  }
  return MakeList(renderer.budget(), std::move(mapped), ListKind::kGenerator);
}

// Items (or their attribute) that pass a test, or are true where none is named.
template <bool wanted, bool by_attribute>
Value SelectFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  if (!value.truth()) return MakeList(renderer.budget(), {}, ListKind::kGenerator);
  constexpr size_t kTestAt = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty())
    throw TemplateError{"selectattr() needs the name of an attribute"};
  Test test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > kTestAt) {
    const std::string name = TextOf(renderer, arguments.positional[kTestAt]);
    test = FindTest(name);
    if (test == nullptr)
      throw TemplateError{Cat("the test '", Escape(name, 40), "' is not supported")};
    rest.positional.assign(arguments.positional.begin() + kTestAt + 1, arguments.positional.end());
    rest.named = arguments.named;
  }
  std::vector<Value> chosen;
  for (const Value& item : Iterate(renderer.budget(), value)) {
    const Value looked_at =
        by_attribute ? FollowPath(renderer, item, arguments.positional[0]) : item;
    const bool passes = test == nullptr ? looked_at.truth() : test(renderer, looked_at, rest);
    if (passes == wanted) chosen.push_back(item);
  }
  return MakeList(renderer.budget(), std::move(chosen), ListKind::kGenerator);
}

struct NamedFilter {
  std::string_view name;
  Filter filter;
};
constexpr NamedFilter kFilters[] = {
    {"abs", AbsFilter},
    {"attr", AttrFilter},
    {"batch", BatchFilter},
    {"capitalize", AsMethod<kCapitalize>},
    {"center", CenterFilter},
    {"count", LengthFilter},
    {"d", DefaultFilter},
    {"default", DefaultFilter},
    {"dictsort", DictSortFilter},
    {"e", EscapeFilter},
    {"escape", EscapeFilter},
    {"first", FirstFilter},
    {"float", FloatFilter},
    {"forceescape", ForceEscapeFilter},
    {"format", FormatFilter},
    {"groupby", GroupByFilter},
    {"indent", IndentFilter},
    {"int", IntFilter},
    {"items", ItemsFilter},
    {"join", JoinFilter},
    {"last", LastFilter},
    {"length", LengthFilter},
    {"list", ListFilter},
    {"lower", AsMethod<kLower>},
    {"map", MapFilter},
    {"max", ExtremeFilter<true>},
    {"min", ExtremeFilter<false>},
    {"reject", SelectFilter<false, false>},
    {"rejectattr", SelectFilter<false, true>},
    {"replace", ReplaceFilter},
    {"reverse", ReverseFilter},
    {"round", RoundFilter},
    {"safe", SafeFilter},
    {"select", SelectFilter<true, false>},
    {"selectattr", SelectFilter<true, true>},
    {"slice", SliceFilter},
    {"sort", SortFilter},
    {"string", StringFilter},
    {"sum", SumFilter},
    {"title", TitleFilter},
    {"tojson", ToJsonFilter},
    {"trim", TrimFilter},
    {"truncate", TruncateFilter},
    {"unique", UniqueFilter},
    {"upper", AsMethod<kUpper>},
    {"urlencode", UrlEncodeFilter},
    {"wordcount", WordCountFilter},
};

}  // namespace

Filter FindFilter(std::string_view name) {
  const auto found = std::ranges::find(kFilters, name, &NamedFilter::name);
  return found == std::end(kFilters) ? nullptr : found->filter;
}

Value FollowPath(Renderer& renderer, const Value& value, const Value& path) {
  if (!path.is_string()) return renderer.Item(value, path);
  Value at = value;
  std::string_view rest = path.text();
  while (true) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view name = rest.substr(0, dot);
    const std::optional<int64_t> index = ParseInteger(name, 10);
    const bool digits =
        !name.empty() && name.find_first_not_of("0123456789") == std::string_view::npos;
    at = renderer.Item(at, digits && index ? Value(*index) : renderer.Text(std::string(name)));
    if (dot == rest.size()) return at;
    rest.remove_prefix(dot + 1);
  }
}

}  // namespace smelt::jinja
