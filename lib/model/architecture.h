// A GGUF architecture as data: what the names and keys of its files mean. One entry stands in each
// family's file.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "lib/model/layer_spec.h"

namespace smelt {

class SpecReader;

enum class QkNorm { kNone, kPerHead, kAllHeads };
/// What the key logit_scale means; kNone: the architecture has no such key.
enum class LogitScale { kNone, kMultiplies, kDivides };

/// A decoder of attention (and feed-forward or expert) blocks. Biases are used wherever a file has
/// them, a block has experts where it has `ffn_gate_inp`, the output is the embedding where
/// `output.weight` is absent.
struct Architecture {
  std::string_view name;  ///< value of general.architecture

  NormKind norm = NormKind::kRms;
  // Tensor names after `blk.N.`; empty = the block has no such norm.
  std::string_view mixer_norm = "attn_norm", post_mixer_norm = "", ffn_norm = "ffn_norm",
                   post_ffn_norm = "";
  QkNorm qk_norm = QkNorm::kNone;
  bool norm_after_rope = false;  ///< q and k are normalised after the rotation

  RopeStyle rope = RopeStyle::kHalves;
  double rope_base = 10000;  ///< where the file has no rope.freq_base
  double rope_base_window =
      0;  ///< of window layers where the file has no rope.freq_base_swa; 0 = as the others
  bool rope_scales_windows = true;  ///< rope.scaling.* applies to window layers too
  /// The key yarn_log_multiplier is so many times mscale_all_dim; 0: there is no such key.
  double yarn_log_unit = 0;
  bool temperature = false;  ///< reads attention.temperature_scale
  bool rope_freqs = false;   ///< readers take llama3's and longrope's factors from tensors
  /// Where the file does not say: layers i with (i + 1) % period == 0 do not rotate. 0 = all do.
  uint32_t unrotated_period = 0;
  bool rotates_windows_only = false;  ///< in models that have a window, where it does not either

  /// Whether a layer rotates where the file does not say.
  bool Rotates(uint64_t layer, bool model_has_window, bool windowed) const {
    if (unrotated_period != 0) return (layer + 1) % unrotated_period != 0;
    return !rotates_windows_only || !model_has_window || windowed;
  }

  bool fused_qkv = false;
  bool fused_gate_up = false;  ///< ffn_up holds gate, then up
  bool gated = true;
  Activation activation = Activation::kSilu;

  /// Layers i with i % period < period - 1 have the window, where the file does not say. 0 = all.
  uint32_t window_period = 0;
  /// A model of this many layers scales q.k by sqrt(heads / width), where the file has no
  /// attention.scale; others by 1 / sqrt(key size).
  uint32_t layers_scaled_by_width = 0;

  bool scaled_embedding = false;  ///< by sqrt(width)
  bool residual_scale = false;    ///< reads embedding_scale and residual_scale
  LogitScale logit_scale = LogitScale::kNone;
  bool learned_positions = false;
  bool parallel_residual = false;  ///< where the file has no use_parallel_residual
  bool sinks = false;
  bool clamped_experts = false;
  Experts::Gating gating = Experts::Gating::kSoftmax;
  double expert_sum_epsilon =
      0;  ///< added to the sum that the chosen experts' weights are divided by
  bool normalize_experts = true;  ///< where the file has no expert_weights_norm

  /// Replaces the reading of blocks altogether (state-space models and hybrids).
  absl::Status (*read_blocks)(SpecReader&, const Architecture&, ModelSpec&) = nullptr;
};

/// nullptr when the engine does not know it.
const Architecture* FindArchitecture(std::string_view name);

}  // namespace smelt
