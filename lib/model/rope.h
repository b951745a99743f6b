// Rotary frequencies from the parameters that configurations and GGUF files state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/layer_spec.h"

namespace smelt {

enum class RopeScaling { kNone, kLinear, kYarn };

struct RopeParameters {
  RopeStyle style = RopeStyle::kHalves;
  uint32_t dims = 0;  ///< even
  double base = 10000;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  // YaRN (https://arxiv.org/abs/2309.00071).
  double original_context = 0;
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;  ///< correction dimensions rounded outwards
  double magnitude = 1;
  std::vector<float>
      factors;  ///< divide the frequencies, one per pair (llama3, short longrope); empty = 1
  std::vector<float> long_factors;
  uint64_t long_from = 0;     ///< with long_factors
  double long_magnitude = 0;  ///< likewise; 0 = magnitude
  double dynamic_factor = 0;  ///< rope_type dynamic; 0 = none
  uint64_t dynamic_from = 0;  ///< with dynamic_factor: the trained context
};

/// Frequencies in f64.
Rope MakeRope(const RopeParameters& parameters);

/// YaRN's magnitude of a scale: 0.1 m ln(scale) + 1, 1 for scales up to 1.
double YarnMagnitude(double scale, double m = 1);

/// The factors of `rope_type` llama3 (frequencies are divided by them).
std::vector<float> Llama3Factors(uint32_t dims, double base, double factor, double low_freq_factor,
                                 double high_freq_factor, double original_context);

}  // namespace smelt
