#include "lib/base/metadata.h"

#include <limits>
#include <type_traits>
#include <utility>

#include "lib/base/status.h"

namespace smelt {
namespace {

template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};

template <typename T>
constexpr ValueType TypeOf() {
  if constexpr (std::is_same_v<T, uint8_t>) return ValueType::kU8;
  if constexpr (std::is_same_v<T, int8_t>) return ValueType::kI8;
  if constexpr (std::is_same_v<T, uint16_t>) return ValueType::kU16;
  if constexpr (std::is_same_v<T, int16_t>) return ValueType::kI16;
  if constexpr (std::is_same_v<T, uint32_t>) return ValueType::kU32;
  if constexpr (std::is_same_v<T, int32_t>) return ValueType::kI32;
  if constexpr (std::is_same_v<T, float>) return ValueType::kF32;
  if constexpr (std::is_same_v<T, bool>) return ValueType::kBool;
  if constexpr (std::is_same_v<T, std::string>) return ValueType::kString;
  if constexpr (std::is_same_v<T, uint64_t>) return ValueType::kU64;
  if constexpr (std::is_same_v<T, int64_t>) return ValueType::kI64;
  if constexpr (std::is_same_v<T, double>) return ValueType::kF64;
  return ValueType::kArray;
}

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

template <typename T>
std::optional<int64_t> ToInt(const T& value) {
  if constexpr (kIsInteger<T>) {
    if (std::in_range<int64_t>(value)) return static_cast<int64_t>(value);
  }
  return std::nullopt;
}

template <typename T>
std::optional<double> ToFloat(const T& value) {
  if constexpr (kIsInteger<T> || std::is_floating_point_v<T>) return static_cast<double>(value);
  return std::nullopt;
}

absl::Status Missing(std::string_view key) {
  return Error(ErrorCode::kInvalidInput, "metadata key ", Escape(key), " is missing");
}

absl::Status WrongKind(std::string_view key, std::string_view expected,
                       const MetadataValue& value) {
  return Error(ErrorCode::kInvalidInput, "metadata key ", Escape(key), " is ",
               value.is_array() ? "an array of " : "of type ", Name(value.element_type()),
               ", expected ", expected);
}

}  // namespace

std::string_view Name(ValueType type) {
  static constexpr std::string_view kNames[] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                                "i32", "f32", "bool", "string", "array",
                                                "u64", "i64", "f64"};
  return kNames[static_cast<uint32_t>(type)];
}

MetadataValue MetadataValue::BoolArray(std::vector<uint8_t> values) {
  MetadataValue value(std::move(values));
  value.bool_array_ = true;
  return value;
}

ValueType MetadataValue::type() const {
  return std::visit([](const auto& v) { return TypeOf<std::decay_t<decltype(v)>>(); }, storage_);
}

ValueType MetadataValue::element_type() const {
  if (bool_array_) return ValueType::kBool;
  return std::visit(
      [](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (IsVector<T>::value) return TypeOf<typename T::value_type>();
        return TypeOf<T>();
      },
      storage_);
}

size_t MetadataValue::size() const {
  return std::visit(
      [](const auto& v) -> size_t {
        if constexpr (IsVector<std::decay_t<decltype(v)>>::value) return v.size();
        return 1;
      },
      storage_);
}

std::optional<uint64_t> MetadataValue::AsUint() const {
  return std::visit(
      [](const auto& v) -> std::optional<uint64_t> {
        using T = std::decay_t<decltype(v)>;
        if constexpr (kIsInteger<T>) {
          if (std::in_range<uint64_t>(v)) return static_cast<uint64_t>(v);
        }
        return std::nullopt;
      },
      storage_);
}

std::optional<double> MetadataValue::AsFloat() const {
  return std::visit([](const auto& v) { return ToFloat(v); }, storage_);
}

std::optional<bool> MetadataValue::AsBool() const {
  const bool* value = get_if<bool>();
  return value == nullptr ? std::nullopt : std::optional<bool>(*value);
}

std::optional<int64_t> MetadataValue::IntAt(size_t i) const {
  return std::visit(
      [i](const auto& v) -> std::optional<int64_t> {
        if constexpr (IsVector<std::decay_t<decltype(v)>>::value) {
          return i < v.size() ? ToInt(v[i]) : std::nullopt;
        } else {
          return ToInt(v);
        }
      },
      storage_);
}

std::optional<double> MetadataValue::FloatAt(size_t i) const {
  return std::visit(
      [i](const auto& v) -> std::optional<double> {
        if constexpr (IsVector<std::decay_t<decltype(v)>>::value) {
          return i < v.size() ? ToFloat(v[i]) : std::nullopt;
        } else {
          return ToFloat(v);
        }
      },
      storage_);
}

const MetadataValue* Metadata::Find(std::string_view key) const {
  const auto it = index_.find(std::string(key));
  return it == index_.end() ? nullptr : &entries_[it->second].value;
}

void Metadata::Set(std::string_view key, MetadataValue value) {
  const auto [it, inserted] = index_.try_emplace(std::string(key), entries_.size());
  if (inserted) {
    entries_.push_back({std::string(key), std::move(value)});
  } else {
    entries_[it->second].value = std::move(value);
  }
}

bool Metadata::Erase(std::string_view key) {
  const auto it = index_.find(std::string(key));
  if (it == index_.end()) return false;
  const size_t position = it->second;
  entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(position));
  index_.erase(it);
  for (auto& [name, i] : index_) {
    if (i > position) --i;
  }
  return true;
}

absl::StatusOr<uint64_t> Metadata::Uint(std::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (const auto number = value->AsUint()) return *number;
  return WrongKind(key, "an unsigned integer", *value);
}

absl::StatusOr<uint64_t> Metadata::UintOr(std::string_view key, uint64_t fallback) const {
  return Has(key) ? Uint(key) : absl::StatusOr<uint64_t>(fallback);
}

absl::StatusOr<double> Metadata::Float(std::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (const auto number = value->AsFloat()) return *number;
  return WrongKind(key, "a number", *value);
}

absl::StatusOr<double> Metadata::FloatOr(std::string_view key, double fallback) const {
  return Has(key) ? Float(key) : absl::StatusOr<double>(fallback);
}

absl::StatusOr<bool> Metadata::BoolOr(std::string_view key, bool fallback) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr) return fallback;
  if (const auto flag = value->AsBool()) return *flag;
  return WrongKind(key, "a bool", *value);
}

absl::StatusOr<std::string> Metadata::String(std::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (const std::string* text = value->AsString()) return *text;
  return WrongKind(key, "a string", *value);
}

absl::StatusOr<std::string> Metadata::StringOr(std::string_view key,
                                               std::string_view fallback) const {
  return Has(key) ? String(key) : absl::StatusOr<std::string>(std::string(fallback));
}

absl::StatusOr<const std::vector<std::string>*> Metadata::Strings(std::string_view key) const {
  const MetadataValue* value = Find(key);
  if (value == nullptr) return Missing(key);
  if (const auto* strings = value->get_if<std::vector<std::string>>()) return strings;
  return WrongKind(key, "an array of strings", *value);
}

}  // namespace smelt
