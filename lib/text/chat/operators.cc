#include "lib/text/chat/operators.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "lib/base/cat.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

[[noreturn]] void FailOperands(std::string_view op, const Value& left, const Value& right) {
  throw TemplateError{Cat("unsupported operand type(s) for ", op, ": '", left.type_name(),
                          "' and '", right.type_name(), "'")};
}

template <typename Builtin>
Value Checked(const Builtin& builtin, int64_t left, int64_t right) {
  int64_t result = 0;
  if (builtin(left, right, &result)) throw TemplateError{"an integer grows beyond 64 bits"};
  return Value(result);
}

int64_t FloorDivided(int64_t left, int64_t right) {
  const int64_t quotient = left / right;
  return quotient - (left % right != 0 && (left < 0) != (right < 0) ? 1 : 0);
}

double FloorModulo(double left, double right) {
  const double rest = std::fmod(left, right);
  if (rest == 0) return std::copysign(0.0, right);
  return (rest < 0) != (right < 0) ? rest + right : rest;
}

// As Python divides: from the remainder, so that rounding cannot lift the quotient.
double FloorDivided(double left, double right) {
  const double rest = std::fmod(left, right);
  double quotient = (left - rest) / right;
  if (rest != 0 && (rest < 0) != (right < 0)) quotient -= 1;
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

Value Power(const Value& left, const Value& right) {
  if (left.is_float() || right.is_float() || right.integer() < 0) {
    const double power = std::pow(left.real(), right.real());
    if (std::isinf(power) && std::isfinite(left.real()) && std::isfinite(right.real()))
      throw TemplateError{"a power is out of range"};
    return Value(power);
  }
  Value result(int64_t{1});
  const int64_t base = left.integer();
  if (base == 0 || base == 1) return Value(right.integer() == 0 ? int64_t{1} : base);
  if (base == -1) return Value(right.integer() % 2 == 0 ? int64_t{1} : int64_t{-1});
  for (int64_t i = 0; i < right.integer(); ++i) {
    result = Checked([](auto a, auto b, auto* c) { return __builtin_mul_overflow(a, b, c); },
                     result.integer(), base);
  }
  return result;
}

Value Arithmetic(std::string_view op, const Value& left, const Value& right) {
  if (op == "**") return Power(left, right);
  const bool divides = op == "/" || op == "//" || op == "%";
  if (divides && right.real() == 0) throw TemplateError{"division by zero"};
  if (op == "/") return Value(left.real() / right.real());
  if (left.is_float() || right.is_float()) {
    const double a = left.real(), b = right.real();
    if (op == "+") return Value(a + b);
    if (op == "-") return Value(a - b);
    if (op == "*") return Value(a * b);
    return op == "//" ? Value(FloorDivided(a, b)) : Value(FloorModulo(a, b));
  }
  const int64_t a = left.integer(), b = right.integer();
  if (op == "+")
    return Checked([](auto x, auto y, auto* z) { return __builtin_add_overflow(x, y, z); }, a, b);
  if (op == "-")
    return Checked([](auto x, auto y, auto* z) { return __builtin_sub_overflow(x, y, z); }, a, b);
  if (op == "*")
    return Checked([](auto x, auto y, auto* z) { return __builtin_mul_overflow(x, y, z); }, a, b);
  if (b == -1) return op == "%" ? Value(int64_t{0}) : Negated(left);
  if (op == "//") return Value(FloorDivided(a, b));
  return Value(a - b * FloorDivided(a, b));
}

Value Joined(Budget& budget, const Value& left, const Value& right) {
  if (left.is_string() && right.is_string()) {
    const bool markup = left.string()->markup || right.string()->markup;
    const auto part = [&](const Value& value) {
      return markup && !value.string()->markup ? EscapeMarkup(value.text()) : value.text();
    };
    const Charge fits(budget, left.text().size() + right.text().size());
    return MakeString(budget, part(left) + part(right), markup);
  }
  if (left.is_string()) {
    throw TemplateError{Cat("can only concatenate str (not \"", right.type_name(), "\") to str")};
  }
  if (left.is_list() && left.list()->kind <= ListKind::kTuple) {
    if (!right.is_list() || right.list()->kind != left.list()->kind) {
      throw TemplateError{Cat("can only concatenate ", left.type_name(), " (not \"",
                              right.type_name(), "\") to ", left.type_name())};
    }
    std::vector<Value> items = left.list()->items;
    budget.Step(items.size() + right.list()->items.size());
    items.insert(items.end(), right.list()->items.begin(), right.list()->items.end());
    return MakeList(budget, std::move(items), left.list()->kind);
  }
  FailOperands("+", left, right);
}

// A text or list several times; nothing where the operands are of other types.
std::optional<Value> Repeated(Budget& budget, const Value& left, const Value& right) {
  const bool swapped = left.is_integer();
  const Value &what = swapped ? right : left, &count = swapped ? left : right;
  const bool sequence =
      what.is_string() || (what.is_list() && what.list()->kind <= ListKind::kTuple);
  if (!count.is_integer() || !sequence) return std::nullopt;
  const uint64_t times = static_cast<uint64_t>(std::max<int64_t>(count.integer(), 0));
  const size_t size = what.is_string() ? what.text().size() : 32 * what.list()->items.size();
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(times, size, &bytes)) bytes = SIZE_MAX;
  const Charge fits(budget, bytes);
  if (size == 0) return what;
  if (what.is_string()) {
    std::string text;
    for (uint64_t i = 0; i < times; ++i) text += what.text();
    return MakeString(budget, std::move(text), what.string()->markup);
  }
  std::vector<Value> items;
  for (uint64_t i = 0; i < times; ++i)
    items.insert(items.end(), what.list()->items.begin(), what.list()->items.end());
  return MakeList(budget, std::move(items), what.list()->kind);
}

}  // namespace

Value Binary(Budget& budget, std::string_view op, const Value& left, const Value& right) {
  RequireDefined(left);
  if (op == "%" && left.is_string())
    return MakeString(budget, FormatPercent(budget, left.text(), right), left.string()->markup);
  RequireDefined(right);
  if (left.is_number() && right.is_number()) return Arithmetic(op, left, right);
  if (op == "+") return Joined(budget, left, right);
  if (op == "*") {
    if (const std::optional<Value> repeated = Repeated(budget, left, right)) return *repeated;
  }
  FailOperands(op == "**" ? "** or pow()" : op, left, right);
}

Value Negated(const Value& value) {
  RequireDefined(value);
  if (value.is_float()) return Value(-value.real());
  if (!value.is_integer())
    throw TemplateError{Cat("bad operand type for unary -: '", value.type_name(), "'")};
  return Checked([](auto a, auto b, auto* c) { return __builtin_sub_overflow(a, b, c); }, 0,
                 value.integer());
}

Value Plus(const Value& value) {
  RequireDefined(value);
  if (value.is_float()) return value;
  if (!value.is_integer())
    throw TemplateError{Cat("bad operand type for unary +: '", value.type_name(), "'")};
  return Value(value.integer());
}

bool Compare(Budget& budget, std::string_view op, const Value& left, const Value& right) {
  budget.Step();
  if (op == "==") return Equal(left, right);
  if (op == "!=") return !Equal(left, right);
  if (op == "in") return Contains(budget, right, left);
  if (op == "not in") return !Contains(budget, right, left);
  if (op == "<") return Less(left, right);
  if (op == ">") return Less(right, left);
  if (op == "<=") return Less(left, right) || Equal(left, right);
  return Less(right, left) || Equal(left, right);
}

}  // namespace smelt::jinja
