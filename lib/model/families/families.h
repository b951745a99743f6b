// The families and architectures that exist, each defined in its own file, and what several of them
// share.
#pragma once

#include "lib/model/family.h"

namespace smelt {

extern const Architecture kLlamaArchitecture, kQwen2Architecture, kQwen2MoeArchitecture,
    kQwen3Architecture, kQwen3MoeArchitecture, kGemmaArchitecture, kGemma2Architecture,
    kGemma3Architecture, kPhi3Architecture, kGpt2Architecture, kGptNeoxArchitecture,
    kStarcoder2Architecture, kOlmo2Architecture, kGptOssArchitecture, kMambaArchitecture,
    kMamba2Architecture, kJambaArchitecture;

extern const Family kLlama, kMistral, kMinistral, kMixtral, kQwen2, kQwen2Moe, kQwen3, kQwen3Moe,
    kGemma, kGemma2, kGemma3, kGemma3Conditional, kPhi3, kGpt2, kGptNeox, kStarcoder2, kOlmo2,
    kGptOss, kMamba, kMamba2, kJamba, kMeta, kMistralNative, kCodestralMamba;

extern const std::span<const TensorRule> kMamba2TensorRules;
extern const std::span<const KeyRule> kMambaKeyRules, kLlamaKeyRules;

// Rows of hyperparameter tables that most families have; the argument is the class's default.
inline constexpr HyperRule kLayers{"layers", "num_hidden_layers", HyperKind::kCount, kRequired, 1,
                                   1 << 16};
inline constexpr HyperRule kWidth{"width", "hidden_size"};
constexpr HyperRule Vocab(double n) {
  return {"vocab", "vocab_size", HyperKind::kCount, Default(n)};
}
constexpr HyperRule Ffn(double n) {
  return {"ffn", "intermediate_size", HyperKind::kCount, Default(n)};
}
constexpr HyperRule Heads(double n) {
  return {"heads", "num_attention_heads", HyperKind::kCount, Default(n)};
}
/// null means as many as heads.
constexpr HyperRule KvHeads(Fallback fallback) {
  return {"kv_heads", "num_key_value_heads", HyperKind::kCount, fallback, 1,
          1 << 24,    SameAs("heads")};
}
constexpr HyperRule HeadDim(Fallback fallback = kAbsent) {
  return {"head_dim", "head_dim", HyperKind::kCount, fallback, 1, 1 << 16};
}
constexpr HyperRule Context(double n) {
  return {"context", "max_position_embeddings", HyperKind::kCount, Default(n), 1, 1 << 30};
}
constexpr HyperRule RmsEps(double eps) {
  return {"eps", "rms_norm_eps", HyperKind::kReal, Default(eps), 0, 1e3};
}
constexpr HyperRule Tied(bool tied) {
  return {"tied", "tie_word_embeddings", HyperKind::kFlag, Default(tied ? 1 : 0)};
}
constexpr HyperRule Flag(std::string_view name, std::string_view config, bool value) {
  return {name, config, HyperKind::kFlag, Default(value ? 1 : 0)};
}
/// Where it is null there is none.
constexpr HyperRule Window(Fallback absent) {
  return {"window", "sliding_window", HyperKind::kCount, absent, 0, 1 << 30, kAbsent};
}
constexpr HyperRule NumExperts(double n) {
  return {"experts", "num_local_experts|num_experts", HyperKind::kCount, Default(n), 1, 1 << 16};
}
constexpr HyperRule ExpertsUsed(double n) {
  return {"experts_used", "num_experts_per_tok", HyperKind::kCount, Default(n), 1, 1 << 16};
}

// Conditions of tensors.
inline bool IsUntied(const FamilyContext& context, uint64_t) { return !context.hyper.flag("tied"); }
inline bool IsTied(const FamilyContext& context, uint64_t) { return context.hyper.flag("tied"); }
inline bool IsSparse(const FamilyContext& context, uint64_t layer) {
  return context.sparse.empty() || context.sparse[layer];
}
inline bool IsDense(const FamilyContext& context, uint64_t layer) {
  return !IsSparse(context, layer);
}

/// Layers with a window where one of all layers is given: all.
inline bool IsWindowGiven(const Hyper& hyper, uint64_t) { return hyper.Has("window"); }

/// Puts `norm_topk_prob` into `expert_weights_norm` where it is not what readers of the
/// architecture assume.
void WriteExpertNormalization(FamilyContext& context);

/// Fills `sparse` from `mlp_only_layers` and `decoder_sparse_step` (Qwen's).
absl::Status ReadSparseLayers(FamilyContext& context);

/// Rank of the time step: a number, or "auto" (also where the key is absent): width / 16, rounded
/// up.
absl::StatusOr<uint64_t> ReadTimeStepRank(const FamilyContext& context, std::string_view key);

/// Puts the scale of q.k into `attention.scale` where it is not what readers of the architecture
/// assume.
void WriteAttentionScale(FamilyContext& context, double scale);

}  // namespace smelt
