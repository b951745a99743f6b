#include "lib/jobs/metadata_edit.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "lib/base/json.h"
#include "lib/base/own_keys.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

struct TypeName {
  std::string_view name;
  ValueType type;
};
constexpr TypeName kTypeNames[] = {
    {"u8", ValueType::kU8},         {"i8", ValueType::kI8},     {"u16", ValueType::kU16},
    {"i16", ValueType::kI16},       {"u32", ValueType::kU32},   {"i32", ValueType::kI32},
    {"u64", ValueType::kU64},       {"i64", ValueType::kI64},   {"f32", ValueType::kF32},
    {"f64", ValueType::kF64},       {"bool", ValueType::kBool}, {"str", ValueType::kString},
    {"string", ValueType::kString},
};

template <typename T>
std::optional<T> ParseWhole(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return std::nullopt;
  }
  return value;
}

template <typename T>
std::optional<MetadataValue> Number(std::string_view text) {
  const std::optional<T> value = ParseWhole<T>(text);
  if (!value) return std::nullopt;
  return MetadataValue(*value);
}

std::optional<MetadataValue> Scalar(ValueType type, std::string_view text) {
  switch (type) {
    case ValueType::kU8:
      return Number<uint8_t>(text);
    case ValueType::kI8:
      return Number<int8_t>(text);
    case ValueType::kU16:
      return Number<uint16_t>(text);
    case ValueType::kI16:
      return Number<int16_t>(text);
    case ValueType::kU32:
      return Number<uint32_t>(text);
    case ValueType::kI32:
      return Number<int32_t>(text);
    case ValueType::kU64:
      return Number<uint64_t>(text);
    case ValueType::kI64:
      return Number<int64_t>(text);
    case ValueType::kF32:
      return Number<float>(text);
    case ValueType::kF64:
      return Number<double>(text);
    case ValueType::kBool:
      if (text == "true" || text == "1") return MetadataValue(true);
      if (text == "false" || text == "0") return MetadataValue(false);
      return std::nullopt;
    case ValueType::kString:
      return MetadataValue(std::string(text));
    case ValueType::kArray:
      break;
  }
  return std::nullopt;
}

// The type that a value of a new key looks like.
ValueType Guess(std::string_view text) {
  if (text == "true" || text == "false") return ValueType::kBool;
  if (ParseWhole<uint32_t>(text)) return ValueType::kU32;
  if (ParseWhole<int32_t>(text)) return ValueType::kI32;
  if (ParseWhole<uint64_t>(text)) return ValueType::kU64;
  if (ParseWhole<int64_t>(text)) return ValueType::kI64;
  if (ParseWhole<float>(text)) return ValueType::kF32;
  return ValueType::kString;
}

template <typename T>
std::optional<MetadataValue> NumberArray(const JsonValue::Array& items, ValueType element) {
  std::vector<T> values;
  for (const JsonValue& item : items) {
    const std::optional<MetadataValue> value = Scalar(element, item.ToText());
    if (!value || value->get_if<T>() == nullptr) return std::nullopt;
    values.push_back(*value->get_if<T>());
  }
  return MetadataValue(std::move(values));
}

std::optional<MetadataValue> ArrayOf(ValueType element, const JsonValue::Array& items) {
  switch (element) {
    case ValueType::kU32:
      return NumberArray<uint32_t>(items, element);
    case ValueType::kI32:
      return NumberArray<int32_t>(items, element);
    case ValueType::kU8:
      return NumberArray<uint8_t>(items, element);
    case ValueType::kF32:
      return NumberArray<float>(items, element);
    case ValueType::kF64:
      return NumberArray<double>(items, element);
    case ValueType::kString: {
      std::vector<std::string> values;
      for (const JsonValue& item : items) {
        if (!item.is_string()) return std::nullopt;
        values.push_back(*item.as_string());
      }
      return MetadataValue(std::move(values));
    }
    default:
      return std::nullopt;
  }
}

std::optional<MetadataValue> Array(const MetadataValue* old, std::string_view text) {
  const absl::StatusOr<JsonValue> json = ParseJsonValue(text, "--metadata");
  if (!json.ok() || !json->is_array()) return std::nullopt;
  const JsonValue::Array& items = *json->as_array();
  if (old != nullptr) return ArrayOf(old->element_type(), items);
  if (items.empty()) return std::nullopt;
  for (ValueType guess : {ValueType::kString, ValueType::kI32, ValueType::kF32}) {
    if (std::optional<MetadataValue> value = ArrayOf(guess, items)) return value;
  }
  return std::nullopt;
}

std::optional<MetadataValue> Parse(const MetadataValue* old, std::string_view text) {
  if (old != nullptr && old->is_array()) return Array(old, text);
  if (old != nullptr) {
    const bool named = old->type() == ValueType::kString &&
                       (text.starts_with("str:") || text.starts_with("string:"));
    // "u32:7" for a string key means the text; its own type and a number's are honoured below.
    if (!named) {
      if (std::optional<MetadataValue> value = Scalar(old->type(), text)) return value;
    }
  }
  for (const TypeName& t : kTypeNames) {
    if (text.size() > t.name.size() && text.starts_with(t.name) && text[t.name.size()] == ':') {
      if (old != nullptr && old->type() != t.type) return std::nullopt;
      return Scalar(t.type, text.substr(t.name.size() + 1));
    }
  }
  if (old != nullptr) return std::nullopt;
  if (text.starts_with("[")) {
    if (std::optional<MetadataValue> value = Array(nullptr, text)) return value;
  }
  return Scalar(Guess(text), text);
}

bool GoodKey(std::string_view key) {
  if (key.empty() || key.size() > 65535) return false;
  for (char c : key) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return false;
  }
  return true;
}

}  // namespace

absl::Status EditMetadata(const std::vector<std::pair<std::string, std::string>>& edits,
                          Metadata& metadata) {
  for (const auto& [key, text] : edits) {
    if (!GoodKey(key)) {
      return Error(ErrorCode::kUsage, "--metadata \"", Escape(key),
                   "\": a key is text without spaces, such as general.name");
    }
    const MetadataValue* old = metadata.Find(key);
    const OwnKeyRow* row = FindOwnKey(key);
    const MetadataValue own = row == nullptr ? MetadataValue(0u) : EmptyOwnValue(*row);
    if (old == nullptr && row != nullptr) old = &own;
    std::optional<MetadataValue> value = Parse(old, text);
    if (!value) {
      const std::string wanted = old == nullptr ? std::string("its own type")
                                 : old->is_array()
                                     ? Cat("a JSON list of ", Name(old->element_type()))
                                     : std::string(Name(old->type()));
      return Error(ErrorCode::kUsage, "--metadata ", Escape(key), ": \"", Escape(text, 60),
                   "\" does not fit; the value must be ", wanted);
    }
    metadata.Set(key, *std::move(value));
  }
  return absl::OkStatus();
}

}  // namespace smelt
