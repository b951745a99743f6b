// The objects that a template makes: macros, loops, namespaces.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/chat/renderer.h"

namespace smelt::jinja {

class Macro : public Object {
 public:
  Macro(std::shared_ptr<const MacroBody> body, ScopePtr definition)
      : body_(std::move(body)), definition_(std::move(definition)) {}
  std::string_view type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  Value Call(Renderer& renderer, const Arguments& arguments) override;
  std::optional<Value> Attribute(Renderer& renderer, std::string_view name) override;

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
  Value Call(Renderer& renderer, const Arguments& arguments) override;
  std::optional<Value> Attribute(Renderer& renderer, std::string_view name) override;

 private:
  Value Neighbour(int64_t at, std::string hint) const;
  Value Cycle() const;
  Value Changed();

  const Statement& statement_;
  const ScopePtr scope_;
  const std::vector<Value> items_;
  const int level_;
  int64_t index_ = -1;
  std::optional<Value> seen_;  ///< what changed() was asked about last
};

/// namespace(): the one value that templates may change.
class Namespace : public Object {
 public:
  /// From the arguments of the call: dictionaries and names.
  static Value Make(Renderer& renderer, const Arguments& arguments);

  std::string_view type_name() const override { return "Namespace"; }
  std::optional<Value> Attribute(Renderer& renderer, std::string_view name) override;
  void Set(std::string_view name, Value value) { values_.Set(name, std::move(value)); }

 private:
  Scope values_{nullptr};
};

}  // namespace smelt::jinja
