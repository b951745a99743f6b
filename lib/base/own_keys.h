// The one reader and the one writer of metadata keys under "smelt.". A name that is no row of the
// table, or a type that is not the row's, does not compile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "lib/base/own_key_table.h"
#include "lib/base/status.h"

namespace smelt {

/// Whether a value of type T is what a row's key holds.
template <typename T>
constexpr bool HoldsType(const OwnKeyRow& row) {
  const auto written = [&](ValueType type) { return row.type == type || row.or_type == type; };
  const bool one = row.length == KeyLength::kOne;
  if constexpr (std::is_same_v<T, bool>) return one && written(ValueType::kBool);
  if constexpr (std::is_same_v<T, uint32_t>) return one && written(ValueType::kU32);
  if constexpr (std::is_same_v<T, float>) return one && written(ValueType::kF32);
  if constexpr (std::is_same_v<T, double>) return one && written(ValueType::kF64);
  if constexpr (std::is_same_v<T, std::string>) return one && written(ValueType::kString);
  if constexpr (std::is_same_v<T, std::vector<uint8_t>>) return !one && written(ValueType::kU8);
  if constexpr (std::is_same_v<T, std::vector<int32_t>>) return !one && written(ValueType::kI32);
  if constexpr (std::is_same_v<T, std::vector<float>>) return !one && written(ValueType::kF32);
  if constexpr (std::is_same_v<T, std::vector<double>>) return !one && written(ValueType::kF64);
  if constexpr (std::is_same_v<T, std::vector<std::string>>)
    return !one && written(ValueType::kString);
  return false;
}

/// A key of the table.
class OwnKeyName {
 public:
  consteval OwnKeyName(const char* name) : row_(&RowOf(name)) {}      // NOLINT: implicit on purpose
  constexpr operator std::string_view() const { return row_->name; }  // NOLINT
  const OwnKeyRow& row() const { return *row_; }

 protected:
  static consteval const OwnKeyRow& RowOf(std::string_view name) {
    for (const OwnKeyRow& row : kOwnKeys) {
      if (row.name == name) return row;
    }
    throw "no row of kOwnKeys";  // at compile time
  }

 private:
  const OwnKeyRow* row_;
};

/// A key of the table that holds a T: bool, uint32_t, float, double, std::string, or a vector.
template <typename T>
class OwnKey : public OwnKeyName {
 public:
  consteval OwnKey(const char* name) : OwnKeyName(name) {  // NOLINT: implicit on purpose
    if (!HoldsType<T>(RowOf(name))) throw "the row of kOwnKeys has another type";
  }
};

/// What lengths and ids are measured by; 0 where a caller's keys do not need it.
struct KeyMeasures {
  uint64_t tokens = 0, extra_tokens = 0, rotary_pairs = 0, layers = 0;
};

/// The row of a key; nullptr when there is none.
const OwnKeyRow* FindOwnKey(std::string_view name);

/// A value of the type of a row: 0, false, no text, an empty list.
MetadataValue EmptyOwnValue(const OwnKeyRow& row);

/// kInvalidInput, in a sentence that names the key, unless `value` has the type, the length and the
/// values of its row.
absl::Status CheckOwnKey(const OwnKeyRow& row, const MetadataValue& value,
                         const KeyMeasures& measures);

/// The refusal of a key whose value is wrong in a way that no row says: "is 3, which ...".
absl::Status BadOwnKey(OwnKeyName key, std::string_view what);

/// Of all entries below `prefix`: kUnsupported for a key that is no row, else as CheckOwnKey.
absl::Status CheckOwnKeys(const Metadata& metadata, std::string_view prefix,
                          const KeyMeasures& measures);

/// A single value; `fallback` when absent.
template <typename T>
absl::StatusOr<T> ReadOwn(const Metadata& metadata, OwnKey<T> key,
                          std::type_identity_t<T> fallback) {
  const MetadataValue* value = metadata.Find(key);
  if (value == nullptr) return fallback;
  SMELT_RETURN_IF_ERROR(CheckOwnKey(key.row(), *value, {}));
  return *value->get_if<T>();
}

/// A list; empty when absent. vector<double> reads f32 and f64.
template <typename T>
absl::StatusOr<T> ReadOwnList(const Metadata& metadata, OwnKey<T> key,
                              const KeyMeasures& measures = {}) {
  const MetadataValue* value = metadata.Find(key);
  if (value == nullptr) return T();
  SMELT_RETURN_IF_ERROR(CheckOwnKey(key.row(), *value, measures));
  if constexpr (std::is_same_v<T, std::vector<double>>) {
    if (const auto* singles = value->get_if<std::vector<float>>())
      return T(singles->begin(), singles->end());
  }
  return *value->get_if<T>();
}

/// A list of bytes; empty when absent.
absl::StatusOr<std::string> ReadOwnBytes(const Metadata& metadata,
                                         OwnKey<std::vector<uint8_t>> key);

template <typename T>
void WriteOwn(Metadata& out, OwnKey<T> key, std::type_identity_t<T> value) {
  out.Set(key, MetadataValue(std::move(value)));
}

}  // namespace smelt
