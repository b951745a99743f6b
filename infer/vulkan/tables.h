// What the shaders of the block formats look up, from quant's own tables, as words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "quant/iq_tables.h"

namespace smelt::vulkan {

/// Words at which the tables begin: shaders/weights.glsl has the same numbers.
inline constexpr size_t kIq2Xxs = 0, kIq2Xs = 512, kIq2S = 1536, kIq3Xxs = 3584, kIq3S = 3840,
                        kIq1 = 4352, kIq4ValuesAt = 8448, kFp4DoubledAt = 8452, kTableWords = 8456;
static_assert(offsetof(IqTables, iq2_xxs) == 4 * kIq2Xxs);
static_assert(offsetof(IqTables, iq2_xs) == 4 * kIq2Xs);
static_assert(offsetof(IqTables, iq2_s) == 4 * kIq2S);
static_assert(offsetof(IqTables, iq3_xxs) == 4 * kIq3Xxs);
static_assert(offsetof(IqTables, iq3_s) == 4 * kIq3S);
static_assert(offsetof(IqTables, iq1) == 4 * kIq1);
static_assert(sizeof(IqTables) == 4 * kIq4ValuesAt);

inline std::vector<std::byte> LookUpTables() {
  std::vector<std::byte> tables(4 * kTableWords);
  std::memcpy(tables.data(), &kIqTables, sizeof(kIqTables));
  std::memcpy(tables.data() + 4 * kIq4ValuesAt, kIq4Values, sizeof(kIq4Values));
  std::memcpy(tables.data() + 4 * kFp4DoubledAt, kFp4Doubled, sizeof(kFp4Doubled));
  return tables;
}

}  // namespace smelt::vulkan
