// `value | NAME(...)` of texts.
#include <algorithm>

#include "lib/base/cat.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/filters.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

// The method of a text, on whatever value as text.
template <const char* name>
Value AsMethod(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Value text = value.is_string() ? value : renderer.Text(TextOf(renderer, value));
  return renderer.Call(*FindMethod(renderer, text, name), arguments);
}
constexpr char kLower[] = "lower", kUpper[] = "upper", kCapitalize[] = "capitalize",
               kStrip[] = "strip", kReplace[] = "replace", kCenter[] = "center";

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
  return AsMethod<kCenter>(renderer, value,
                           {.positional = {Value(parameters.Integer(0, 80))}, .named = {}});
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

constexpr NamedFilter kFilters[] = {
    {"capitalize", AsMethod<kCapitalize>},
    {"center", CenterFilter},
    {"format", FormatFilter},
    {"indent", IndentFilter},
    {"lower", AsMethod<kLower>},
    {"replace", ReplaceFilter},
    {"title", TitleFilter},
    {"trim", TrimFilter},
    {"truncate", TruncateFilter},
    {"upper", AsMethod<kUpper>},
    {"urlencode", UrlEncodeFilter},
    {"wordcount", WordCountFilter},
};

}  // namespace

std::span<const NamedFilter> TextFilters() { return kFilters; }

}  // namespace smelt::jinja
