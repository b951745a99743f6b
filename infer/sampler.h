// From logits to the next id.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace smelt {

struct SamplerOptions {
  double temperature = 0.8;  ///< <= 0: the most probable id, lowest id of equals
  int top_k = 40;            ///< 0 = off
  double top_p = 0.95, min_p = 0.05;
  double repeat_penalty = 1.0;
  int repeat_last = 64;
  uint64_t seed = 0;
};

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);
  /// `history`: the ids so far, for the penalty. Same seed, same ids on every machine.
  int32_t Next(std::span<const float> logits, std::span<const int32_t> history);

 private:
  void Penalize(std::span<const int32_t> history);
  int32_t Draw();

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::vector<std::pair<float, int32_t>> candidates_;  ///< logit, id
  std::vector<double> weights_;
};

}  // namespace smelt
