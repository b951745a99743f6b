// Mamba, Mamba-2 and Jamba written as plainly as their papers, in double precision, over the
// tensors and the configuration of a published directory. Shares nothing with the engine.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace smelt::testing {

/// Row-major; the last dimension is the input of a matrix.
struct PlainTensor {
  std::vector<uint64_t> shape;
  std::vector<float> values;
};
using PlainTensors = std::map<std::string, PlainTensor>;

/// What config.json says, resolved.
struct PlainConfig {
  std::string family;  ///< "mamba", "mamba2", "jamba"
  uint64_t width = 0, layers = 0, vocabulary = 0;
  uint64_t inner = 0, state = 0, conv = 0, rank = 0;  ///< rank: of dt; Mamba-2: heads
  uint64_t groups = 1;
  double epsilon = 1e-5, dt_min = 0, dt_max = 1e300;
  bool tied = false;
  uint64_t heads = 0, kv_heads = 0, ffn = 0, experts = 0, experts_used = 0;
  uint64_t attention_period = 1, attention_offset = 0, expert_period = 1, expert_offset = 0;
};

/// Logits [position][vocabulary].
std::vector<std::vector<double>> PlainLogits(const PlainConfig& config, const PlainTensors& tensors,
                                             const std::vector<int32_t>& ids);

}  // namespace smelt::testing
