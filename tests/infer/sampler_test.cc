#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

namespace smelt {
namespace {

TEST(Sampler, GreedyTakesTheLowestIdOfEquals) {
  Sampler sampler({.temperature = 0});
  EXPECT_EQ(sampler.Next(std::vector<float>{1, 3, 3, 2}, {}), 1);
}

TEST(Sampler, GreedyHonoursThePenalty) {
  Sampler sampler({.temperature = 0, .repeat_penalty = 2});
  const std::vector<int32_t> history = {1, 1};
  EXPECT_EQ(sampler.Next(std::vector<float>{1, 3, 2, -1}, history), 2);
  // Negative logits are pushed down too, once however often the id occurred; old ids are forgotten.
  EXPECT_EQ(sampler.Next(std::vector<float>{-3, -2, -3.5f}, history), 0);
  Sampler forgetful({.temperature = 0, .repeat_penalty = 2, .repeat_last = 1});
  EXPECT_EQ(forgetful.Next(std::vector<float>{1, 3, 2}, std::vector<int32_t>{1, 2}), 1);
}

// Shares of many draws against softmax(logits / temperature).
TEST(Sampler, DrawsByProbability) {
  const std::vector<float> logits = {0, 1, 2, -1};
  Sampler sampler({.temperature = 2, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 3});
  std::map<int32_t, int> count;
  const int draws = 40000;
  for (int i = 0; i < draws; ++i) ++count[sampler.Next(logits, {})];
  double sum = 0;
  for (float v : logits) sum += std::exp(v / 2);
  for (int32_t i = 0; i < 4; ++i)
    EXPECT_NEAR(count[i] / double{draws}, std::exp(logits[i] / 2) / sum, 0.01);
}

TEST(Sampler, CutsTheTail) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                                     std::log(0.05f)};
  const auto seen = [&](SamplerOptions options) {
    options.temperature = 1;
    Sampler sampler(options);
    std::map<int32_t, int> count;
    for (int i = 0; i < 2000; ++i) ++count[sampler.Next(logits, {})];
    return count.size();
  };
  EXPECT_EQ(seen({.top_k = 0, .top_p = 1, .min_p = 0}), 4u);
  EXPECT_EQ(seen({.top_k = 2, .top_p = 1, .min_p = 0}), 2u);
  EXPECT_EQ(seen({.top_k = 0, .top_p = 0.75, .min_p = 0}), 2u);
  EXPECT_EQ(seen({.top_k = 0, .top_p = 1, .min_p = 0.2}), 3u);
  EXPECT_EQ(seen({.top_k = 0, .top_p = 0.01, .min_p = 0}), 1u);
}

// The first draws of a seed follow from mt19937_64 alone: u = bits / 2^53 against the cumulated
// shares.
TEST(Sampler, SameSeedSameIds) {
  const std::vector<float> logits(10, 0.0f);
  Sampler sampler({.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 42});
  std::mt19937_64 random(42);
  for (int i = 0; i < 100; ++i) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    EXPECT_EQ(sampler.Next(logits, {}), static_cast<int32_t>(u * 10));
  }
}

}  // namespace
}  // namespace smelt
