// Rotary parameters as configurations state them, in both styles: rope_theta with rope_scaling (as
// released over the years) and rope_parameters (as transformers 5 writes it).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/config.h"

namespace smelt {

/// kProportional: pairs of the whole head, of which only the first `partial` turn.
enum class RopeType { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongRope, kProportional };

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  double partial = 1;  ///< share of the head that rotates
  double factor = 1;
  bool has_factor = false;
  double original_context = 0;
  std::optional<double> attention_factor;       ///< replaces the type's own magnitude
  std::optional<double> long_attention_factor;  ///< the same in longer texts (longrope)
  std::optional<double> beta_fast, beta_slow;
  bool truncate = true;
  double alpha = 0;              ///< stretches theta, of families that have it; 0 = none
  std::vector<double> sections;  ///< of M-RoPE; for text all its position streams are the same
  std::optional<double> log_multiplier;     ///< YaRN's mscale_all_dim where mscale is 1
  std::optional<double> mscale_all_dim;     ///< the same whatever mscale is
  std::optional<double> temperature_scale;  ///< llama_4_scaling_beta
  double low_freq_factor = 0, high_freq_factor = 0;
  std::vector<double> short_factor, long_factor;

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

/// What a family has where the configuration is silent, with the names of its keys.
struct RopeDefaults {
  double theta = 10000;    ///< transformers' RotaryEmbeddingConfigMixin.default_theta
  double local_theta = 0;  ///< of window layers; 0 = the family does not tell them apart
  double partial = 1;
  double original_context =
      0;  ///< the class's own original_max_position_embeddings; counts before the dictionary's
  std::string_view theta_key = "rope_theta";
  std::string_view partial_key = "partial_rotary_factor";
  bool plain_counts = false;  ///< Mistral 4: the share is of the plain features too
  bool proportional = false;  ///< Gemma 4: knows that type
  /// Qwen's vision models: the class's own sections of M-RoPE; none = it has no such thing.
  std::array<double, 3> sections = {};
  bool interleaved = false;          ///< pairs take turns among them, which need not add up
  bool temperature = false;          ///< Ministral 3: q is scaled by its position
  bool alpha_stretches = false;      ///< Hunyuan: rope_type dynamic has alpha
  bool yarn_means_longrope = false;  ///< Phi-3: "su" and "yarn" are old names of longrope
  bool magnitudes = false;           ///< Phi-3.5-MoE: longrope has short_mscale and long_mscale
  /// rope_parameters when the configuration has neither style; JSON text.
  std::string_view parameters = "";
};

struct RopeConfigs {
  RopeConfig
      full;  ///< of layers without a window, and of all where the family does not tell them apart
  RopeConfig window;
  std::string note;     ///< what the reader should know of it, or nothing
  std::string warning;  ///< of scaling that has no effect, or nothing
};

/// `context`: max_position_embeddings, the original context where none is given.
absl::StatusOr<RopeConfigs> ReadRopeConfigs(const Config& config, const RopeDefaults& defaults,
                                            double context);

}  // namespace smelt
