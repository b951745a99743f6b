// Ordered key/value metadata with GGUF's value types. It describes a model whatever it came from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/copy_variant.h"
#include "lib/base/text_hash.h"

namespace smelt {

/// Values are the value type ids of the GGUF format.
enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

std::string_view Name(ValueType type);  ///< "u32", "string", ...

/// One value: a scalar, a string, or an array of scalars or strings.
class MetadataValue {
 public:
  /// std::vector<bool> is avoided: booleans of arrays are bytes 0 or 1.
  using Storage =
      std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                   uint64_t, int64_t, double, std::vector<uint8_t>, std::vector<int8_t>,
                   std::vector<uint16_t>, std::vector<int16_t>, std::vector<uint32_t>,
                   std::vector<int32_t>, std::vector<float>, std::vector<std::string>,
                   std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>>;

  template <typename T>
  requires(!std::is_same_v<std::remove_cvref_t<T>, MetadataValue> &&
           std::is_constructible_v<Storage, T&&>) MetadataValue(T&& value)
      : storage_(std::forward<T>(value)) {}  // NOLINT: implicit on purpose
  MetadataValue(const MetadataValue& other)
      : storage_(CopyVariant(other.storage_)), bool_array_(other.bool_array_) {}
  MetadataValue(MetadataValue&&) noexcept = default;
  MetadataValue& operator=(const MetadataValue& other) { return *this = MetadataValue(other); }
  MetadataValue& operator=(MetadataValue&&) noexcept = default;
  MetadataValue(const char* text) : storage_(std::string(text)) {}       // NOLINT
  MetadataValue(std::string_view text) : storage_(std::string(text)) {}  // NOLINT

  /// An array of booleans (stored as bytes).
  static MetadataValue BoolArray(std::vector<uint8_t> values);

  ValueType type() const;          ///< kArray for every array
  ValueType element_type() const;  ///< of an array; type() of a scalar
  bool is_array() const { return type() == ValueType::kArray; }
  size_t size() const;  ///< elements of an array; 1 of a scalar

  const Storage& storage() const { return storage_; }
  template <typename T>
  const T* get_if() const {
    return std::get_if<T>(&storage_);
  }

  /// Any integer type whose value fits; nothing else (no float, no bool).
  std::optional<uint64_t> AsUint() const;
  /// f32 or f64, or an integer.
  std::optional<double> AsFloat() const;
  std::optional<bool> AsBool() const;
  const std::string* AsString() const { return get_if<std::string>(); }
  /// Element i of an array of numbers, or the scalar itself for every i.
  std::optional<int64_t> IntAt(size_t i) const;
  std::optional<double> FloatAt(size_t i) const;

  friend bool operator==(const MetadataValue&, const MetadataValue&) = default;

 private:
  Storage storage_;
  bool bool_array_ = false;
};

/// Keys in the order in which they were set; lookups by hash.
class Metadata {
 public:
  struct Entry {
    std::string key;
    MetadataValue value;
  };

  const std::vector<Entry>& entries() const { return entries_; }
  const MetadataValue* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  /// Replaces in place when the key exists, else appends.
  void Set(std::string_view key, MetadataValue value);
  bool Erase(std::string_view key);

  // Typed access: an error that names the key when it is absent (without `fallback`) or of another
  // kind.
  absl::StatusOr<uint64_t> Uint(std::string_view key) const;
  absl::StatusOr<uint64_t> UintOr(std::string_view key, uint64_t fallback) const;
  absl::StatusOr<double> Float(std::string_view key) const;
  absl::StatusOr<double> FloatOr(std::string_view key, double fallback) const;
  absl::StatusOr<bool> BoolOr(std::string_view key, bool fallback) const;
  absl::StatusOr<std::string> String(std::string_view key) const;
  absl::StatusOr<std::string> StringOr(std::string_view key, std::string_view fallback) const;
  /// An array of strings; the pointer lives as long as the entry.
  absl::StatusOr<const std::vector<std::string>*> Strings(std::string_view key) const;

 private:
  std::vector<Entry> entries_;
  TextMap<std::string, size_t> index_;
};

}  // namespace smelt
