#include "lib/text/chat/renderer.h"

#include <algorithm>
#include <optional>

#include "lib/base/cat.h"
#include "lib/text/chat/builtins.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

constexpr int kDeepest = 600;  // evaluations inside each other: calls, operators, blocks

class Macro : public Object {
 public:
  Macro(std::shared_ptr<const MacroBody> body, ScopePtr definition)
      : body_(std::move(body)), definition_(std::move(definition)) {}
  std::string_view type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  Value Call(Renderer& renderer, const Arguments& arguments) override {
    return renderer.RunMacro(*body_, definition_, arguments);
  }
  std::optional<Value> Attribute(Renderer& renderer, std::string_view name) override {
    if (name == "name") return renderer.Text(body_->name);
    return std::nullopt;
  }

 private:
  const std::shared_ptr<const MacroBody> body_;
  const ScopePtr definition_;
};

/// `loop` in the body of a for.
class Loop : public Object, public std::enable_shared_from_this<Loop> {
 public:
  /// `scope` is what a recursive loop runs in.
  Loop(const Statement& statement, ScopePtr scope, const std::vector<Value>& items, int level)
      : statement_(statement), scope_(std::move(scope)), items_(items), level_(level) {}

  std::string_view type_name() const override { return "LoopContext"; }
  bool callable() const override { return true; }
  void Next() { ++index_; }

  Value Call(Renderer& renderer, const Arguments& arguments) override {
    if (!statement_.recursive)
      throw TemplateError{"the loop is not marked as recursive, but calls itself"};
    if (arguments.positional.size() != 1 || !arguments.named.empty())
      throw TemplateError{"a loop calls itself with one argument"};
    return renderer.RunLoop(statement_, scope_, arguments.positional[0], level_ + 1);
  }

  std::optional<Value> Attribute(Renderer&, std::string_view name) override {
    const int64_t length = static_cast<int64_t>(items_.size());
    if (name == "index") return Value(index_ + 1);
    if (name == "index0") return Value(index_);
    if (name == "revindex") return Value(length - index_);
    if (name == "revindex0") return Value(length - index_ - 1);
    if (name == "first") return Value(index_ == 0);
    if (name == "last") return Value(index_ + 1 == length);
    if (name == "length") return Value(length);
    if (name == "depth") return Value(static_cast<int64_t>(level_) + 1);
    if (name == "depth0") return Value(static_cast<int64_t>(level_));
    if (name == "previtem") return Neighbour(index_ - 1, "there is no previous item");
    if (name == "nextitem") return Neighbour(index_ + 1, "there is no next item");
    if (name == "cycle") {
      return Value(std::static_pointer_cast<Object>(
          std::make_shared<Function>([index = index_](Renderer&, const Arguments& arguments) {
            if (arguments.positional.empty()) throw TemplateError{"no items for cycling given"};
            return arguments.positional[static_cast<size_t>(index) % arguments.positional.size()];
          })));
    }
    if (name == "changed") {
      return Value(std::static_pointer_cast<Object>(std::make_shared<Function>(
          [loop = shared_from_this()](Renderer& renderer, const Arguments& arguments) {
            const Value now = MakeList(renderer.budget(), arguments.positional, ListKind::kTuple);
            const bool changed = !loop->seen_ || !Equal(*loop->seen_, now);
            loop->seen_ = now;
            return Value(changed);
          })));
    }
    return std::nullopt;
  }

 private:
  Value Neighbour(int64_t at, std::string hint) const {
    if (at < 0 || at >= static_cast<int64_t>(items_.size()))
      return Value::MakeUndefined(std::move(hint));
    return items_[static_cast<size_t>(at)];
  }

  const Statement& statement_;
  const ScopePtr scope_;
  const std::vector<Value> items_;
  const int level_;
  int64_t index_ = -1;
  std::optional<Value> seen_;
};

/// namespace(): the one value that templates may change.
class Namespace : public Object {
 public:
  std::string_view type_name() const override { return "Namespace"; }
  std::optional<Value> Attribute(Renderer&, std::string_view name) override {
    const Value* value = values_.Find(name);
    return value == nullptr ? std::nullopt : std::optional(*value);
  }
  void Set(std::string_view name, Value value) { values_.Set(name, std::move(value)); }

 private:
  Scope values_{nullptr};
};

bool IsPrivate(std::string_view name) { return name.starts_with("__") && name.ends_with("__"); }

std::string ObjectName(const Value& value) {
  return value.is_none() ? "None" : Cat("'", value.type_name(), " object'");
}

}  // namespace

/// Counts evaluations inside each other: a macro may call itself.
class Renderer::Deeper {
 public:
  explicit Deeper(Renderer& renderer) : renderer_(renderer) {
    renderer_.budget_.Step();
    if (++renderer_.depth_ > kDeepest) {
      --renderer_.depth_;
      throw TemplateError{"nests too deeply: does a macro call itself without end?"};
    }
  }
  ~Deeper() { --renderer_.depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  Renderer& renderer_;
};

const Value* Scope::Find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer_.get()) {
    for (const auto& [key, value] : scope->values_) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

void Scope::Set(std::string_view name, Value value) {
  for (auto& [key, old] : values_) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  values_.emplace_back(name, std::move(value));
}

void Scope::Clear() { values_.clear(); }

Renderer::Renderer(Budget& budget, const std::tm& now) : budget_(budget), now_(now) {}

Renderer::~Renderer() {
  for (const ScopePtr& scope : defining_) scope->Clear();
}

std::string Renderer::Render(const Block& block,
                             std::vector<std::pair<std::string, Value>> variables) {
  const CurrentBudget current(budget_);
  auto outer = std::make_shared<Scope>(nullptr);
  for (auto& [name, value] : variables) outer->Set(name, std::move(value));
  std::string out;
  out_ = &out;
  try {
    Run(block, std::make_shared<Scope>(std::move(outer)));
  } catch (const TemplateError& error) {
    throw TemplateError{Cat("line ", line_, ": ", error.message)};
  }
  return out;
}

void Renderer::Output(std::string_view text) {
  budget_.Step(1 + text.size() / 64);
  if (out_->size() + text.size() > out_->capacity()) {
    const Charge fits(budget_, 2 * (out_->size() + text.size()));
    out_->reserve(2 * (out_->size() + text.size()));
  }
  *out_ += text;
}

// ---------------------------------------------------------------------- statements
Renderer::Flow Renderer::Run(const Block& block, const ScopePtr& scope) {
  const Deeper deeper(*this);
  for (const Statement& statement : block) {
    if (const Flow flow = RunStatement(statement, scope); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

std::string Renderer::Capture(const Block& block, const ScopePtr& scope) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  Run(block, std::make_shared<Scope>(scope));
  out_ = outer;
  return text;
}

Renderer::Flow Renderer::RunStatement(const Statement& statement, const ScopePtr& scope) {
  line_ = statement.line;
  switch (statement.kind) {
    case StatementKind::kText:
      Output(statement.text);
      return Flow::kNext;
    case StatementKind::kOutput:
      Output(ToText(budget_, Evaluate(*statement.expression, scope)));
      return Flow::kNext;
    case StatementKind::kIf:
      return Run(
          Evaluate(*statement.expression, scope).truth() ? statement.body : statement.otherwise,
          scope);
    case StatementKind::kFor:
      RunFor(statement, scope, Evaluate(*statement.expression, scope), 0);
      return Flow::kNext;
    case StatementKind::kSet:
      Assign(statement.target, Evaluate(*statement.expression, scope), scope);
      return Flow::kNext;
    case StatementKind::kSetBlock:
      captured_ = Capture(statement.body, scope);
      Assign(statement.target, Evaluate(*statement.expression, scope), scope);
      return Flow::kNext;
    case StatementKind::kFilter:
      captured_ = Capture(statement.body, scope);
      Output(ToText(budget_, Evaluate(*statement.expression, scope)));
      return Flow::kNext;
    case StatementKind::kMacro:
      defining_.push_back(scope);
      scope->Set(
          statement.macro->name,
          Value(std::static_pointer_cast<Object>(std::make_shared<Macro>(statement.macro, scope))));
      return Flow::kNext;
    case StatementKind::kCall: {
      defining_.push_back(scope);
      const Expression& call = *statement.expression;
      const Value callee = Evaluate(*call.operands[0], scope);
      Arguments arguments = EvaluateArguments(call, scope);
      arguments.named.emplace_back(
          "caller",
          Value(std::static_pointer_cast<Object>(std::make_shared<Macro>(statement.macro, scope))));
      Output(ToText(budget_, Call(callee, arguments)));
      return Flow::kNext;
    }
    case StatementKind::kWith: {
      const auto inner = std::make_shared<Scope>(scope);
      for (const auto& [target, value] : statement.assignments)
        Assign(target, Evaluate(*value, scope), inner);
      return Run(statement.body, inner);
    }
    case StatementKind::kScope:
      return Run(statement.body, std::make_shared<Scope>(scope));
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

void Renderer::RunFor(const Statement& statement, const ScopePtr& scope, const Value& iterable,
                      int level) {
  std::vector<Value> items = Iterate(budget_, iterable);
  const Charge held(budget_, items.size() * sizeof(Value));
  if (statement.condition != nullptr) {
    std::vector<Value> chosen;
    for (Value& item : items) {
      const auto inner = std::make_shared<Scope>(scope);
      Assign(statement.target, item, inner);
      if (Evaluate(*statement.condition, inner).truth()) chosen.push_back(std::move(item));
    }
    items = std::move(chosen);
  }
  if (items.empty()) {
    Run(statement.otherwise, std::make_shared<Scope>(scope));
    return;
  }
  if (statement.recursive) defining_.push_back(scope);
  const auto loop =
      std::make_shared<Loop>(statement, statement.recursive ? scope : nullptr, items, level);
  for (const Value& item : items) {
    const auto inner = std::make_shared<Scope>(scope);
    loop->Next();
    inner->Set("loop", Value(std::static_pointer_cast<Object>(loop)));
    Assign(statement.target, item, inner);
    if (Run(statement.body, inner) == Flow::kBreak) break;
  }
}

Value Renderer::RunLoop(const Statement& loop, const ScopePtr& scope, const Value& items,
                        int level) {
  const Deeper deeper(*this);
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  RunFor(loop, scope, items, level);
  out_ = outer;
  return Text(std::move(text));
}

void Renderer::Assign(const Target& target, const Value& value, const ScopePtr& scope) {
  if (!target.parts.empty()) {
    const std::vector<Value> items = Iterate(budget_, value);
    if (items.size() != target.parts.size()) {
      throw TemplateError{
          Cat(items.size(), " values cannot be given to ", target.parts.size(), " names")};
    }
    for (size_t i = 0; i < items.size(); ++i) Assign(target.parts[i], items[i], scope);
    return;
  }
  if (target.attribute.empty()) return scope->Set(target.name, value);
  const Value* held = scope->Find(target.name);
  Namespace* space = held == nullptr ? nullptr : dynamic_cast<Namespace*>(held->object());
  if (space == nullptr) {
    throw TemplateError{
        Cat("'", Escape(target.name, 40), "' is no namespace, so its attributes cannot be set")};
  }
  space->Set(target.attribute, value);
}

Value Renderer::RunMacro(const MacroBody& macro, const ScopePtr& definition,
                         const Arguments& arguments) {
  const Deeper deeper(*this);
  const int line = line_;
  const auto scope = std::make_shared<Scope>(definition);
  const size_t count = macro.parameters.size();
  std::vector<Value> more;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < count) {
      scope->Set(macro.parameters[i].name, arguments.positional[i]);
    } else {
      more.push_back(arguments.positional[i]);
    }
  }
  if (!more.empty() && !macro.uses_varargs) {
    throw TemplateError{
        Cat("macro '", Escape(macro.name, 40), "' takes not more than ", count, " argument(s)")};
  }
  std::vector<bool> given(count);
  std::fill_n(given.begin(), std::min(count, arguments.positional.size()), true);
  std::vector<std::pair<Value, Value>> others;
  for (const auto& [name, value] : arguments.named) {
    const auto place = std::ranges::find(macro.parameters, name, &Parameter::name);
    if (place != macro.parameters.end()) {
      const size_t i = static_cast<size_t>(place - macro.parameters.begin());
      if (given[i])
        throw TemplateError{
            Cat("macro '", Escape(macro.name, 40), "' got '", Escape(name, 40), "' twice")};
      given[i] = true;
      scope->Set(name, value);
    } else if (name == "caller" && macro.uses_caller) {
      scope->Set(name, value);
    } else if (macro.uses_kwargs) {
      others.emplace_back(Text(name), value);
    } else {
      throw TemplateError{Cat("macro '", Escape(macro.name, 40), "' takes no keyword argument '",
                              Escape(name, 40), "'")};
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const Parameter& parameter = macro.parameters[i];
    if (given[i]) continue;
    scope->Set(parameter.name, parameter.fallback != nullptr
                                   ? Evaluate(*parameter.fallback, scope)
                                   : Value::MakeUndefined(
                                         Cat("parameter '", parameter.name, "' was not provided")));
  }
  if (macro.uses_varargs)
    scope->Set("varargs", MakeList(budget_, std::move(more), ListKind::kTuple));
  if (macro.uses_kwargs) scope->Set("kwargs", MakeDict(budget_, std::move(others)));
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  Run(macro.body, scope);
  out_ = outer;
  line_ = line;
  return Text(std::move(text));
}

// ---------------------------------------------------------------------- expressions
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
  if (expression.name == "namespace") {
    return Value(std::static_pointer_cast<Object>(
        std::make_shared<Function>([](Renderer& renderer, const Arguments& arguments) {
          const auto space = std::make_shared<Namespace>();
          for (const Value& from : arguments.positional) {
            if (!from.is_dict()) throw TemplateError{"namespace() takes dictionaries and names"};
            for (const auto& [key, value] : from.dict()->items)
              space->Set(ToText(renderer.budget(), key), value);
          }
          for (const auto& [name, value] : arguments.named) space->Set(name, value);
          return Value(std::static_pointer_cast<Object>(space));
        })));
  }
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
