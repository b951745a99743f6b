// Runs a parsed template.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "lib/text/chat/syntax.h"

namespace smelt::jinja {

/// Names and their values; what a scope does not have is looked for in the one around it.
class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> outer) : outer_(std::move(outer)) {}

  const Value* Find(std::string_view name) const;
  void Set(std::string_view name, Value value);
  void Clear();  ///< macros refer to the scopes that hold them

 private:
  std::shared_ptr<Scope> outer_;
  std::vector<std::pair<std::string, Value>> values_;
};
using ScopePtr = std::shared_ptr<Scope>;

class Renderer {
 public:
  /// `now` is what strftime_now shows.
  Renderer(Budget& budget, const std::tm& now);
  ~Renderer();

  /// The text of a template with these variables. Throws TemplateError with the line.
  std::string Render(const Block& block, std::vector<std::pair<std::string, Value>> variables);

  // What built-in functions use.
  Budget& budget() { return budget_; }
  const std::tm& now() const { return now_; }
  Value Text(std::string text, bool markup = false) {
    return MakeString(budget_, std::move(text), markup);
  }
  Value Call(const Value& callee, const Arguments& arguments);
  /// value.name: methods first.
  Value Attribute(const Value& value, std::string_view name);
  /// value[key]: items first.
  Value Item(const Value& value, const Value& key);

  /// The text of a macro's body.
  Value RunMacro(const MacroBody& macro, const ScopePtr& definition, const Arguments& arguments);
  /// One round of a loop that calls itself: `loop(items)`.
  Value RunLoop(const Statement& loop, const ScopePtr& scope, const Value& items, int level);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  /// Counts evaluations inside each other: a macro may call itself.
  class Deeper {
   public:
    explicit Deeper(Renderer& renderer);
    ~Deeper() { --renderer_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Renderer& renderer_;
  };

  Flow Run(const Block& block, const ScopePtr& scope);
  Flow RunStatement(const Statement& statement, const ScopePtr& scope);
  void RunFor(const Statement& statement, const ScopePtr& scope, const Value& iterable, int level);
  std::string Capture(const Block& block, const ScopePtr& scope);
  /// What `body` puts out.
  std::string Captured(absl::FunctionRef<void()> body);
  void BindArguments(const MacroBody& macro, const Arguments& arguments, const ScopePtr& scope);
  /// Marks the parameters that are `given`, and returns what is for none of them.
  std::vector<std::pair<Value, Value>> BindNamed(const MacroBody& macro, const Arguments& arguments,
                                                 const ScopePtr& scope, std::vector<bool>& given);
  void Assign(const Target& target, const Value& value, const ScopePtr& scope);
  void Output(std::string_view text);

  Value Evaluate(const Expression& expression, const ScopePtr& scope);
  Value EvaluateName(const Expression& expression, const ScopePtr& scope);
  Value EvaluateDict(const Expression& expression, const ScopePtr& scope);
  Value EvaluateCompare(const Expression& expression, const ScopePtr& scope);
  Value EvaluateSlice(const Expression& expression, const ScopePtr& scope);
  Value EvaluateFilter(const Expression& expression, const ScopePtr& scope);
  Value EvaluateTest(const Expression& expression, const ScopePtr& scope);
  std::vector<Value> EvaluateAll(const Expression& expression, const ScopePtr& scope);
  Arguments EvaluateArguments(const Expression& expression, const ScopePtr& scope);

  Budget& budget_;
  const std::tm now_;
  std::string* out_ = nullptr;
  std::string captured_;  ///< what filters of a block work on
  int depth_ = 0, line_ = 1;
  std::vector<ScopePtr> defining_;  ///< scopes that macros and loops hold on to
};

}  // namespace smelt::jinja
