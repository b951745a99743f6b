// Products with activations rounded to 8 bits: every instruction set against integer arithmetic
// written plainly, and whole models.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <random>
#include <vector>

#include "infer/cpu/layout.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/q8_kernel.h"
#include "infer/score.h"
#include "quant/simd.h"
#include "tests/infer/random_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using cpu::kPanel;

struct Case {
  size_t rows, columns;
  uint32_t group;
  bool minimum;
  int low = -128, high = 127;
};

// Extreme codes included: the lowest and highest of weights, -127 .. 127 for activations.
TEST(Q8Kernel, EveryTargetMultipliesExactly) {
  for (const std::string& target : SimdTargets()) {
    SMELT_ASSERT_OK(ForceSimdTarget(target));
    for (const Case& c : {Case{13, 96, 32, true, -128, 127}, Case{6, 256, 16, true, -128, 127},
                          Case{7, 512, 16, false, -128, 127}, Case{1, 32, 32, false, -128, 127},
                          Case{9, 256, 32, true, 0, 15}, Case{9, 256, 32, true, 0, 31},
                          Case{9, 64, 32, false, -8, 7}, Case{5, 64, 32, false, -16, 15},
                          Case{6, 512, 16, false, -32, 31}, Case{6, 256, 16, true, 0, 3},
                          Case{4, 256, 16, false, -4, 3}}) {
      std::mt19937_64 random(7);
      const size_t stride = c.columns + 64, groups = c.columns / c.group;
      std::vector<int8_t> weights(c.rows * stride);
      for (int8_t& w : weights)
        w = static_cast<int8_t>(random() % 3 == 0
                                    ? (random() % 2 == 0 ? c.low : c.high)
                                    : c.low + static_cast<int>(random() % (c.high - c.low + 1)));
      std::vector<float> scales(c.rows * groups), minimums(c.rows * groups);
      for (float& s : scales) s = static_cast<float>(random() % 1000) / 1000;
      for (float& m : minimums) m = static_cast<float>(random() % 1000) / 100;
      cpu::Array<float> x(c.columns * kPanel), x_scales(c.columns), sums(2 * c.columns),
          out(c.rows * kPanel);
      cpu::Array<int8_t> codes(c.columns * kPanel);
      for (size_t i = 0; i < x.size(); ++i)
        x[i] = i % kPanel == 5 ? 2.5f  // every code 127: the largest sums
               : i % kPanel == 6
                   ? -2.5f
                   : static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 300;
      cpu::QuantizePanel(x.data(), c.columns, codes.data(), x_scales.data(), sums.data());
      const cpu::Q8Tile tile{weights.data(),
                             stride,
                             scales.data(),
                             c.minimum ? minimums.data() : nullptr,
                             c.group,
                             c.rows,
                             c.columns,
                             static_cast<int8_t>(c.low),
                             static_cast<int8_t>(c.high)};
      cpu::MultiplyQ8(tile, codes.data(), x_scales.data(), sums.data(), out.data());
      for (size_t lane = 0; lane < kPanel; ++lane) {
        for (size_t r = 0; r < c.rows; ++r) {
          double sum = 0, size = 0;
          for (size_t k = 0; k < c.columns; ++k) {
            const double code = codes[k / 4 * 4 * kPanel + lane * 4 + k % 4];
            const double scale = x_scales[k / 32 * kPanel + lane];
            EXPECT_LE(std::fabs(code * scale - x[k * kPanel + lane]), scale * 0.5001);
            double value =
                scales[r * groups + k / c.group] * static_cast<double>(weights[r * stride + k]);
            if (c.minimum) value -= minimums[r * groups + k / c.group];
            sum += value * code * scale;
            size += std::fabs(value * code * scale);
          }
          ASSERT_NEAR(out[r * kPanel + lane], sum, 1e-6 * size)
              << target << " row " << r << " lane " << lane;
        }
      }
    }
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
}

class Q8Model : public ::testing::TestWithParam<TensorType> {};

// The rounding of activations moves logits a little, in prompts as in generation; the weights' own
// values are exact.
TEST_P(Q8Model, LogitsStayClose) {
  // Rows of 64 hold blocks of 32; K-quants need rows of 256, which only wide layers have.
  const testing::RandomModel m = testing::MakeRandomModel("wide", GetParam());
  const std::vector<int32_t> ids = testing::RandomIds(1, 45, m.spec.vocabulary);
  const auto reference = testing::ReferenceLogits(m.spec, *m.source, ids);
  for (const size_t count : {size_t{45}, size_t{3}}) {
    double error = 0, size = 0;
    SMELT_ASSERT_OK(ComputeLogits(m.specified(), std::span(ids).first(count), Activations::kQ8,
                                  [&](uint64_t t, std::span<const float> row) {
                                    for (size_t i = 0; i < row.size(); ++i) {
                                      error +=
                                          (row[i] - reference[t][i]) * (row[i] - reference[t][i]);
                                      size += reference[t][i] * reference[t][i];
                                    }
                                    return absl::OkStatus();
                                  },
                                  {}));
    EXPECT_LT(std::sqrt(error / size), 0.03);
    EXPECT_GT(error, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Q8Model,
                         ::testing::Values(TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1,
                                           TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ2_K,
                                           TensorType::kQ3_K, TensorType::kQ4_K, TensorType::kQ5_K,
                                           TensorType::kQ6_K),
                         [](const auto& param) { return std::string(Info(param.param).name); });

}  // namespace
}  // namespace smelt
