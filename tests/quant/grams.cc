#include "tests/quant/grams.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "tests/quant/fixtures.h"

namespace smelt {
namespace {

/// Values of about unit size, without the spread of magnitudes that Noise has.
std::vector<double> Even(size_t count, uint32_t seed) {
  std::vector<double> values(count);
  uint64_t state = seed + 1;
  for (double& v : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    v = static_cast<double>(state >> 40) / static_cast<double>(1 << 23) - 1;
  }
  return values;
}

}  // namespace

std::vector<float> CorrelatedGram(size_t columns, size_t tokens, uint32_t seed) {
  constexpr size_t kShared = 4;
  const std::vector<double> mix = Even(columns * kShared, seed), size = Even(columns, seed + 1);
  const std::vector<double> own = Even(tokens * columns, seed + 2);
  const std::vector<double> shared = Even(tokens * kShared, seed + 3);
  std::vector<double> sums(columns * columns), x(columns);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < columns; ++c) {
      x[c] = own[t * columns + c];
      for (size_t s = 0; s < kShared; ++s) x[c] += shared[t * kShared + s] * mix[c * kShared + s];
      x[c] *= std::exp(1.5 * size[c]);
    }
    for (size_t j = 0; j < columns; ++j)
      for (size_t k = 0; k <= j; ++k) sums[j * columns + k] += x[j] * x[k];
  }
  std::vector<float> gram(columns * columns);
  for (size_t j = 0; j < columns; ++j)
    for (size_t k = 0; k <= j; ++k)
      gram[j * columns + k] = gram[k * columns + j] = static_cast<float>(sums[j * columns + k]);
  return gram;
}

InputFactor FactorOf(uint64_t columns, const std::vector<float>& gram, uint64_t tokens) {
  auto factor = InputFactor::Make(columns, gram, tokens);
  EXPECT_TRUE(factor.ok()) << factor.status();
  return std::move(factor).value();
}

}  // namespace smelt
