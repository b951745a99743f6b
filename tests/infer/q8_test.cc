// Products with activations rounded to 8 bits: every instruction set against integer arithmetic
// written plainly, and whole models.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <variant>
#include <vector>

#include "infer/cpu/layout.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/q8_kernel.h"
#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/parallel.h"
#include "quant/codec.h"
#include "quant/simd.h"
#include "tests/infer/random_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using cpu::kPanel;

struct Q8Case {
  size_t rows, columns;
  uint32_t group;
  bool minimum;
  int low = -128, high = 127;
};

// Extreme codes included: the lowest and highest of weights, -127 .. 127 for activations.
TEST(Q8Kernel, EveryTargetMultipliesExactly) {
  for (const std::string& target : SimdTargets()) {
    SMELT_ASSERT_OK(ForceSimdTarget(target));
    for (const Q8Case& c :
         {Q8Case{13, 96, 32, true, -128, 127}, Q8Case{6, 256, 16, true, -128, 127},
          Q8Case{7, 512, 16, false, -128, 127}, Q8Case{1, 32, 32, false, -128, 127},
          Q8Case{9, 256, 32, true, 0, 15}, Q8Case{9, 256, 32, true, 0, 31},
          Q8Case{9, 64, 32, false, -8, 7}, Q8Case{5, 64, 32, false, -16, 15},
          Q8Case{6, 512, 16, false, -32, 31}, Q8Case{6, 256, 16, true, 0, 3},
          Q8Case{4, 256, 16, false, -4, 3}}) {
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

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNoNumbers[] = {kNan, -kNan, kInfinity, -kInfinity};

std::vector<float> SmallNoise(size_t count) {
  std::mt19937_64 random(3);
  std::vector<float> x(count);
  for (float& v : x) v = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 300;
  return x;
}

// One value of one lane: its products are NaN whatever the weights are, those of other lanes what
// they were.
TEST(Q8Kernel, NoNumberIsHiddenFromItsLaneNorSeenByOthers) {
  constexpr size_t kRows = 5, kColumns = 256;
  const std::vector<float> plain = SmallNoise(kColumns * kPanel);
  cpu::Array<float> x(kColumns * kPanel), scales(kColumns), sums(2 * kColumns), out(kRows * kPanel);
  cpu::Array<int8_t> codes(kColumns * kPanel);
  for (const std::string& target : SimdTargets()) {
    SMELT_ASSERT_OK(ForceSimdTarget(target));
    for (const Q8Case& c :
         {Q8Case{kRows, kColumns, 32, true}, Q8Case{kRows, kColumns, 16, false},
          Q8Case{kRows, kColumns, 32, true, 0, 15}, Q8Case{kRows, kColumns, 32, false, -16, 15},
          Q8Case{kRows, kColumns, 16, false, -32, 31}, Q8Case{kRows, kColumns, 16, true, 0, 3}}) {
      const size_t groups = kColumns / c.group;
      // The first rows are zeros: a NaN times zero is still none.
      std::vector<int8_t> weights(kRows * kColumns, 0);
      for (size_t i = 2 * kColumns; i < weights.size(); ++i)
        weights[i] = static_cast<int8_t>(c.low + static_cast<int>(i % 3 == 0));
      const std::vector<float> weight_scales(kRows * groups, 0.5f);
      const cpu::Q8Tile tile{weights.data(),
                             kColumns,
                             weight_scales.data(),
                             c.minimum ? weight_scales.data() : nullptr,
                             c.group,
                             kRows,
                             kColumns,
                             static_cast<int8_t>(c.low),
                             static_cast<int8_t>(c.high)};
      const auto multiply = [&] {
        cpu::QuantizePanel(x.data(), kColumns, codes.data(), scales.data(), sums.data());
        cpu::MultiplyQ8(tile, codes.data(), scales.data(), sums.data(), out.data());
      };
      std::copy(plain.begin(), plain.end(), x.data());
      multiply();
      const std::vector<float> wanted(out.data(), out.data() + kRows * kPanel);
      for (size_t column = 0; column < kColumns; column += 5) {
        const size_t lane = column % kPanel;
        std::copy(plain.begin(), plain.end(), x.data());
        x[column * kPanel + lane] = kNoNumbers[column % 4];
        multiply();
        for (size_t i = 0; i < kRows * kPanel; ++i) {
          if (i % kPanel == lane) {
            ASSERT_TRUE(std::isnan(out[i])) << target << " column " << column << " row " << i / 32;
          } else {
            ASSERT_EQ(out[i], wanted[i]) << target << " column " << column;
          }
        }
      }
    }
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
}

// The same of single rows, as generation has them, for every format that has an integer form.
TEST(Q8Dot, NoNumberIsHidden) {
  constexpr uint64_t kRows = 3, kColumns = 512;
  const std::vector<float> plain = SmallNoise(kColumns);
  std::vector<int8_t> codes(kColumns);
  std::vector<float> scales(kColumns / 32), sums(kColumns / 16), pair_sums(kColumns / 32),
      out(kRows);
  size_t formats = 0;
  for (const TensorTypeInfo& info : AllTensorTypes()) {
    const Codec* codec = FindCodec(info.type);
    if (codec == nullptr || codec->unpack_group() == 0) continue;
    ++formats;
    // Blocks of zero bytes: scales and codes of zero.
    const std::vector<std::byte> zeros(kRows * *RowBytes(info.type, kColumns));
    for (const std::string& target : SimdTargets()) {
      SMELT_ASSERT_OK(ForceSimdTarget(target));
      for (size_t column = 0; column < kColumns; ++column) {
        std::vector<float> x = plain;
        x[column] = kNoNumbers[column % 4];
        QuantizeActivations8(x.data(), kColumns, codes.data(), scales.data(), sums.data(),
                             pair_sums.data());
        codec->DotQ8(zeros.data(), kRows, kColumns,
                     {codes.data(), scales.data(), sums.data(), pair_sums.data()}, out.data());
        for (const float v : out)
          ASSERT_TRUE(std::isnan(v)) << info.name << " " << target << " column " << column;
      }
    }
  }
  EXPECT_GE(formats, 20u);
  SMELT_ASSERT_OK(ForceSimdTarget(""));
}

// Whole models of every shape: a norm's weight that is no number spoils what goes into the mixer,
// the feed-forward layer or the head, and the logits and the loss say so.
TEST(Q8Models, NoNumberInActivationsIsHiddenFromTheLogits) {
  const std::vector<int32_t> ids = testing::RandomIds(1, 96, 131);
  for (const std::string& name : testing::RandomModelNames()) {
    const testing::RandomModel shape = testing::MakeRandomModel(name);
    const LayerSpec& last = shape.spec.layers.back();
    const bool has_ffn = !std::holds_alternative<std::monostate>(last.ffn);
    for (const TensorRef norm : {last.mixer_norm.weight, has_ffn ? last.ffn_norm.weight : -1,
                                 shape.spec.final_norm.weight}) {
      if (norm < 0) continue;
      for (const float value : {kNan, kInfinity}) {
        const testing::RandomModel m = testing::MakeRandomModel(name, TensorType::kQ8_0);
        m.source->Set(norm, 7, value);
        for (const std::string& target : SimdTargets()) {
          SMELT_ASSERT_OK(ForceSimdTarget(target));
          const std::string what = name + " tensor " + std::to_string(norm) + " on " + target;
          for (const size_t count : {size_t{45}, size_t{3}}) {
            SMELT_ASSERT_OK(ComputeLogits(
                m.specified(), std::span(ids).first(count), Precision::kQ8,
                [&](uint64_t t, std::span<const float> row) {
                  const bool finite =
                      std::all_of(row.begin(), row.end(), [](float v) { return std::isfinite(v); });
                  EXPECT_FALSE(finite) << what << " position " << t << " of " << count;
                  return absl::OkStatus();
                },
                {}));
          }
          ScoreOptions options;
          options.context = 48;
          options.precision = Precision::kQ8;
          const auto score = Score(m.specified(), nullptr, {ids}, options, {});
          SMELT_ASSERT_OK(score);
          EXPECT_FALSE(score->finite) << what;
        }
      }
    }
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
}

// Rows kept interleaved for generation: other sums of the same products, whichever rows a matrix's
// pieces begin with.
TEST(Q8Models, InterleavedWeightsGiveTheSameLogits) {
  for (const std::string& name : testing::RandomModelNames()) {
    for (const TensorType type : {TensorType::kQ4_0, TensorType::kQ8_0, TensorType::kBF16}) {
      const testing::RandomModel m = testing::MakeRandomModel(name, type);
      const std::vector<int32_t> ids = testing::RandomIds(1, 12, m.spec.vocabulary);
      for (const std::string& target : SimdTargets()) {
        SMELT_ASSERT_OK(ForceSimdTarget(target));
        std::vector<float> as_they_lie, interleaved;
        for (const bool apart : {false, true}) {
          const auto session =
              Session::Create(m.specified(), Precision::kQ8, {},
                              apart ? WeightUse::kInterleaved : WeightUse::kResident);
          SMELT_ASSERT_OK(session);
          std::vector<float>& logits = apart ? interleaved : as_they_lie;
          SMELT_ASSERT_OK((*session)->Feed(std::span(ids).first(3), logits));
          for (size_t i = 3; i < ids.size(); ++i)
            SMELT_ASSERT_OK((*session)->Feed(std::span(ids).subspan(i, 1), logits));
        }
        double error = 0, size = 0;
        for (size_t i = 0; i < as_they_lie.size(); ++i) {
          error += std::pow(as_they_lie[i] - interleaved[i], 2.0);
          size += std::pow(as_they_lie[i], 2.0);
        }
        // An activation may be rounded to another code, whose error is that of rounding.
        EXPECT_LT(std::sqrt(error / size), 0.03) << name << " on " << target;
      }
    }
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
}

// Also where fused parts and experts begin inside of a group of rows.
TEST(Q8Models, InterleavedWeightsGiveTheSameBitsForAnyNumberOfThreads) {
  const int before = Threads();
  for (const std::string& name : testing::RandomModelNames()) {
    const testing::RandomModel m = testing::MakeRandomModel(name, TensorType::kQ4_0);
    const std::vector<int32_t> ids = testing::RandomIds(1, 12, m.spec.vocabulary);
    std::vector<float> wanted;
    for (const int threads : {1, 3, 8}) {
      SetThreads(threads);
      const auto session =
          Session::Create(m.specified(), Precision::kQ8, {}, WeightUse::kInterleaved);
      SMELT_ASSERT_OK(session);
      std::vector<float> logits;
      SMELT_ASSERT_OK((*session)->Feed(std::span(ids).first(3), logits));
      for (size_t i = 3; i < ids.size(); ++i)
        SMELT_ASSERT_OK((*session)->Feed(std::span(ids).subspan(i, 1), logits));
      if (threads == 1) wanted = logits;
      EXPECT_EQ(logits, wanted) << name << " with " << threads << " threads";
    }
  }
  SetThreads(before);
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
    SMELT_ASSERT_OK(ComputeLogits(m.specified(), std::span(ids).first(count), Precision::kQ8,
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
                                           TensorType::kQ6_K, TensorType::kNVFP4),
                         [](const auto& param) { return std::string(Info(param.param).name); });

}  // namespace
}  // namespace smelt
