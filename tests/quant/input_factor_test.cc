#include "quant/input_factor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "lib/base/parallel.h"
#include "tests/quant/fixtures.h"
#include "tests/quant/grams.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

bool SameFactor(const InputFactor& a, const InputFactor& b) {
  const size_t n = a.columns();
  return std::memcmp(a.feedback(), b.feedback(), n * n * sizeof(float)) == 0 &&
         std::memcmp(a.weights(), b.weights(), n * sizeof(float)) == 0 &&
         std::memcmp(a.moment(), b.moment(), n * n * sizeof(float)) == 0;
}

TEST(InputFactor, ItsPartsMakeTheMomentAgain) {
  constexpr size_t kColumns = 288;
  const std::vector<float> gram = CorrelatedGram(kColumns, 400, 3);
  const InputFactor factor = FactorOf(kColumns, gram, 400);
  // H = R R^T, R_jk = A_jk R_kk.
  auto r = [&](size_t j, size_t k) {
    const double a = j == k ? 1 : j < k ? factor.feedback()[j * kColumns + k] : 0;
    return a * std::sqrt(static_cast<double>(factor.weights()[k]));
  };
  double mean = 0;
  for (size_t j = 0; j < kColumns; ++j) mean += gram[j * kColumns + j] / kColumns;
  for (size_t j = 0; j < kColumns; j += 7) {
    for (size_t i = 0; i < kColumns; i += 5) {
      double sum = 0;
      for (size_t k = std::max(i, j); k < kColumns; ++k) sum += r(i, k) * r(j, k);
      const double h = factor.moment()[i * kColumns + j];
      EXPECT_NEAR(
          sum, h,
          1e-5 * std::sqrt(factor.moment()[i * kColumns + i] * factor.moment()[j * kColumns + j]));
      const size_t a = factor.order()[i], b = factor.order()[j];
      if (a == b) continue;
      EXPECT_NEAR(h, gram[a * kColumns + b] / mean, 1e-5 * std::abs(h) + 1e-9);
    }
  }
}

TEST(InputFactor, TheErrorOfRowsIsThatOfTheMoment) {
  constexpr size_t kColumns = 160, kRows = 3;
  const InputFactor factor = FactorOf(kColumns, CorrelatedGram(kColumns, 300, 4), 300);
  std::vector<float> off(kRows * kColumns);
  for (size_t i = 0; i < off.size(); ++i) off[i] = static_cast<float>((i * 2654435761u) % 97) - 48;
  double sum = 0;
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t i = 0; i < kColumns; ++i) {
      for (size_t j = 0; j < kColumns; ++j) {
        sum += static_cast<double>(off[r * kColumns + factor.order()[i]]) *
               static_cast<double>(factor.moment()[i * kColumns + j]) *
               static_cast<double>(off[r * kColumns + factor.order()[j]]);
      }
    }
  }
  EXPECT_NEAR(factor.ErrorOf(kRows, off), sum, 1e-4 * sum);
}

TEST(InputFactor, ColumnsOfABlockStayTogether) {
  for (const size_t columns : {512u, 288u, 32u}) {
    const InputFactor factor = FactorOf(columns, CorrelatedGram(columns, 100, 5), 100);
    const auto order = factor.order();
    EXPECT_EQ(std::set<uint32_t>(order.begin(), order.end()).size(), columns);
    for (const size_t run : {8u, 16u, 32u, 64u, 128u, 256u}) {
      if (columns % run != 0) continue;
      for (size_t i = 0; i < columns; ++i) EXPECT_EQ(order[i] / run, order[i / run * run] / run);
    }
  }
}

TEST(InputFactor, SameForAnyThreadsAndInstructionSet) {
  constexpr size_t kColumns = 352;
  const std::vector<float> gram = CorrelatedGram(kColumns, 90, 11);
  SetThreads(1);
  const InputFactor one = FactorOf(kColumns, gram, 90);
  EachTarget targets;
  for (const std::string& target : targets.names()) {
    targets.Use(target);
    for (const int threads : {1, 3}) {
      SetThreads(threads);
      const InputFactor factor = FactorOf(kColumns, gram, 90);
      EXPECT_TRUE(SameFactor(one, factor)) << target << " " << threads;
    }
  }
  SetThreads(0);
}

// An expert that saw few tokens: what they say about two inputs together may be chance.
TEST(InputFactor, FewerTokensSayLess) {
  constexpr size_t kColumns = 64;
  const std::vector<float> gram = CorrelatedGram(kColumns, 40, 7);
  auto feedback = [&](uint64_t tokens) {
    const InputFactor factor = FactorOf(kColumns, gram, tokens);
    double sum = 0;
    for (size_t i = 0; i < kColumns * kColumns; ++i) sum += std::abs(factor.feedback()[i]);
    return sum;
  };
  EXPECT_LT(feedback(10), 0.8 * feedback(1000));
}

TEST(InputFactor, DeadInputsAndNoTokensAreFactored) {
  constexpr size_t kColumns = 64;
  std::vector<float> gram = CorrelatedGram(kColumns, 1, 7);  // rank one
  for (size_t j = 0; j < kColumns; ++j) gram[j * kColumns + 5] = gram[5 * kColumns + j] = 0;
  for (const auto& g : {gram, std::vector<float>(kColumns * kColumns, 0.0f)}) {
    const InputFactor factor = FactorOf(kColumns, g, 1);
    for (size_t j = 0; j < kColumns; ++j) {
      EXPECT_GT(factor.weights()[j], 0);
      for (size_t k = 0; k < kColumns; ++k)
        EXPECT_TRUE(std::isfinite(factor.feedback()[j * kColumns + k]));
    }
  }
  for (float& v : gram) v *= 1e30f;
  EXPECT_TRUE(InputFactor::Make(kColumns, gram, 1).ok());
}

TEST(InputFactor, RefusesWhatIsNoGramMatrix) {
  constexpr size_t kColumns = 64;
  const std::vector<float> gram = CorrelatedGram(kColumns, 30, 7);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {nan, -1.0f, std::numeric_limits<float>::infinity()}) {
    std::vector<float> g = gram;
    g[9 * kColumns + 9] = bad;
    EXPECT_FALSE(InputFactor::Make(kColumns, g, 30).ok());
  }
  std::vector<float> product = gram;
  product[9 * kColumns + 3] = nan;
  EXPECT_FALSE(InputFactor::Make(kColumns, product, 30).ok());
  product[9 * kColumns + 3] = 1e6f;
  EXPECT_FALSE(InputFactor::Make(kColumns, product, 30).ok());
  // Three inputs, each the opposite of the two others.
  std::vector<float> opposed(kColumns * kColumns, 0.0f);
  for (size_t j = 0; j < kColumns; ++j)
    for (size_t k = 0; k < kColumns; ++k) opposed[j * kColumns + k] = j == k ? 1 : -0.9f;
  EXPECT_FALSE(InputFactor::Make(kColumns, opposed, 30).ok());
}

}  // namespace
}  // namespace smelt
