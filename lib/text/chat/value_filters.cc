// `value | NAME(...)` of values of every kind.
#include <algorithm>

#include "lib/base/cat.h"
#include "lib/text/chat/filters.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

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

constexpr NamedFilter kFilters[] = {
    {"attr", AttrFilter},
    {"count", LengthFilter},
    {"d", DefaultFilter},
    {"default", DefaultFilter},
    {"e", EscapeFilter},
    {"escape", EscapeFilter},
    {"forceescape", ForceEscapeFilter},
    {"length", LengthFilter},
    {"safe", SafeFilter},
    {"string", StringFilter},
    {"tojson", ToJsonFilter},
};

}  // namespace

std::span<const NamedFilter> ValueFilters() { return kFilters; }

}  // namespace smelt::jinja
