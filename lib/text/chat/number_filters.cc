// `value | NAME(...)` of numbers.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "lib/base/cat.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/filters.h"
#include "lib/text/chat/operators.h"

namespace smelt::jinja {
namespace {

std::optional<double> ParseReal(std::string_view text) {
  CurrentBudget::Step(1 + text.size() / 64);
  text = Strip(text, true, true);
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
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

constexpr NamedFilter kFilters[] = {
    {"abs", AbsFilter},
    {"float", FloatFilter},
    {"int", IntFilter},
    {"round", RoundFilter},
};

}  // namespace

std::span<const NamedFilter> NumberFilters() { return kFilters; }

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

}  // namespace smelt::jinja
