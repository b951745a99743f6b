#include "lib/model/config.h"

#include <algorithm>
#include <cmath>

#include "lib/base/checked.h"
#include "lib/base/status.h"
#include "lib/model/alternatives.h"

namespace smelt {
namespace {

/// An integer, also one written as 4096.0.
std::optional<int64_t> WholeNumber(const JsonValue& value) {
  if (const auto number = value.as_int()) return number;
  const std::optional<double> real = value.as_double();
  if (!real || value.is_int()) return std::nullopt;  // an integer that does not fit
  return CheckedInteger<int64_t>(*real);
}

}  // namespace

Config::Config(JsonValue value, std::string name)
    : value_(std::move(value)), name_(std::move(name)) {}

absl::StatusOr<Config> Config::Parse(std::string_view text, std::string name) {
  if (text.empty())
    return Error(ErrorCode::kInvalidInput, name, " is empty, expected a JSON object");
  JsonOptions options;
  options.allow_nan = true;  // Python writes them; each number is checked where it is read
  SMELT_ASSIGN_OR_RETURN(JsonValue value, ParseJsonValue(text, name, options));
  if (!value.is_object()) {
    return Error(ErrorCode::kInvalidInput, name, " holds a JSON ", value.KindName(),
                 ", expected an object");
  }
  return Config(std::move(value), std::move(name));
}

absl::StatusOr<Config> Config::Nested(std::string_view key,
                                      std::span<const std::string_view> of_whole) const {
  const JsonValue* value = Find(key);
  if (value == nullptr || !value->is_object()) return Bad(key, "is no object");
  JsonValue::Object members = *value->as_object();
  for (std::string_view name : of_whole) {
    std::erase_if(members, [&](const auto& member) { return member.first == name; });
    Find(name);  // it is read, if under another roof
    if (const JsonValue* own = value_.Find(name)) members.emplace_back(name, *own);
  }
  Config nested(JsonValue(std::move(members)), name_);
  nested.parent_ = std::make_shared<Config>(*this);
  return nested;
}

Config Config::With(std::string_view names, JsonValue value) const {
  const std::string key = KeyOf(names);
  JsonValue::Object members = *value_.as_object();
  const auto it = std::ranges::find(members, key, &JsonValue::Object::value_type::first);
  if (it == members.end()) {
    members.emplace_back(key, std::move(value));
  } else {
    it->second = std::move(value);
  }
  Config changed = *this;
  changed.value_ = JsonValue(std::move(members));
  return changed;
}

const JsonValue* Config::Find(std::string_view names) const {
  const JsonValue* found = nullptr;
  for (const std::string_view name : Alternatives(names)) {
    read_->emplace(name);
    if (found == nullptr) found = value_.FindNonNull(name);
  }
  return found;
}

bool Config::IsNull(std::string_view names) const {
  bool null = false;
  for (const std::string_view name : Alternatives(names)) {
    const JsonValue* value = value_.Find(name);
    if (value != nullptr && !value->is_null()) return false;
    null = null || value != nullptr;
  }
  return null;
}

std::string Config::KeyOf(std::string_view names) const {
  const std::vector<std::string_view> keys = Alternatives(names);
  const auto there = std::ranges::find_if(
      keys, [&](std::string_view key) { return value_.FindNonNull(key) != nullptr; });
  return std::string(there == keys.end() ? keys[0] : *there);
}

absl::Status Config::Bad(std::string_view names, std::string_view what) const {
  return Error(ErrorCode::kInvalidInput, name_, ": ", Escape(KeyOf(names)), " ", what);
}

absl::StatusOr<std::optional<uint64_t>> Config::Count(std::string_view names, uint64_t low,
                                                      uint64_t high) const {
  const JsonValue* value = Find(names);
  if (value == nullptr) return std::optional<uint64_t>();
  const std::optional<int64_t> number = WholeNumber(*value);
  if (!number || *number < 0 || static_cast<uint64_t>(*number) < low ||
      static_cast<uint64_t>(*number) > high) {
    return Bad(names, Cat("is ", Escape(value->ToText(), 40), ", expected an integer from ", low,
                          " to ", high));
  }
  return std::optional<uint64_t>(static_cast<uint64_t>(*number));
}

absl::StatusOr<std::optional<double>> Config::Real(std::string_view names) const {
  const JsonValue* value = Find(names);
  if (value == nullptr) return std::optional<double>();
  const std::optional<double> number = value->as_double();
  if (!number || !std::isfinite(*number)) {
    return Bad(names, Cat("is ", Escape(value->ToText(), 40), ", expected a finite number"));
  }
  return number;
}

absl::StatusOr<std::optional<bool>> Config::Flag(std::string_view names) const {
  const JsonValue* value = Find(names);
  if (value == nullptr) return std::optional<bool>();
  if (value->as_bool() == nullptr)
    return Bad(names, Cat("is ", Escape(value->ToText(), 40), ", expected true or false"));
  return std::optional<bool>(*value->as_bool());
}

absl::StatusOr<std::optional<std::string>> Config::Text(std::string_view names) const {
  const JsonValue* value = Find(names);
  if (value == nullptr) return std::optional<std::string>();
  if (value->as_string() == nullptr)
    return Bad(names, Cat("is ", Escape(value->ToText(), 40), ", expected a string"));
  return std::optional<std::string>(*value->as_string());
}

absl::StatusOr<std::vector<double>> Config::Reals(std::string_view names) const {
  std::vector<double> numbers;
  const JsonValue* value = Find(names);
  if (value == nullptr) return numbers;
  if (value->as_array() == nullptr)
    return Bad(names, Cat("is of type ", value->KindName(), ", expected a list of numbers"));
  for (const JsonValue& element : *value->as_array()) {
    const std::optional<double> number = element.as_double();
    if (!number || !std::isfinite(*number)) {
      return Bad(names, Cat("holds ", Escape(element.ToText(), 40), ", expected finite numbers"));
    }
    numbers.push_back(*number);
  }
  return numbers;
}

absl::StatusOr<std::vector<std::string>> Config::Texts(std::string_view names) const {
  std::vector<std::string> texts;
  const JsonValue* value = Find(names);
  if (value == nullptr) return texts;
  if (value->as_array() == nullptr)
    return Bad(names, Cat("is of type ", value->KindName(), ", expected a list of strings"));
  for (const JsonValue& element : *value->as_array()) {
    if (element.as_string() == nullptr)
      return Bad(names, Cat("holds ", Escape(element.ToText(), 40), ", expected strings"));
    texts.push_back(*element.as_string());
  }
  return texts;
}

std::vector<std::string> Config::Unread() const {
  std::vector<std::string> names;
  for (const auto& [key, value] : *value_.as_object()) {
    if (!read_->contains(key)) names.push_back(key);
  }
  return names;
}

}  // namespace smelt
