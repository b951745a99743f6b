// Methods of Python's dictionaries and lists, and which value has which.
#include "lib/text/chat/methods.h"

#include <algorithm>

#include "lib/base/cat.h"
#include "lib/text/chat/operators.h"

namespace smelt::jinja {
namespace {

// ---------------------------------------------------------------------- dictionaries
Value Get(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters parameters("get", arguments, {"key", "default"}, 1);
  Contains(renderer.budget(), self, parameters[0]);  // refuses keys that cannot be hashed
  const Value* found = self.dict()->Find(parameters[0]);
  return found != nullptr ? *found : parameters.Or(1, Value());
}

Value Items(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters none("items", arguments, {});
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.dict()->items)
    pairs.push_back(MakeList(renderer.budget(), {key, value}, ListKind::kTuple));
  return MakeList(renderer.budget(), std::move(pairs), ListKind::kView, "dict_items");
}

Value Keys(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters none("keys", arguments, {});
  return MakeList(renderer.budget(), Iterate(renderer.budget(), self), ListKind::kView,
                  "dict_keys");
}

Value Values(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Parameters none("values", arguments, {});
  std::vector<Value> values;
  for (const auto& [key, value] : self.dict()->items) values.push_back(value);
  return MakeList(renderer.budget(), std::move(values), ListKind::kView, "dict_values");
}

Value Copy(Renderer&, const Value& self, const Arguments& arguments) {
  const Parameters none("copy", arguments, {});
  return self;
}

constexpr NamedMethod kDictMethods[] = {
    {"get", Get}, {"items", Items}, {"keys", Keys}, {"values", Values}, {"copy", Copy}};
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};

// ---------------------------------------------------------------------- lists
Value IndexOf(Renderer&, const Value& self, const Arguments& arguments) {
  const Parameters parameters("index", arguments, {"value"}, 1);
  const std::vector<Value>& items = self.list()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (Equal(items[i], parameters[0])) return Value(static_cast<int64_t>(i));
  }
  throw TemplateError{"the value is not in the list"};
}

Value CountItems(Renderer&, const Value& self, const Arguments& arguments) {
  const Parameters parameters("count", arguments, {"value"}, 1);
  return Value(static_cast<int64_t>(std::ranges::count_if(
      self.list()->items, [&](const Value& item) { return Equal(item, parameters[0]); })));
}

constexpr NamedMethod kListMethods[] = {{"index", IndexOf}, {"count", CountItems}, {"copy", Copy}};
constexpr std::span<const NamedMethod> kTupleMethods(kListMethods, 2);
constexpr std::string_view kListChanges[] = {"append", "clear", "pop",    "reverse",
                                             "insert", "sort",  "extend", "remove"};

std::optional<Value> Unsafe(std::span<const std::string_view> changes, const Value& value,
                            std::string_view name) {
  if (std::ranges::find(changes, name) == changes.end()) return std::nullopt;
  return Value::MakeUndefined(Cat("access to attribute '", name, "' of '", value.type_name(),
                                  "' object is unsafe: a template may not change it"));
}

}  // namespace

std::optional<Value> FindMethod(Renderer&, const Value& value, std::string_view name) {
  std::span<const NamedMethod> methods;
  std::span<const std::string_view> changes;
  if (value.is_string()) methods = TextMethods();
  if (value.is_dict()) methods = kDictMethods, changes = kDictChanges;
  if (IsSequenceList(value)) methods = kTupleMethods;
  if (value.is_list() && value.list()->kind == ListKind::kList)
    methods = kListMethods, changes = kListChanges;
  if (std::optional<Value> unsafe = Unsafe(changes, value, name)) return unsafe;
  const auto found = std::ranges::find(methods, name, &NamedMethod::name);
  if (found == methods.end()) return std::nullopt;
  return Value(std::static_pointer_cast<Object>(std::make_shared<Function>(
      [value, method = found->method](Renderer& renderer, const Arguments& arguments) {
        return method(renderer, value, arguments);
      })));
}

}  // namespace smelt::jinja
