// Values of the template language: Python's, as far as templates meet them. Immutable, but for
// namespaces.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lib/text/chat/budget.h"

namespace smelt::jinja {

class Renderer;
class Value;
struct ListObject;
struct DictObject;
struct StringObject;

/// Arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Something with attributes, or that can be called: macros, loops, namespaces, methods.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string_view type_name() const = 0;
  virtual std::optional<Value> Attribute(Renderer& renderer, std::string_view name);
  virtual bool callable() const { return false; }
  virtual Value Call(Renderer& renderer, const Arguments& arguments);
};

/// What a name stands for that has no value; `hint` says why, in the words of an error.
struct Undefined {
  std::shared_ptr<const std::string> hint;
};
struct None {};

class Value {
 public:
  Value() : data_(None{}) {}
  explicit Value(bool value) : data_(value) {}
  explicit Value(int64_t value) : data_(value) {}
  explicit Value(double value) : data_(value) {}
  explicit Value(std::shared_ptr<const StringObject> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<const ListObject> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<const DictObject> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<Object> value) : data_(std::move(value)) {}
  static Value MakeUndefined(std::string hint);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  /// Also true and false, which are Python's 1 and 0.
  bool is_integer() const { return is_bool() || std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_integer() || is_float(); }
  bool is_string() const { return string() != nullptr; }
  /// Lists, tuples and what iterates like one.
  bool is_list() const { return list() != nullptr; }
  bool is_dict() const { return dict() != nullptr; }

  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const;  ///< of is_integer()
  double real() const;      ///< of is_number()
  const StringObject* string() const { return Pointee<StringObject>(); }
  const ListObject* list() const { return Pointee<ListObject>(); }
  const DictObject* dict() const { return Pointee<DictObject>(); }
  Object* object() const {
    const auto* held = std::get_if<std::shared_ptr<Object>>(&data_);
    return held == nullptr ? nullptr : held->get();
  }
  const std::string& text() const;  ///< of is_string()
  const std::string& hint() const;  ///< of is_undefined()

  /// "str", "NoneType", ... as Python's messages spell it.
  std::string_view type_name() const;
  bool truth() const;
  /// How many containers are inside each other; 0 for plain values.
  int depth() const;

 private:
  template <typename T>
  const T* Pointee() const {
    const auto* held = std::get_if<std::shared_ptr<const T>>(&data_);
    return held == nullptr ? nullptr : held->get();
  }

  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const StringObject>,
               std::shared_ptr<const ListObject>, std::shared_ptr<const DictObject>,
               std::shared_ptr<Object>>
      data_;
};

struct StringObject {
  std::string text;  ///< valid UTF-8
  bool markup;       ///< what the filter `safe` gives: `+` escapes what is added
  Charge charge;
};

enum class ListKind { kList, kTuple, kRange, kView, kGenerator };

/// Of the pairs that the filter groupby gives, whose parts have names too: grouper, list.
inline constexpr std::string_view kGroupLabel = "group";

struct ListObject {
  ListKind kind;
  std::vector<Value> items;
  std::string label;  ///< of a range its text, of a view its type: "range(0, 3)", "dict_keys"; of a
                      ///< group kGroupLabel
  int depth;
  Charge charge;
  mutable bool consumed = false;  ///< a generator gives its items once
};

/// Python's order of keys that may mix types; equal numbers are one key.
struct KeyLess {
  bool operator()(const Value& a, const Value& b) const;
};

struct DictObject {
  std::vector<std::pair<Value, Value>> items;  ///< in the order of their first insertion
  std::map<Value, size_t, KeyLess> index;
  int depth;
  Charge charge;

  const Value* Find(const Value& key) const;
  const Value* Find(Budget& budget, std::string_view key) const;
};

Value MakeString(Budget& budget, std::string text, bool markup = false);
Value MakeList(Budget& budget, std::vector<Value> items, ListKind kind = ListKind::kList,
               std::string label = {});
/// Later values of a key replace earlier ones. Throws where a key cannot be hashed.
Value MakeDict(Budget& budget, std::vector<std::pair<Value, Value>> items);

/// Lists, tuples and ranges: what has positions.
bool IsSequenceList(const Value& value);
/// What can be a key of a dictionary.
bool IsHashable(const Value& value);
bool Equal(const Value& a, const Value& b);
/// Throws for types that Python does not order.
bool Less(const Value& a, const Value& b);
/// What `for` goes through: items, keys, characters. Throws for others. Charged to the budget.
std::vector<Value> Iterate(Budget& budget, const Value& value);
/// len(); throws for values without one.
int64_t Length(const Value& value);
/// `item in container`.
bool Contains(Budget& budget, const Value& container, const Value& item);
/// value[start:stop:step]; none where left out.
Value Slice(Budget& budget, const Value& value, const Value& start, const Value& stop,
            const Value& step);

/// Throws Python's error for a use of an undefined value; returns when it is defined.
void RequireDefined(const Value& value);

}  // namespace smelt::jinja
