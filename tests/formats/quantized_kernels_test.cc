// The kernels of quantized weights on every instruction set: codes that lie column by column
// against bits picked out one by one, floats of 8 bits against their tables.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "formats/quantized/float8_values.h"
#include "formats/quantized/turned_codes.h"
#include "lib/base/float8.h"
#include "quant/simd.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

constexpr float kUntouched = -12345;

/// kTurnedRows rows of random codes with random groups, and what is expected of them.
struct Drawn {
  std::vector<std::byte> words;  ///< lines of more words than rows, from the second byte on
  std::vector<uint32_t> groups;
  std::vector<float> scales, zeros, expected;
  TurnedCodes codes;
};

Drawn Draw(uint32_t bits, uint64_t columns, std::mt19937_64& random) {
  constexpr uint64_t kGroups = 5, kStep = kTurnedRows + 3;
  const uint64_t lines = (columns * bits + 31) / 32;
  Drawn d;
  d.words.resize(1 + lines * kStep * sizeof(uint32_t));
  for (std::byte& byte : d.words) byte = static_cast<std::byte>(random());
  for (uint64_t c = 0; c < columns; ++c)
    d.groups.push_back(static_cast<uint32_t>(random() % kGroups));
  for (uint64_t i = 0; i < kGroups * kStep; ++i) {
    d.scales.push_back(static_cast<float>(random() % 2001) / 1000 - 1);
    d.zeros.push_back(static_cast<float>(random() % 9));
  }
  d.codes = {.words = d.words.data() + 1,
             .words_step = kStep * sizeof(uint32_t),
             .bits = bits,
             .columns = columns,
             .groups = d.groups.data(),
             .scales = d.scales.data(),
             .zeros = d.zeros.data(),
             .groups_step = kStep};
  for (uint64_t r = 0; r < kTurnedRows; ++r) {
    for (uint64_t c = 0; c < columns; ++c) {
      uint32_t code = 0;
      for (uint32_t b = 0; b < bits; ++b) {
        const uint64_t bit = c * bits + b;
        uint32_t word;
        std::memcpy(&word, d.codes.words + (bit / 32 * kStep + r) * sizeof word, sizeof word);
        code |= (word >> (bit % 32) & 1) << b;
      }
      const uint64_t group = d.groups[c] * kStep + r;
      d.expected.push_back((static_cast<float>(code) - d.zeros[group]) * d.scales[group]);
    }
  }
  return d;
}

TEST(TurnedCodes, AreTheirValuesOnEveryTarget) {
  std::mt19937_64 random(5);
  for (uint32_t bits = 1; bits <= 8; ++bits) {
    for (const uint64_t columns : {1, 3, 32, 63, 64, 65, 130, 200}) {
      const Drawn d = Draw(bits, columns, random);
      for (const std::string& target : SimdTargets()) {
        SMELT_ASSERT_OK(ForceSimdTarget(target));
        for (const uint64_t rows : {uint64_t{1}, uint64_t{7}, kTurnedRows}) {
          std::vector<float> out(rows * columns + 1, kUntouched);
          DecodeTurned(d.codes, rows, out.data());
          EXPECT_EQ(out.back(), kUntouched);
          for (size_t i = 0; i < rows * columns; ++i) {
            ASSERT_EQ(out[i], d.expected[i]) << target << ", " << bits << " bits, row "
                                             << i / columns << ", column " << i % columns;
          }
        }
      }
    }
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
}

TEST(Float8Values, AreThoseOfTheTablesOnEveryTarget) {
  constexpr size_t kCount = 256 + 37;  // and some that fill no vector
  std::vector<std::byte> bytes(kCount);
  for (size_t i = 0; i < kCount; ++i) bytes[i] = static_cast<std::byte>(i);
  for (const std::string& target : SimdTargets()) {
    SMELT_ASSERT_OK(ForceSimdTarget(target));
    for (const auto& [convert, table] :
         {std::pair(&E4M3ToFloats, &kE4M3), std::pair(&E5M2ToFloats, &kE5M2)}) {
      std::vector<float> out(kCount);
      convert(bytes.data(), kCount, out.data());
      for (size_t i = 0; i < kCount; ++i) {
        const float expected = (*table)[i % 256];
        if (std::isnan(expected)) {
          EXPECT_TRUE(std::isnan(out[i])) << target << " " << i;
        } else {
          EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(expected))
              << target << " " << i;
        }
      }
    }
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
}

}  // namespace
}  // namespace smelt
