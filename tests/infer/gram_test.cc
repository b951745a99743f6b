// Second moments of inputs, against a plain sum.
#include "infer/cpu/gram.h"

#include <cmath>
#include <limits>
#include <random>

#include "infer/cpu/layout.h"
#include "lib/base/parallel.h"
#include "tests/testing/testing.h"

namespace smelt::cpu {
namespace {

constexpr float kNoNumber = std::numeric_limits<float>::quiet_NaN();

/// Inputs as a product has them: lanes past the tokens hold what nobody reads.
struct Inputs {
  uint32_t columns = 0, lanes = 0;
  std::vector<uint32_t> tokens;  ///< of panels
  std::vector<float> x;

  Inputs(uint32_t of_columns, uint32_t of_lanes, std::vector<uint32_t> of_panels)
      : columns(of_columns), lanes(of_lanes), tokens(std::move(of_panels)) {
    std::mt19937 random(columns + lanes);
    std::normal_distribution<float> normal(0.5f, 1.0f);
    x.assign(tokens.size() * columns * lanes, kNoNumber);
    for (size_t p = 0; p < tokens.size(); ++p)
      for (uint32_t c = 0; c < columns; ++c)
        for (uint32_t t = 0; t < tokens[p]; ++t) x[(p * columns + c) * lanes + t] = normal(random);
  }

  double Sum(uint32_t i, uint32_t j) const {
    double sum = 0;
    for (size_t p = 0; p < tokens.size(); ++p)
      for (uint32_t t = 0; t < tokens[p]; ++t)
        sum += static_cast<double>(x[(p * columns + i) * lanes + t]) *
               x[(p * columns + j) * lanes + t];
    return sum;
  }
};

std::vector<float> Summed(const Inputs& in, int times = 1) {
  std::vector<float> sums(static_cast<size_t>(in.columns) * in.columns);
  InputGram gram{.columns = in.columns, .sums = sums.data()};
  for (int i = 0; i < times; ++i) SMELT_EXPECT_OK(AddGram(in.x.data(), in.lanes, in.tokens, gram));
  uint64_t tokens = 0;
  for (const uint32_t n : in.tokens) tokens += n;
  EXPECT_EQ(gram.tokens, static_cast<uint64_t>(times) * tokens);
  return sums;
}

std::vector<Inputs> GramCases() {
  std::vector<Inputs> cases;
  for (const uint32_t columns : {1u, 31u, 64u, 97u, 384u, 449u, 800u})
    cases.emplace_back(columns, kPanel, std::vector<uint32_t>{32, 32, 7, 32, 1});
  for (const uint32_t columns : {5u, 100u})
    cases.emplace_back(columns, 1, std::vector<uint32_t>(71, 1));
  cases.emplace_back(70, kPanel, std::vector<uint32_t>(20, 32));  // more than go together
  return cases;
}

TEST(Gram, IsThePlainSum) {
  for (const Inputs& in : GramCases()) {
    SCOPED_TRACE(in.columns);
    const std::vector<float> sums = Summed(in, 2);
    for (uint32_t i = 0; i < in.columns; ++i) {
      for (uint32_t j = 0; j < in.columns; ++j) {
        const double want = j <= i ? 2 * in.Sum(i, j) : 0;
        const double scale = std::sqrt(in.Sum(i, i) * in.Sum(j, j));
        ASSERT_NEAR(sums[static_cast<size_t>(i) * in.columns + j], want, 4e-6 * scale)
            << i << ' ' << j;
      }
    }
  }
}

TEST(Gram, IsTheSameForAnyNumberOfThreads) {
  const int before = Threads();
  for (const Inputs& in : GramCases()) {
    SetThreads(1);
    const std::vector<float> one = Summed(in);
    for (const int threads : {2, 5}) {
      SetThreads(threads);
      EXPECT_EQ(Summed(in), one) << in.columns << " with " << threads;
    }
  }
  SetThreads(before);
}

}  // namespace
}  // namespace smelt::cpu
