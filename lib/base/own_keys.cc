#include "lib/base/own_keys.h"

#include <algorithm>
#include <cmath>

#include "lib/base/cat.h"

namespace smelt {
namespace {

absl::Status Bad(const OwnKeyRow& row, std::string_view what) {
  return Error(ErrorCode::kInvalidInput, "metadata key ", row.name, " ", what);
}

std::string TypeText(const OwnKeyRow& row) {
  const std::string_view list = row.length == KeyLength::kOne ? "" : "a list of ";
  if (row.or_type == row.type) return Cat(list, Name(row.type));
  return Cat(list, Name(row.type), " or ", Name(row.or_type));
}

absl::Status CheckType(const OwnKeyRow& row, const MetadataValue& value) {
  const ValueType type = value.element_type();
  if (value.is_array() == (row.length != KeyLength::kOne) &&
      (type == row.type || type == row.or_type))
    return absl::OkStatus();
  return Bad(row, Cat("is ", value.is_array() ? "a list of " : "of type ", Name(type),
                      ", expected ", TypeText(row)));
}

absl::Status CheckLength(const OwnKeyRow& row, size_t size, const KeyMeasures& measures) {
  const auto expected = [&](bool right, const auto&... what) {
    return right ? absl::OkStatus() : Bad(row, Cat("has ", size, " values, expected ", what...));
  };
  switch (row.length) {
    case KeyLength::kOne:
    case KeyLength::kAny:
      break;
    case KeyLength::kPairs:
      return expected(size % 2 == 0, "pairs");
    case KeyLength::kThrees:
      return expected(size % 3 == 0, "three for each merge");
    case KeyLength::kUpToTokens:
      return expected(size <= measures.tokens, "one at most for each of the ", measures.tokens,
                      " tokens");
    case KeyLength::kPerExtraToken:
      return expected(size == measures.extra_tokens, "one for each of the ", measures.extra_tokens,
                      " smelt.tokenizer.extra_tokens");
    case KeyLength::kPerRotaryPair:
      return expected(size == measures.rotary_pairs, measures.rotary_pairs,
                      ", one for each pair of rotary dimensions");
    case KeyLength::kPerLayer:
      return expected(size == measures.layers, measures.layers, ", one for each block");
  }
  return absl::OkStatus();
}

absl::Status CheckReal(const OwnKeyRow& row, const MetadataValue& value) {
  for (size_t i = 0; i < value.size(); ++i) {
    const double number = *value.FloatAt(i);
    const bool right = std::isfinite(number) &&
                       (row.values != KeyValues::kNotNegative || number >= 0) &&
                       (row.values != KeyValues::kPositive || number > 0);
    if (right) continue;
    return Bad(row, Cat("is ", number, value.is_array() ? Cat(" at entry ", i) : std::string(),
                        ", expected a finite number",
                        row.values == KeyValues::kNotNegative ? " of at least 0"
                        : row.values == KeyValues::kPositive  ? " above 0"
                                                              : ""));
  }
  return absl::OkStatus();
}

absl::Status CheckIntegers(const OwnKeyRow& row, const std::vector<int32_t>& values,
                           uint64_t tokens) {
  const bool pairs = row.values == KeyValues::kTokenIdsAndBits;
  for (size_t i = 0; i < values.size(); ++i) {
    const int32_t value = values[i];
    if (row.values == KeyValues::kAddedTypes) {
      if (value == 3 || value == 4) continue;
      return Bad(row, Cat("is ", value, " at entry ", i,
                          ", expected a type of added tokens: control (3) or user-defined (4)"));
    }
    const bool bits = pairs && i % 2 == 1;
    if (bits && value >= 0 && value < kAddedBitsEnd) continue;
    if (!bits && value >= 0 && static_cast<uint64_t>(value) < tokens) continue;
    return Bad(
        row,
        bits ? Cat("is ", value, " at entry ", i, ", expected bits below ", kAddedBitsEnd)
             : Cat("is ", value, " at entry ", i, ", which is no id of the ", tokens, " tokens"));
  }
  return absl::OkStatus();
}

absl::Status CheckWord(const OwnKeyRow& row, const std::string& value) {
  if (value.find(' ') == std::string::npos && !value.empty() &&
      Cat(" ", row.words, " ").find(Cat(" ", value, " ")) != std::string::npos)
    return absl::OkStatus();
  return Bad(row, Cat("is \"", Escape(value, 40), "\", expected one of: ", row.words));
}

}  // namespace

const OwnKeyRow* FindOwnKey(std::string_view name) {
  const auto* row =
      std::lower_bound(std::begin(kOwnKeys), std::end(kOwnKeys), name,
                       [](const OwnKeyRow& a, std::string_view b) { return a.name < b; });
  return row != std::end(kOwnKeys) && row->name == name ? row : nullptr;
}

MetadataValue EmptyOwnValue(const OwnKeyRow& row) {
  const bool one = row.length == KeyLength::kOne;
  const auto of = [&](auto none) {
    return one ? MetadataValue(none) : MetadataValue(std::vector<decltype(none)>());
  };
  switch (row.type) {
    case ValueType::kBool:
      return false;
    case ValueType::kU8:
      return of(uint8_t{0});
    case ValueType::kI32:
      return of(int32_t{0});
    case ValueType::kF32:
      return of(0.0f);
    case ValueType::kF64:
      return of(0.0);
    case ValueType::kString:
      return of(std::string());
    default:
      return of(uint32_t{0});
  }
}

absl::Status CheckOwnKey(const OwnKeyRow& row, const MetadataValue& value,
                         const KeyMeasures& measures) {
  SMELT_RETURN_IF_ERROR(CheckType(row, value));
  SMELT_RETURN_IF_ERROR(CheckLength(row, value.size(), measures));
  switch (value.element_type()) {
    case ValueType::kF32:
    case ValueType::kF64:
      return CheckReal(row, value);
    case ValueType::kI32:
      return CheckIntegers(row, *value.get_if<std::vector<int32_t>>(), measures.tokens);
    case ValueType::kString:
      return row.values == KeyValues::kWords ? CheckWord(row, *value.AsString()) : absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

absl::StatusOr<std::string> ReadOwnBytes(const Metadata& metadata,
                                         OwnKey<std::vector<uint8_t>> key) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, ReadOwnList(metadata, key));
  return std::string(bytes.begin(), bytes.end());
}

absl::Status BadOwnKey(OwnKeyName key, std::string_view what) { return Bad(key.row(), what); }

absl::Status CheckOwnKeys(const Metadata& metadata, std::string_view prefix,
                          const KeyMeasures& measures) {
  for (const Metadata::Entry& entry : metadata.entries()) {
    if (!entry.key.starts_with(prefix)) continue;
    const OwnKeyRow* row = FindOwnKey(entry.key);
    if (row == nullptr) {
      return Error(ErrorCode::kUnsupported, "metadata key ", Escape(entry.key),
                   " is unknown: it may change the result, so it is not ignored; a later version "
                   "of smelt may know it");
    }
    SMELT_RETURN_IF_ERROR(CheckOwnKey(*row, entry.value, measures));
  }
  return absl::OkStatus();
}

}  // namespace smelt
