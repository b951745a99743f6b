// `value is NAME`.
#include <algorithm>

#include "lib/base/cat.h"
#include "lib/text/chat/builtins.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

using Kind = bool (*)(const Value&);

// A test that takes nothing but the value.
template <Kind kind>
bool Is(Renderer&, const Value& value, const Arguments& arguments) {
  const Parameters none("test", arguments, {});
  return kind(value);
}

// A comparison with the argument.
template <const char* op>
bool Compared(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("test", arguments, {"other"}, 1);
  return Compare(renderer.budget(), op, value, parameters[0]);
}
constexpr char kEqual[] = "==", kUnequal[] = "!=", kLess[] = "<",
               kLessEqual[] = "<=", kGreater[] = ">", kGreaterEqual[] = ">=", kIn[] = "in";

int64_t Remainder(Renderer& renderer, const Value& value, int64_t divisor) {
  const Value rest = Binary(renderer.budget(), "%", value, Value(divisor));
  if (!rest.is_number())
    throw TemplateError{"not all arguments converted during string formatting"};
  return rest.is_float() ? (rest.real() == 0 ? 0 : rest.real() == 1 ? 1 : 2) : rest.integer();
}

bool IsEven(Renderer& renderer, const Value& value, const Arguments&) {
  return Remainder(renderer, value, 2) == 0;
}
bool IsOdd(Renderer& renderer, const Value& value, const Arguments&) {
  return Remainder(renderer, value, 2) == 1;
}
bool IsDivisibleBy(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("divisibleby", arguments, {"num"}, 1);
  return Remainder(renderer, value, parameters.Integer(0, 1)) == 0;
}

bool IsSame(Renderer&, const Value& value, const Arguments& arguments) {
  const Parameters parameters("sameas", arguments, {"other"}, 1);
  const Value& other = parameters[0];
  return value.type_name() == other.type_name() && value.list() == other.list() &&
         value.dict() == other.dict() && Equal(value, other);
}

bool IsCallable(const Value& value) {
  return value.is_undefined() || (value.object() != nullptr && value.object()->callable());
}
bool IsIterable(const Value& value) {
  return value.is_string() || value.is_list() || value.is_dict() || value.is_undefined();
}
bool IsSequence(const Value& value) {
  return value.is_string() || value.is_dict() || value.is_undefined() || IsSequenceList(value);
}

// All letters of one case, and at least one.
template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
bool HasCase(Renderer& renderer, const Value& value, const Arguments&) {
  bool some = false, mixed = false;
  ForEachCharacter(ToText(renderer.budget(), value), [&](std::string_view character) {
    const char32_t c = DecodeUtf8(character).code_point;
    some |= wanted(c);
    mixed |= other(c);
  });
  return some && !mixed;
}

void RequireHashable(const Value& value) {
  if (!IsHashable(value)) throw TemplateError{Cat("unhashable type: '", value.type_name(), "'")};
}

bool NamesFilter(Renderer&, const Value& value, const Arguments&) {
  RequireHashable(value);
  return value.is_string() && FindFilter(value.text()) != nullptr;
}
bool NamesTest(Renderer&, const Value& value, const Arguments&) {
  RequireHashable(value);
  return value.is_string() && FindTest(value.text()) != nullptr;
}

struct NamedTest {
  std::string_view name;
  Test test;
};
constexpr NamedTest kTests[] = {
    {"defined", Is<[](const Value& v) { return !v.is_undefined(); }>},
    {"undefined", Is<[](const Value& v) { return v.is_undefined(); }>},
    {"none", Is<[](const Value& v) { return v.is_none(); }>},
    {"boolean", Is<[](const Value& v) { return v.is_bool(); }>},
    {"true", Is<[](const Value& v) { return v.is_bool() && v.boolean(); }>},
    {"false", Is<[](const Value& v) { return v.is_bool() && !v.boolean(); }>},
    {"integer", Is<[](const Value& v) { return v.is_integer() && !v.is_bool(); }>},
    {"float", Is<[](const Value& v) { return v.is_float(); }>},
    {"number", Is<[](const Value& v) { return v.is_number(); }>},
    {"string", Is<[](const Value& v) { return v.is_string(); }>},
    {"mapping", Is<[](const Value& v) { return v.is_dict(); }>},
    {"escaped", Is<[](const Value& v) { return v.is_string() && v.string()->markup; }>},
    {"iterable", Is<IsIterable>},
    {"sequence", Is<IsSequence>},
    {"callable", Is<IsCallable>},
    {"even", IsEven},
    {"odd", IsOdd},
    {"divisibleby", IsDivisibleBy},
    {"lower", HasCase<IsLower, IsUpper>},
    {"upper", HasCase<IsUpper, IsLower>},
    {"sameas", IsSame},
    {"filter", NamesFilter},
    {"test", NamesTest},
    {"in", Compared<kIn>},
    {"eq", Compared<kEqual>},
    {"==", Compared<kEqual>},
    {"equalto", Compared<kEqual>},
    {"ne", Compared<kUnequal>},
    {"!=", Compared<kUnequal>},
    {"lt", Compared<kLess>},
    {"<", Compared<kLess>},
    {"lessthan", Compared<kLess>},
    {"le", Compared<kLessEqual>},
    {"<=", Compared<kLessEqual>},
    {"gt", Compared<kGreater>},
    {">", Compared<kGreater>},
    {"greaterthan", Compared<kGreater>},
    {"ge", Compared<kGreaterEqual>},
    {">=", Compared<kGreaterEqual>},
};

}  // namespace

Test FindTest(std::string_view name) {
  const auto found = std::ranges::find(kTests, name, &NamedTest::name);
  return found == std::end(kTests) ? nullptr : found->test;
}

}  // namespace smelt::jinja
