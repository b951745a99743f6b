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

/// What blocks without attention mix positions with.
enum class Recurrence { kNone, kMamba1, kMamba1WithNorms, kMamba2, kShortConvolution };
/// What a block of a hybrid consists of.
enum class BlockParts {
  kMixerAndFfn,  ///< attention or the recurrence, then the feed-forward part
  kBothMixers,   ///< attention and the recurrence side by side, then the feed-forward part
  kOne,          ///< one of the three, after the one norm that a block has
};

enum class QkNorm {
  kNone,
  kPerHead,   ///< one weight for all heads
  kAllHeads,  ///< over all heads at once
  kEachHead,  ///< a weight of its own for each head
};
/// What the key logit_scale means; kNone: the architecture has no such key.
enum class LogitScale { kNone, kMultiplies, kDivides };

/// A decoder of attention (and feed-forward or expert) blocks. Biases are used wherever a file has
/// them, a block has experts where it has `ffn_gate_inp`, the output is the embedding where
/// `output.weight` is absent.
struct Architecture {
  std::string_view name;  ///< value of general.architecture

  NormKind norm = NormKind::kRms;
  bool rms_epsilon_key = false;   ///< layer norms take attention.layer_norm_rms_epsilon too
  bool unweighted_norms = false;  ///< nothing is stored for them
  // Tensor names after `blk.N.`; empty = the block has no such norm.
  std::string_view mixer_norm = "attn_norm", post_mixer_norm = "", ffn_norm = "ffn_norm",
                   post_ffn_norm = "";
  std::string_view final_norm = "output_norm";
  QkNorm qk_norm = QkNorm::kNone;
  bool qk_norm_optional = false;  ///< where the file has attn_q_norm
  bool norm_after_rope = false;   ///< q and k are normalised after the rotation

  RopeStyle rope = RopeStyle::kHalves;
  double rope_base = 10000;  ///< where the file has no rope.freq_base
  double rope_base_window =
      0;  ///< of window layers where the file has no rope.freq_base_swa; 0 = as the others
  bool rope_scales_windows = true;  ///< rope.scaling.* applies to window layers too
  /// The key yarn_log_multiplier is so many times mscale_all_dim; 0: there is no such key.
  double yarn_log_unit = 0;
  /// YaRN's magnitude of mscale_all_dim scales q.k, squared, and rotated vectors keep their length.
  bool yarn_scales_scores = false;
  bool clamped_qkv = false;  ///< reads attention.clamp_kqv
  bool temperature = false;  ///< reads attention.temperature_scale
  bool rope_freqs = false;   ///< readers take llama3's and longrope's factors from tensors
  /// Where the file does not say: layers i with (i + 1) % period == 0 do not rotate. 0 = all do.
  uint32_t unrotated_period = 0;
  bool rotates_windows_only = false;  ///< in models that have a window, where it does not either
  bool rope_switch = false;           ///< rope.scaling.finetuned false: no layer rotates
  bool latent_attention = false;      ///< keys and values from one latent vector

  /// Whether a layer rotates where the file does not say.
  bool Rotates(uint64_t layer, bool model_has_window, bool windowed) const {
    if (unrotated_period != 0) return (layer + 1) % unrotated_period != 0;
    return !rotates_windows_only || !model_has_window || windowed;
  }

  bool fused_qkv = false;
  bool gated_attention = false;  ///< attn_q holds a gate beside each head's query
  bool value_norm = false;       ///< values are normalised, without a weight
  double attention_scale = 0;    ///< of q.k where the file has none; 0 = 1 / sqrt(key size)
  /// Gated delta nets: a value head v uses key head v mod key heads, not its neighbours' one.
  bool alternating_value_heads = false;
  bool fused_gate_up = false;  ///< ffn_up holds gate, then up
  bool gated = true;
  Activation activation = Activation::kSilu;
  bool xielu = false;  ///< instead of it, with numbers of each layer's own in the metadata

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
  bool shares_norm = false;  ///< in parallel blocks without ffn_norm, both halves read mixer_norm
  bool sinks = false;
  bool clamped_experts = false;
  Experts::Gating gating = Experts::Gating::kSoftmax;
  double expert_sum_epsilon =
      0;  ///< added to the sum that the chosen experts' weights are divided by
  bool normalize_experts = true;  ///< where the file has no expert_weights_norm

  Recurrence recurrence = Recurrence::kNone;
  BlockParts parts = BlockParts::kMixerAndFfn;
  /// Replaces the reading of blocks altogether (state-space models and hybrids).
  absl::Status (*read_blocks)(SpecReader&, const Architecture&, ModelSpec&) = nullptr;
};

/// A `read_blocks` of architectures with a recurrence besides attention: which blocks have
/// attention is where attention.head_count_kv is not 0, which have a feed-forward part in
/// feed_forward_length.
absl::Status ReadHybridBlocks(SpecReader& reader, const Architecture& architecture,
                              ModelSpec& spec);

/// nullptr when the engine does not know it.
const Architecture* FindArchitecture(std::string_view name);

}  // namespace smelt
