// Runs statements; expressions are in evaluator.cc.
#include "lib/text/chat/renderer.h"

#include <algorithm>
#include <optional>

#include "lib/base/cat.h"
#include "lib/text/chat/render_objects.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

constexpr int kDeepest = 600;  // evaluations inside each other: calls, operators, blocks

Value MakeMacro(const Statement& statement, const ScopePtr& scope) {
  return Value(std::static_pointer_cast<Object>(std::make_shared<Macro>(statement.macro, scope)));
}

}  // namespace

Renderer::Deeper::Deeper(Renderer& renderer) : renderer_(renderer) {
  renderer_.budget_.Step();
  if (++renderer_.depth_ > kDeepest) {
    --renderer_.depth_;
    throw TemplateError{"nests too deeply: does a macro call itself without end?"};
  }
}

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

Renderer::Flow Renderer::Run(const Block& block, const ScopePtr& scope) {
  const Deeper deeper(*this);
  for (const Statement& statement : block) {
    if (const Flow flow = RunStatement(statement, scope); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

std::string Renderer::Capture(const Block& block, const ScopePtr& scope) {
  return Captured([&] { Run(block, std::make_shared<Scope>(scope)); });
}

std::string Renderer::Captured(absl::FunctionRef<void()> body) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  body();
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
      scope->Set(statement.macro->name, MakeMacro(statement, scope));
      return Flow::kNext;
    case StatementKind::kCall: {
      defining_.push_back(scope);
      const Expression& call = *statement.expression;
      const Value callee = Evaluate(*call.operands[0], scope);
      Arguments arguments = EvaluateArguments(call, scope);
      arguments.named.emplace_back("caller", MakeMacro(statement, scope));
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
  return Text(Captured([&] { RunFor(loop, scope, items, level); }));
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
  BindArguments(macro, arguments, scope);
  std::string text = Captured([&] { Run(macro.body, scope); });
  line_ = line;
  return Text(std::move(text));
}

void Renderer::BindArguments(const MacroBody& macro, const Arguments& arguments,
                             const ScopePtr& scope) {
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
  std::vector<std::pair<Value, Value>> others = BindNamed(macro, arguments, scope, given);
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
}

std::vector<std::pair<Value, Value>> Renderer::BindNamed(const MacroBody& macro,
                                                         const Arguments& arguments,
                                                         const ScopePtr& scope,
                                                         std::vector<bool>& given) {
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
  return others;
}

}  // namespace smelt::jinja
