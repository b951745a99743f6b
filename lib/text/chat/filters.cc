#include "lib/text/chat/filters.h"

#include <algorithm>

#include "lib/text/chat/value_text.h"

namespace smelt::jinja {

Filter FindFilter(std::string_view name) {
  for (const std::span<const NamedFilter> filters :
       {ValueFilters(), NumberFilters(), TextFilters(), SequenceFilters()}) {
    const auto found = std::ranges::find(filters, name, &NamedFilter::name);
    if (found != filters.end()) return found->filter;
  }
  return nullptr;
}

std::string TextOf(Renderer& renderer, const Value& value) {
  return ToText(renderer.budget(), value);
}

bool IsMarkup(const Value& value) { return value.is_string() && value.string()->markup; }

Value TextLike(Renderer& renderer, const Value& value, std::string text) {
  return renderer.Text(std::move(text), IsMarkup(value));
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
