// Products of interleaved rows against plain sums, for every instruction set and any bytes.
#include "quant/interleaved.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "quant/codec.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

// Any bytes that make a block of numbers; the exponents of MXFP4 small enough that sums are, too.
std::vector<uint8_t> RandomRows(const Codec& codec, uint64_t block, uint64_t block_bytes,
                                uint64_t blocks, std::mt19937_64& random) {
  std::vector<uint8_t> bytes(blocks * block_bytes);
  for (uint64_t b = 0; b < blocks; ++b) {
    uint8_t* const at = bytes.data() + b * block_bytes;
    uint64_t bad;
    do {
      for (uint64_t i = 0; i < block_bytes; ++i) at[i] = static_cast<uint8_t>(random());
      // Floats whose sums are none the less finite.
      if (codec.type() == TensorType::kBF16)
        at[1] = at[3] = static_cast<uint8_t>(0x38 + random() % 8);
      if (codec.type() == TensorType::kMXFP4)
        at[0] = static_cast<uint8_t>(random() % 4 < 1 ? random() % 2 : 120 + random() % 16);
    } while (!codec.Validate(reinterpret_cast<const std::byte*>(at), block, &bad));
  }
  return bytes;
}

// Group 0 of activations has the largest codes of one sign, group 1 of the other.
std::vector<float> Activations(uint64_t columns, std::mt19937_64& random) {
  std::vector<float> x(columns);
  for (uint64_t i = 0; i < columns; ++i) {
    x[i] = i / 32 == 0   ? 1.5f
           : i / 32 == 1 ? -1.5f
                         : static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 300;
  }
  return x;
}

struct RoundedActivations {
  explicit RoundedActivations(const std::vector<float>& x)
      : codes(x.size()), scales(x.size() / 32), sums(x.size() / 16), pair_sums(x.size() / 32) {
    if (x.size() % 32 != 0) return;  // of 16-bit floats, whose activations are taken as they are
    QuantizeActivations8(x.data(), x.size(), codes.data(), scales.data(), sums.data(),
                         pair_sums.data());
  }
  Activations8 view() const { return {codes.data(), scales.data(), sums.data(), pair_sums.data()}; }
  std::vector<int8_t> codes;
  std::vector<float> scales, sums, pair_sums;
};

std::vector<float> Multiply(const InterleavedKernels& kernels, const std::vector<uint8_t>& rows,
                            uint64_t groups, uint64_t columns, const std::vector<float>& x,
                            const Activations8& rounded) {
  const uint64_t group_bytes = kernels.group_bytes(columns), of_rows = rows.size() / groups;
  EXPECT_EQ(group_bytes % 32, 0u);
  const auto memory = hwy::AllocateAligned<uint8_t>(groups * group_bytes);
  for (uint64_t g = 0; g < groups; ++g) {
    kernels.interleave(rows.data() + g * of_rows, columns, memory.get() + g * group_bytes);
  }
  std::vector<float> out(groups * kernels.rows, NAN);
  if (kernels.dot_f32 != nullptr) {
    kernels.dot_f32(memory.get(), groups, columns, x.data(), out.data());
  } else {
    kernels.dot(memory.get(), groups, columns, rounded, out.data());
  }
  return out;
}

TEST(Interleaved, ProductsAreThoseOfTheRows) {
  EachTarget targets;
  size_t checked = 0;
  for (const std::string& target : targets.names()) {
    targets.Use(target);
    for (const TensorTypeInfo& info : AllTensorTypes()) {
      const InterleavedKernels* const kernels = FindInterleaved(info.type);
      if (kernels == nullptr) continue;
      const Codec& codec = *FindCodec(info.type);
      // Blocks of 32 share words in pairs and fours: every remainder.
      for (const uint64_t columns : {1, 2, 3, 4, 5, 18}) {
        const uint64_t block = std::max<uint64_t>(info.block_elements, 2), count = columns * block;
        const uint64_t row_bytes = *RowBytes(info.type, count);
        std::mt19937_64 random(count);
        const uint64_t groups = 3, rows = groups * kernels->rows;
        const std::vector<uint8_t> bytes =
            RandomRows(codec, block, row_bytes / columns, rows * columns, random);
        const std::vector<float> activations = Activations(count, random);
        const RoundedActivations x(activations);
        const bool f32 = kernels->dot_f32 != nullptr;
        const std::vector<float> out =
            Multiply(*kernels, bytes, groups, count, activations, x.view());
        std::vector<float> w(count);
        for (uint64_t r = 0; r < rows; ++r) {
          codec.Decode(reinterpret_cast<const std::byte*>(bytes.data()) + r * row_bytes, count,
                       w.data());
          double exact = 0, size = 0;
          for (uint64_t i = 0; i < count; ++i) {
            const double term =
                static_cast<double>(w[i]) *
                (f32 ? double{activations[i]} : x.codes[i] * double{x.scales[i / 32]});
            exact += term;
            size += std::abs(term);
          }
          // Codes and minimums, or zero points, may cancel: the bound is on the largest of a block.
          const double most = *std::max_element(
              w.begin(), w.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
          EXPECT_NEAR(out[r], exact, size * 2e-5 + std::abs(most) * 2e-4)
              << info.name << " on " << target << ", " << count << " columns, row " << r;
          ++checked;
        }
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_TRUE(checked > 0 || FindInterleaved(TensorType::kQ4_K) == nullptr);
}

TEST(Interleaved, NoNumberIsHidden) {
  EachTarget targets;
  for (const std::string& target : targets.names()) {
    targets.Use(target);
    for (const TensorTypeInfo& info : AllTensorTypes()) {
      const InterleavedKernels* const kernels = FindInterleaved(info.type);
      if (kernels == nullptr) continue;
      constexpr uint64_t kColumns = 512;
      const std::vector<uint8_t> zeros(kernels->rows * *RowBytes(info.type, kColumns));
      for (uint64_t column = 0; column < kColumns; ++column) {
        std::mt19937_64 random(1);
        std::vector<float> x = Activations(kColumns, random);
        x[column] = column % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                                    : std::numeric_limits<float>::infinity();
        const RoundedActivations rounded(x);
        for (const float v : Multiply(*kernels, zeros, 1, kColumns, x, rounded.view()))
          ASSERT_TRUE(std::isnan(v)) << info.name << " on " << target << ", column " << column;
      }
    }
  }
}

}  // namespace
}  // namespace smelt
