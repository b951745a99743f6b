// Wrong values for keys of our own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/own_keys.h"

namespace smelt::testing {

/// Values of every type but the row's.
inline std::vector<MetadataValue> OtherTypes(const OwnKeyRow& row) {
  std::vector<MetadataValue> out;
  const MetadataValue all[] = {uint8_t{0},
                               int8_t{0},
                               uint16_t{0},
                               int16_t{0},
                               uint32_t{0},
                               int32_t{0},
                               uint64_t{0},
                               int64_t{0},
                               0.0f,
                               0.0,
                               false,
                               std::string(),
                               std::vector<uint8_t>{},
                               std::vector<int8_t>{},
                               std::vector<uint16_t>{},
                               std::vector<int16_t>{},
                               std::vector<uint32_t>{},
                               std::vector<int32_t>{},
                               std::vector<uint64_t>{},
                               std::vector<int64_t>{},
                               std::vector<float>{},
                               std::vector<double>{},
                               std::vector<std::string>{},
                               MetadataValue::BoolArray({})};
  for (const MetadataValue& value : all) {
    const ValueType type = value.element_type();
    const bool same = value.is_array() == (row.length != KeyLength::kOne) &&
                      (type == row.type || type == row.or_type);
    if (!same) out.push_back(value);
  }
  return out;
}

}  // namespace smelt::testing
