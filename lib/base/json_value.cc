#include <cmath>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "lib/base/json_tree.h"
#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<JsonValue> ParseJsonValue(std::string_view text, std::string_view name,
                                         const JsonOptions& options) {
  JsonTree builder;
  SMELT_RETURN_IF_ERROR(ParseJson(text, name, builder, options));
  return builder.TakeRoot();
}

std::optional<int64_t> JsonValue::as_int() const {
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return *value;
  return std::nullopt;
}

std::optional<double> JsonValue::as_double() const {
  if (const double* value = std::get_if<double>(&value_)) return *value;
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return static_cast<double>(*value);
  if (const uint64_t* value = std::get_if<uint64_t>(&value_)) return static_cast<double>(*value);
  return std::nullopt;
}

const JsonValue* JsonValue::Find(std::string_view key) const {
  const Object* object = as_object();
  if (object == nullptr) return nullptr;
  for (const auto& [name, value] : *object) {
    if (name == key) return &value;
  }
  return nullptr;
}

const JsonValue* JsonValue::FindNonNull(std::string_view key) const {
  const JsonValue* value = Find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string_view JsonValue::KindName() const {
  if (is_null()) return "null";
  if (is_bool()) return "boolean";
  if (is_int()) return "integer";
  if (is_number()) return "number";
  if (is_string()) return "string";
  return is_array() ? "array" : "object";
}

std::string JsonValue::ToText() const {
  if (const bool* flag = as_bool()) return *flag ? "true" : "false";
  if (const int64_t* value = std::get_if<int64_t>(&value_)) return Cat(*value);
  if (const uint64_t* value = std::get_if<uint64_t>(&value_)) return Cat(*value);
  if (const double* value = std::get_if<double>(&value_)) {
    if (std::isnan(*value)) return "NaN";
    if (std::isinf(*value)) return *value < 0 ? "-Infinity" : "Infinity";
    return Cat(*value);
  }
  if (const std::string* text = as_string()) return JsonQuote(*text);
  std::string out;
  if (const Array* array = as_array()) {
    for (const JsonValue& element : *array) out += Cat(out.empty() ? "[" : ",", element.ToText());
    return out.empty() ? "[]" : out + "]";
  }
  if (const Object* object = as_object()) {
    for (const auto& [key, value] : *object)
      out += Cat(out.empty() ? "{" : ",", JsonQuote(key), ":", value.ToText());
    return out.empty() ? "{}" : out + "}";
  }
  return "null";
}

}  // namespace smelt
