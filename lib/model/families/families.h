// The families and architectures that exist, each defined in its own file, and what several of them
// share.
#pragma once

#include "lib/model/families/rows.h"
#include "lib/model/family.h"

namespace smelt {

extern const Architecture kGemma4Architecture, kQwen35Architecture, kQwen35MoeArchitecture,
    kQwen3NextArchitecture, kLlamaArchitecture, kQwen2Architecture, kQwen2MoeArchitecture,
    kQwen3Architecture, kQwen3MoeArchitecture, kGemmaArchitecture, kGemma2Architecture,
    kGemma3Architecture, kPhi3Architecture, kGpt2Architecture, kGptNeoxArchitecture,
    kStarcoder2Architecture, kOlmo2Architecture, kGptOssArchitecture, kMambaArchitecture,
    kMamba2Architecture, kJambaArchitecture, kSmolLm3Architecture, kGraniteArchitecture,
    kCommandRArchitecture, kCohere2Architecture, kSeedOssArchitecture, kErnie45Architecture,
    kExaone4Architecture, kArceeArchitecture, kNemotronArchitecture, kStableLmArchitecture,
    kPhi2Architecture, kHunyuanDenseArchitecture, kOlmoArchitecture, kOlmoeArchitecture,
    kMistral3Architecture, kQwen2VlArchitecture, kQwen3VlArchitecture, kQwen3VlMoeArchitecture,
    kLfm2Architecture, kLfm2MoeArchitecture, kGraniteMoeArchitecture, kGraniteHybridArchitecture,
    kNemotronHArchitecture, kNemotronHMoeArchitecture, kFalconH1Architecture,
    kDeepseek2Architecture, kMistral4Architecture, kGlm4Architecture, kGlm4MoeArchitecture,
    kMiniMaxM2Architecture, kErnie45MoeArchitecture, kDots1Architecture, kApertusArchitecture,
    kStarCoderArchitecture, kPhiMoeArchitecture, kInternLm2Architecture, kExaoneArchitecture;

extern const Family kGemma4Conditional, kGemma4Text, kQwen35, kQwen35Text, kQwen35Moe,
    kQwen35MoeText, kQwen3Next, kLlama, kMistral, kMinistral, kMixtral, kQwen2, kQwen2Moe, kQwen3,
    kQwen3Moe, kGemma, kGemma2, kGemma3, kGemma3Conditional, kPhi3, kGpt2, kGptNeox, kStarcoder2,
    kOlmo2, kGptOss, kMamba, kMamba2, kJamba, kOlmo3, kOlmo, kOlmoe, kSmolLm3, kGranite, kCohere,
    kCohere2, kSeedOss, kErnie45, kExaone4, kArcee, kNemotron, kStableLm, kPhi, kHunyuanDense,
    kMistralSmall3, kMinistral3, kMinistral3Text, kQwen2Vl, kQwen25Vl, kQwen3Vl, kQwen3VlMoe, kLfm2,
    kLfm2Moe, kGraniteMoe, kGraniteMoeShared, kGraniteMoeHybrid, kGraniteHybridMoe,
    kGraniteHybridDense, kBamba, kNemotronH, kNemotronHMoe, kFalconH1, kFalconMamba, kDeepseekV2,
    kDeepseekV3, kGlm4MoeLite, kMistral4, kMistral4Conditional, kGlm4, kGlm4Moe, kMiniMaxM2,
    kErnie45Moe, kDots1, kApertus, kInternLm2, kInternLm3, kGptBigCode, kPhiMoe, kExaone, kMeta,
    kMistralNative, kMinistral3Native, kMistral4Native, kCodestralMamba;

extern const std::span<const TensorRule> kMamba2TensorRules;
extern const std::span<const KeyRule> kMamba2KeyRules, kLlamaKeyRules, kMistral3KeyRules,
    kMistral4KeyRules;

/// Layers with a window where one of all layers is given: all.
inline bool IsWindowGiven(const Hyper& hyper, uint64_t) { return hyper.Has(Param::kWindow); }
/// Those from max_window_layers on.
inline bool IsWindowedFromMax(const Hyper& hyper, uint64_t layer) {
  return hyper.Has(Param::kWindow) && layer >= hyper(Param::kMaxWindowLayers);
}

/// A `derive` of families whose attention biases, where there are any, llama.cpp does not load.
absl::Status NoteAttentionBias(FamilyContext& context);

/// Puts `norm_topk_prob` into `expert_weights_norm` where it is not what readers of the
/// architecture assume.
void WriteExpertNormalization(FamilyContext& context);

/// What Mistral's params.json says of the rotation, and of queries that are scaled by position.
absl::Status ReadMistralRotation(FamilyContext& context);

/// Sizes, scores and experts of latent attention, with `dense_layers` in front.
absl::Status DeriveLatentModel(FamilyContext& context);

/// Fills `sparse` from `mlp_only_layers` and `decoder_sparse_step` (Qwen's).
absl::Status ReadSparseLayers(FamilyContext& context);

/// Fills `sparse` and the width of the shared experts of a class with RoutedHypers.
absl::Status ReadRoutedExperts(FamilyContext& context);

/// Rank of the time step: a number, or "auto" (also where the key is absent): width / 16, rounded
/// up.
absl::StatusOr<uint64_t> ReadTimeStepRank(const FamilyContext& context, std::string_view key);

/// What follows from the inner size of Mamba-2 blocks, their heads, groups and state; heads may
/// have a size of their own in the configuration.
absl::Status DeriveMamba2(FamilyContext& context, uint64_t inner, std::string_view heads_key,
                          std::string_view head_size_key, std::string_view groups_key);
/// `mamba_d_head`: a number, or "auto".
absl::Status ReadMambaHeadSize(FamilyContext& context);
/// `time_step_limit`.
absl::Status ReadTimeStepLimit(FamilyContext& context);

/// One entry a layer of a list of kinds under `key`, as numbers of `kinds`; nothing where the key
/// is absent. Errors name entries that are none of them.
struct LayerKind {
  std::string_view name;
  int kind;
};
absl::StatusOr<std::vector<int>> ReadLayerKinds(const FamilyContext& context, std::string_view key,
                                                std::span<const LayerKind> kinds);

/// A note where the base of the rotation is not the one that readers of an architecture without a
/// key for it take.
void NoteTheta(FamilyContext& context);

/// Puts the scale of q.k into `attention.scale` where it is not what readers of the architecture
/// assume.
void WriteAttentionScale(FamilyContext& context, double scale);

}  // namespace smelt
