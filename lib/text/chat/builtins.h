// What templates can call without defining it: filters, tests, methods of values, functions.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "lib/text/chat/renderer.h"

namespace smelt::jinja {

/// Texts that filters and methods build are at most this long, in bytes.
inline constexpr size_t kLongestText = size_t{64} << 20;

/// Arguments by the names of a function's parameters. Throws for too many, unknown, or repeated
/// ones, and for missing ones among the first `required`.
class Parameters {
 public:
  Parameters(std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names, size_t required = 0);

  bool Has(size_t i) const { return values_[i].has_value(); }
  const Value& operator[](size_t i) const { return *values_[i]; }
  Value Or(size_t i, Value otherwise) const { return Has(i) ? *values_[i] : otherwise; }
  bool Truth(size_t i, bool otherwise) const { return Has(i) ? values_[i]->truth() : otherwise; }
  int64_t Integer(size_t i, int64_t otherwise) const;
  /// Throws where it is no text.
  std::string Text(size_t i, std::string_view otherwise) const;

 private:
  [[noreturn]] void FailType(size_t i, std::string_view expected) const;

  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<std::optional<Value>> values_;
};

/// A function of ours as a value.
class Function : public Object {
 public:
  using Body = std::function<Value(Renderer&, const Arguments&)>;
  explicit Function(Body body) : body_(std::move(body)) {}
  std::string_view type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value Call(Renderer& renderer, const Arguments& arguments) override {
    return body_(renderer, arguments);
  }

 private:
  Body body_;
};

using Filter = Value (*)(Renderer&, const Value&, const Arguments&);
using Test = bool (*)(Renderer&, const Value&, const Arguments&);

/// Null when there is none of this name.
Filter FindFilter(std::string_view name);
Test FindTest(std::string_view name);
/// The method of this name, bound to the value; what changes a list or dictionary is an undefined
/// value that says so.
std::optional<Value> FindMethod(Renderer& renderer, const Value& value, std::string_view name);
/// A function that every template sees.
std::optional<Value> FindFunction(std::string_view name);

/// Follows "a.b.0" from a value; an undefined value where it leads nowhere.
Value FollowPath(Renderer& renderer, const Value& value, const Value& path);

}  // namespace smelt::jinja
