// The values of expressions.
#include <optional>

#include "lib/base/cat.h"
#include "lib/text/chat/builtins.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/render_objects.h"
#include "lib/text/chat/renderer.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

bool IsPrivate(std::string_view name) { return name.starts_with("__") && name.ends_with("__"); }

std::string ObjectName(const Value& value) {
  return value.is_none() ? "None" : Cat("'", value.type_name(), " object'");
}

}  // namespace

Value Renderer::Evaluate(const Expression& expression, const ScopePtr& scope) {
  const Deeper deeper(*this);
  line_ = expression.line;
  const auto operand = [&](size_t i) { return Evaluate(*expression.operands[i], scope); };
  switch (expression.kind) {
    case ExpressionKind::kConstant:
      return expression.constant;
    case ExpressionKind::kName:
      return EvaluateName(expression, scope);
    case ExpressionKind::kList:
      return MakeList(budget_, EvaluateAll(expression, scope));
    case ExpressionKind::kTuple:
      return MakeList(budget_, EvaluateAll(expression, scope), ListKind::kTuple);
    case ExpressionKind::kDict:
      return EvaluateDict(expression, scope);
    case ExpressionKind::kAttribute:
      return Attribute(operand(0), expression.name);
    case ExpressionKind::kItem: {
      const Value value = operand(0);
      return Item(value, operand(1));
    }
    case ExpressionKind::kSlice:
      return EvaluateSlice(expression, scope);
    case ExpressionKind::kCall: {
      const Value callee = operand(0);
      return Call(callee, EvaluateArguments(expression, scope));
    }
    case ExpressionKind::kFilter:
      return EvaluateFilter(expression, scope);
    case ExpressionKind::kTest:
      return EvaluateTest(expression, scope);
    case ExpressionKind::kUnary:
      if (expression.name == "not") return Value(!operand(0).truth());
      return expression.name == "-" ? Negated(operand(0)) : Plus(operand(0));
    case ExpressionKind::kBinary: {
      const Value left = operand(0);
      return Binary(budget_, expression.name, left, operand(1));
    }
    case ExpressionKind::kCompare:
      return EvaluateCompare(expression, scope);
    case ExpressionKind::kAnd: {
      Value left = operand(0);
      return left.truth() ? operand(1) : left;
    }
    case ExpressionKind::kOr: {
      Value left = operand(0);
      return left.truth() ? left : operand(1);
    }
    case ExpressionKind::kConcat: {
      std::string text;
      for (const Value& value : EvaluateAll(expression, scope)) {
        text += ToText(budget_, value);
        const Charge fits(budget_, text.size());
      }
      return Text(std::move(text));
    }
    case ExpressionKind::kConditional:
      if (operand(0).truth()) return operand(1);
      if (expression.operands[2] != nullptr) return operand(2);
      return Value::MakeUndefined(
          "the inline if-expression has no else, and its condition is false");
    case ExpressionKind::kCaptured:
      return Text(std::move(captured_));
  }
  return Value();
}

Value Renderer::EvaluateName(const Expression& expression, const ScopePtr& scope) {
  if (const Value* value = scope->Find(expression.name)) return *value;
  if (expression.name == "namespace")
    return Value(std::static_pointer_cast<Object>(std::make_shared<Function>(&Namespace::Make)));
  if (std::optional<Value> function = FindFunction(expression.name)) return *function;
  return Value::MakeUndefined(Cat("'", Escape(expression.name, 60), "' is undefined"));
}

std::vector<Value> Renderer::EvaluateAll(const Expression& expression, const ScopePtr& scope) {
  std::vector<Value> values;
  for (const ExpressionPtr& operand : expression.operands)
    values.push_back(Evaluate(*operand, scope));
  return values;
}

Value Renderer::EvaluateDict(const Expression& expression, const ScopePtr& scope) {
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i + 1 < expression.operands.size(); i += 2) {
    Value key = Evaluate(*expression.operands[i], scope);
    items.emplace_back(std::move(key), Evaluate(*expression.operands[i + 1], scope));
  }
  return MakeDict(budget_, std::move(items));
}

Value Renderer::EvaluateCompare(const Expression& expression, const ScopePtr& scope) {
  Value left = Evaluate(*expression.operands[0], scope);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = Evaluate(*expression.operands[i + 1], scope);
    if (!Compare(budget_, expression.operators[i], left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Renderer::EvaluateSlice(const Expression& expression, const ScopePtr& scope) {
  Value parts[4];
  for (size_t i = 0; i < 4; ++i) {
    if (expression.operands[i] != nullptr) parts[i] = Evaluate(*expression.operands[i], scope);
  }
  return Slice(budget_, parts[0], parts[1], parts[2], parts[3]);
}

Value Renderer::EvaluateFilter(const Expression& expression, const ScopePtr& scope) {
  const Filter filter = FindFilter(expression.name);
  if (filter == nullptr)
    throw TemplateError{Cat("the filter '", Escape(expression.name, 40), "' is not supported")};
  const Value value = Evaluate(*expression.operands[0], scope);
  return filter(*this, value, EvaluateArguments(expression, scope));
}

Value Renderer::EvaluateTest(const Expression& expression, const ScopePtr& scope) {
  const Test test = FindTest(expression.name);
  if (test == nullptr)
    throw TemplateError{Cat("the test '", Escape(expression.name, 40), "' is not supported")};
  const Value value = Evaluate(*expression.operands[0], scope);
  return Value(test(*this, value, EvaluateArguments(expression, scope)));
}

Arguments Renderer::EvaluateArguments(const Expression& expression, const ScopePtr& scope) {
  Arguments arguments;
  for (const CallArgument& argument : expression.arguments) {
    Value value = Evaluate(*argument.value, scope);
    switch (argument.kind) {
      case CallArgument::Kind::kPositional:
        arguments.positional.push_back(std::move(value));
        break;
      case CallArgument::Kind::kNamed:
        arguments.named.emplace_back(argument.name, std::move(value));
        break;
      case CallArgument::Kind::kList:
        for (Value& item : Iterate(budget_, value)) arguments.positional.push_back(std::move(item));
        break;
      case CallArgument::Kind::kDict:
        if (!value.is_dict()) throw TemplateError{"what follows ** must be a dictionary"};
        for (const auto& [key, item] : value.dict()->items)
          arguments.named.emplace_back(ToText(budget_, key), item);
        break;
    }
  }
  return arguments;
}

Value Renderer::Call(const Value& callee, const Arguments& arguments) {
  RequireDefined(callee);
  if (callee.object() == nullptr || !callee.object()->callable())
    throw TemplateError{Cat("'", callee.type_name(), "' object is not callable")};
  return callee.object()->Call(*this, arguments);
}

Value Renderer::Attribute(const Value& value, std::string_view name) {
  RequireDefined(value);
  if (IsPrivate(name)) {
    return Value::MakeUndefined(Cat("access to attribute '", Escape(name, 40), "' of '",
                                    value.type_name(), "' object is unsafe"));
  }
  if (value.object() != nullptr) {
    if (std::optional<Value> found = value.object()->Attribute(*this, name)) return *found;
  } else if (std::optional<Value> method = FindMethod(*this, value, name)) {
    return *method;
  }
  if (value.is_dict()) {
    if (const Value* found = value.dict()->Find(budget_, name)) return *found;
  }
  if (value.is_list() && value.list()->label == kGroupLabel &&
      (name == "grouper" || name == "list"))
    return value.list()->items[name == "grouper" ? 0 : 1];
  return Value::MakeUndefined(Cat(ObjectName(value), " has no attribute '", Escape(name, 60), "'"));
}

Value Renderer::Item(const Value& value, const Value& key) {
  RequireDefined(value);
  if (value.is_dict()) {
    if (const Value* found = value.dict()->Find(key)) return *found;
  }
  if (key.is_string()) return Attribute(value, key.text());
  const bool indexed = value.is_string() || IsSequenceList(value);
  if (key.is_integer() && indexed) {
    const int64_t length = Length(value);
    const int64_t index = key.integer() < 0 ? key.integer() + length : key.integer();
    if (index >= 0 && index < length) {
      if (value.is_list()) return value.list()->items[static_cast<size_t>(index)];
      return Text(std::string(Substring(value.text(), index, index + 1)));
    }
  }
  return Value::MakeUndefined(
      Cat(ObjectName(value), " has no element ", Escape(ToText(budget_, key), 40)));
}

}  // namespace smelt::jinja
