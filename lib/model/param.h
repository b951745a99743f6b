// The names of hyperparameters and of what follows from them, as the families' tables use them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

namespace smelt {

// clang-format off
#define SMELT_PARAMS(X)                                                                             \
  X(kNone, "")                  /* of a vector's columns, of a tensor that never has a bias */      \
  X(kAlways, "always")          /* 1: of a bias that every model has */                             \
  X(kOne, "1")                                                                                      \
  X(kLayers, "layers")          X(kWidth, "width")              X(kVocab, "vocab")                  \
  X(kContext, "context")        X(kEps, "eps")                  X(kTied, "tied")                    \
  X(kHeads, "heads")            X(kKvHeads, "kv_heads")         X(kHeadDim, "head_dim")             \
  X(kGivenHeadDim, "head_dim, where the configuration has it")                                      \
  X(kQ, "rows of q")            X(kKv, "rows of k, of v")       X(kQkv, "rows of q, k and v")       \
  X(kFfn, "ffn")                X(kTwoFfn, "2 ffn")                                                 \
  X(kWindow, "window")          X(kWindowOrZero, "window, or 0")                                    \
  X(kUseWindow, "use_window")   X(kMaxWindowLayers, "max_window_layers")                            \
  X(kPeriod, "period")          /* of layers without a window */                                    \
  X(kAttentionBias, "attention_bias")                           X(kMlpBias, "mlp_bias")             \
  X(kBias, "bias")              X(kQueryScalar, "query_scalar")                                     \
  X(kAttentionCap, "attention_cap")                             X(kFinalCap, "final_cap")           \
  X(kParallel, "parallel")      X(kScaledByLayer, "scaled_by_layer")                                \
  X(kRopeDims, "rotary dimensions") X(kWindowRopeDims, "rotary dimensions of layers with the window")                             X(kTheta, "theta")                  \
  X(kAttnFactor, "attn_factor") X(kOriginalContext, "original_context")                             \
  X(kUnrotatedPeriod, "unrotated_period")                       X(kAlpha, "alpha")                  \
  X(kEmbeddingScale, "embedding_scale")                         X(kResidualScale, "residual_scale") \
  X(kAttentionScale, "attention_scale")                         X(kLogitScale, "logit_scale")       \
  X(kYarnLog, "yarn_log_multiplier")                            X(kTemperature, "temperature_scale") \
  X(kDeepstack, "deepstack layers")                                                                 \
  X(kMaxLength, "max_length")   X(kOutputBias, "output_bias")                                       \
  X(kScaledRope, "scaled_rope") X(kRopeFactor, "rope_factor")                                       \
  X(kLowFreqFactor, "low_freq_factor")                          X(kHighFreqFactor, "high_freq_factor") \
  X(kExperts, "experts")        X(kExpertsUsed, "experts_used") X(kExpertFfn, "expert_ffn")         \
  X(kSharedFfn, "shared_ffn")   X(kNormTopkProb, "norm_topk_prob")                                  \
  X(kAttentionPeriod, "attention_period")                       X(kAttentionOffset, "attention_offset") \
  X(kExpertPeriod, "expert_period")                             X(kExpertOffset, "expert_offset")   \
  X(kInner, "inner")            X(kGivenInner, "inner, where the configuration has it")             \
  X(kTwoInner, "2 inner")       X(kExpand, "expand")            X(kState, "state")                  \
  X(kConv, "conv")              X(kConvBias, "conv_bias")       X(kRank, "rank")                    \
  X(kXRows, "rank + 2 state")   X(kSsmHeads, "ssm_heads")       X(kSsmHeadSize, "ssm_head_size")    \
  X(kGroups, "groups")          X(kGroupSize, "inner / groups") X(kChannels, "channels")            \
  X(kThreeWidth, "3 hidden_size")                               X(kAdjustFfn, "adjust_ffn")       \
  X(kSsmNorm, "ssm_norm")       X(kNormBeforeGate, "norm_before_gate")                              \
  X(kTwoSharedFfn, "2 shared_ffn")                              X(kLatent, "moe_latent_size")       \
  X(kExpertGroups, "expert_groups")                             X(kExpertGroupsUsed, "expert_groups_used") \
  X(kExpertScale, "expert_scale")                               X(kDenseLayers, "dense_layers")     \
  X(kSharedCount, "shared_experts")                             X(kExpertBias, "expert_bias")       \
  X(kQRank, "q_lora_rank")      X(kKvRank, "kv_lora_rank")      X(kPlainSize, "qk_nope_head_dim")   \
  X(kValueSize, "value head size") X(kLatentHead, "qk_nope_head_dim + qk_rope_head_dim")               \
  X(kLatentQ, "heads x (qk_nope_head_dim + qk_rope_head_dim)")                                      \
  X(kLatentOut, "heads x v_head_dim")                                                               \
  X(kLatentKv, "kv_lora_rank + qk_rope_head_dim")                                                   \
  X(kKeyMultiplier, "key_multiplier")                           X(kRotates, "rotates")            \
  X(kStatedHeadDim, "head_dim, where the configuration has it")                                      \
  X(kStatedRopeDims, "hidden_size / num_attention_heads")                                           \
  X(kMixerEps, "mixer_rms_eps")                                 X(kTemperatureLength, "temperature_length") \
  X(kLatentKvB, "heads x (qk_nope_head_dim + v_head_dim)")                                          \
  X(kTimeStepMin, "time_step_min")                              X(kExpertWidth, "width of experts") \
  X(kAttentionIn, "attention_in_multiplier")                                                        \
  X(kAttentionOut, "attention_out_multiplier")                                                      \
  X(kSsmIn, "ssm_in_multiplier")                                X(kSsmOut, "ssm_out_multiplier")    \
  X(kGateMultiplier, "mlp_multipliers[0]")                      X(kDownMultiplier, "mlp_multipliers[1]") \
  X(kHeadMultiplier, "lm_head_multiplier")                                                          \
  X(kInRows, "rows of in_proj") X(kTwoRank, "2 value heads")                                        \
  X(kKeyHeads, "key heads")     X(kValueHeads, "value heads")                                      \
  X(kKeySize, "key head size")  X(kGatedQ, "rows of q and its gates")                               \
  X(kFullInterval, "full_attention_interval")                   X(kTwoWidth, "2 width")             \
  X(kBlocks, "layers and draft blocks")                         X(kDraft, "draft blocks")           \
  X(kGivenDraft, "draft blocks that the configuration names")                                       \
  X(kGlobalHeadDim, "head size of full layers")                 X(kGlobalKvHeads, "kv_heads of full layers") \
  X(kGlobalQ, "rows of q of full layers")                       X(kGlobalKv, "rows of k, of v of full layers") \
  X(kKeysAreValues, "attention_k_eq_v")                         X(kSharedKv, "layers that share keys") \
  X(kPerLayer, "values a layer of the per-layer inputs")        X(kPerLayerRows, "values of the per-layer inputs") \
  X(kPerLayerVocab, "rows of the per-layer inputs")             X(kDoubleWide, "double-wide mlp")   \
  X(kGivenRopeDims, "rotary dimensions, where the configuration has them")                          \
  X(kQkNorm, "qk_norm")         X(kClamp, "clip_qkv")                                               \
  X(kMultiQuery, "multi_query") X(kScaledQueries, "scaled_queries")                                 \
  X(kRouterJitter, "router_jitter_noise")                                                           \
  X(kMoe, "enable_moe_block")   X(kTwoExpertFfn, "2 expert_ffn")                                    \
  X(kMultipleOf, "multiple_of") X(kFfnMultiplier, "ffn_multiplier")                                 \
  X(kVocabularyRows, "rows of the vocabulary")                                                      \
  X(kPublishedVocab, "vocab without padding")                   X(kVocabMultiple, "vocab_multiple")
// clang-format on

enum class Param : uint8_t {
#define SMELT_NAME(name, text) name,
  SMELT_PARAMS(SMELT_NAME)
#undef SMELT_NAME
};

inline constexpr std::string_view kParamTexts[] = {
#define SMELT_TEXT(name, text) text,
    SMELT_PARAMS(SMELT_TEXT)
#undef SMELT_TEXT
};
#undef SMELT_PARAMS

inline constexpr size_t kParamCount = std::size(kParamTexts);

/// For messages.
constexpr std::string_view TextOf(Param param) { return kParamTexts[static_cast<size_t>(param)]; }

}  // namespace smelt
