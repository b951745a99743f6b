#include "quant/preset_rules.h"

#include <array>

namespace smelt {
namespace {

using enum TensorType;
using enum Role;
using F = FileType;
using C = const RuleContext&;

template <typename... Types>
constexpr uint64_t Of(Types... types) {
  return ((uint64_t{1} << static_cast<uint32_t>(types)) | ...);
}

constexpr uint64_t kAll = ~uint64_t{0};
/// The presets with a table of their own: one and two bits.
constexpr uint64_t kLow = Of(F::kIQ1_S, F::kIQ1_M, F::kIQ2_XXS, F::kIQ2_XS, F::kIQ2_S, F::kIQ2_M);
constexpr uint64_t kLow2S = Of(F::kIQ2_S, F::kIQ2_M);
constexpr uint64_t kOthers = kAll & ~kLow & ~Of(F::kMXFP4_MOE);

bool Always(C) { return true; }
bool Gqa4(C c) { return c.gqa >= 4; }
bool Eight(C c) { return c.experts == 8; }
bool WithImportance(C c) { return c.importance; }
bool FirstEighth(C c) { return c.index < c.layers / 8; }
bool FirstSixteenth(C c) { return c.index < c.layers / 16; }
bool More(int64_t i, int64_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }
bool MoreOfLayers(C c) { return More(c.index, c.layers); }
bool MoreOfValues(C c) { return More(c.value_index, c.value_count); }
bool MiddleLayers(C c) { return c.index >= c.layers / 8 && c.index < 7 * c.layers / 8; }

constexpr std::string_view kGqaWhy = "attn_v of grouped attention (4 or more heads share it)";

constexpr PresetRule kRules[] = {
    // Output, or the embeddings that serve as output.
    {Of(F::kMXFP4_MOE), kOutput, Always, kQ8_0, "all but the experts"},
    {kAll, kOutput, [](C c) { return c.falcon || !c.whole_base_blocks; }, kQ8_0,
     "output where the base type does not fit"},
    {kLow | Of(F::kIQ3_XXS), kOutput, Always, kQ5_K, "output"},
    {Of(F::kQ8_0), kOutput, Always, kQ8_0, "output"},
    {kAll, kOutput, Always, kQ6_K, "output"},

    {Of(F::kMXFP4_MOE), kEmbedding, Always, kQ8_0, "all but the experts"},
    {kLow & ~kLow2S, kEmbedding, Always, kQ2_K, "embeddings"},
    {kLow2S | Of(F::kIQ3_XXS), kEmbedding, Always, kIQ3_S, "embeddings"},
    {Of(F::kTQ1_0, F::kTQ2_0, F::kQ2_0), kEmbedding, Always, kQ4_K, "embeddings"},

    // One and two bits.
    {kLow, kValue, [](C c) { return c.gqa >= 4 || c.experts >= 4; }, kQ4_K,
     "attn_v of grouped attention or experts"},
    {kLow2S, kValue, Always, kIQ3_S, "attn_v"},
    {kLow, kValue, Always, kQ2_K, "attn_v"},
    {kLow, kKey, Eight, kQ4_K, "attn_k beside 8 experts"},
    {kLow2S, kDown, FirstEighth, kIQ3_S, "first eighth of ffn_down"},
    {kLow, kDown, FirstEighth, kQ2_K, "first eighth of ffn_down"},
    {kLow, kAttentionOutput, Eight, kQ5_K, "attn_output beside 8 experts"},
    {Of(F::kIQ1_S, F::kIQ1_M), kAttentionOutput, Always, kIQ2_XXS, "attn_output"},
    {kLow2S, kAttentionOutput, Always, kIQ3_S, "attn_output"},

    // Values of attention.
    {kOthers, kValue, Eight, kQ8_0, "attn_v beside 8 experts"},
    {Of(F::kQ2_K, F::kQ2_K_S, F::kIQ3_XS, F::kIQ3_S, F::kIQ3_XXS), kValue, Gqa4, kQ4_K, kGqaWhy},
    {Of(F::kQ2_K), kValue, Always, kQ3_K, "attn_v"},
    {Of(F::kIQ3_XXS), kValue, WithImportance, kIQ3_XXS, "attn_v"},
    {Of(F::kIQ3_XXS), kValue, Always, kIQ3_S, "attn_v without importance"},
    {Of(F::kIQ3_M), kValue, Always, kQ4_K, "attn_v"},
    {Of(F::kQ3_K_M), kValue, [](C c) { return c.value_index < 2; }, kQ5_K, "first two attn_v"},
    {Of(F::kQ3_K_M), kValue, Always, kQ4_K, "attn_v"},
    {Of(F::kQ3_K_L), kValue, Always, kQ5_K, "attn_v"},
    {Of(F::kIQ4_NL, F::kIQ4_XS), kValue, Gqa4, kQ5_K, kGqaWhy},
    {Of(F::kQ4_K_M, F::kQ5_K_M), kValue, MoreOfValues, kQ6_K,
     "first and last eighth and every third of the rest of attn_v"},
    {Of(F::kQ4_K_S), kValue, [](C c) { return c.value_index < 4; }, kQ5_K, "first four attn_v"},

    // Keys and queries.
    {kOthers, kKey, Eight, kQ8_0, "attn_k beside 8 experts"},
    {Of(F::kIQ3_XS), kKey, Always, kIQ3_XXS, "attn_k"},
    {Of(F::kIQ3_XS), kQuery, Always, kIQ3_XXS, "attn_q"},
    {Of(F::kIQ3_XXS), kKey, Always, kIQ2_S, "attn_k"},
    {Of(F::kIQ3_XXS), kQuery, Always, kIQ2_S, "attn_q"},

    // Down projections.
    {Of(F::kQ2_K), kDown, Always, kQ3_K, "ffn_down"},
    {Of(F::kQ2_K_S), kDown, FirstEighth, kQ4_K, "first eighth of ffn_down"},
    {Of(F::kIQ3_XXS), kDown, [](C c) { return !c.importance && FirstEighth(c); }, kQ4_K,
     "first eighth of ffn_down without importance"},
    {Of(F::kIQ3_XXS), kDown, [](C c) { return !c.importance; }, kQ3_K,
     "ffn_down without importance"},
    {Of(F::kQ3_K_M), kDown, FirstSixteenth, kQ5_K, "first sixteenth of ffn_down"},
    {Of(F::kQ3_K_M), kDown, [](C c) { return !c.falcon || MoreOfLayers(c); }, kQ4_K, "ffn_down"},
    {Of(F::kQ3_K_L), kDown, [](C c) { return c.falcon; }, kQ4_K, "ffn_down"},
    {Of(F::kQ3_K_L), kDown, Always, kQ5_K, "ffn_down"},
    {Of(F::kIQ3_M), kDown, [](C c) { return FirstEighth(c) || (Eight(c) && MoreOfLayers(c)); },
     kQ4_K, "first eighth of ffn_down, more of them with 8 experts"},
    {Of(F::kQ4_K_S), kDown, [](C c) { return !c.falcon && FirstEighth(c); }, kQ5_K,
     "first eighth of ffn_down"},
    {Of(F::kQ4_K_M), kDown, [](C c) { return c.falcon ? FirstSixteenth(c) : MoreOfLayers(c); },
     kQ6_K, "first and last eighth and every third of the rest of ffn_down"},
    {Of(F::kQ4_K_M), kDown, [](C c) { return c.falcon && MoreOfLayers(c); }, kQ5_K,
     "first and last eighth and every third of the rest of ffn_down"},
    {Of(F::kQ5_K_M), kDown, MoreOfLayers, kQ6_K,
     "first and last eighth and every third of the rest of ffn_down"},
    {Of(F::kIQ4_NL, F::kIQ4_XS), kDown, [](C c) { return !c.importance && FirstEighth(c); }, kQ5_K,
     "first eighth of ffn_down without importance"},
    {Of(F::kQ4_0), kDown, [](C c) { return c.importance && FirstEighth(c); }, kQ4_1,
     "first eighth of ffn_down with importance"},
    {Of(F::kQ5_0), kDown, [](C c) { return c.importance && FirstEighth(c); }, kQ5_1,
     "first eighth of ffn_down with importance"},

    // Output projections of attention.
    {Of(F::kQ3_K_L), kAttentionOutput, [](C c) { return c.falcon; }, kQ4_K, "attn_output"},
    {Of(F::kQ2_K, F::kIQ3_XXS, F::kIQ3_XS, F::kIQ3_S, F::kIQ3_M, F::kQ3_K_S, F::kQ3_K_M, F::kIQ4_NL,
        F::kIQ4_XS, F::kQ4_K_S, F::kQ4_K_M),
     kAttentionOutput, [](C c) { return !c.falcon && Eight(c); }, kQ5_K,
     "attn_output beside 8 experts"},
    {Of(F::kQ2_K), kAttentionOutput, [](C c) { return !c.falcon && !Eight(c); }, kQ3_K,
     "attn_output"},
    {Of(F::kIQ3_XXS), kAttentionOutput, [](C c) { return !c.falcon && !Eight(c); }, kIQ3_S,
     "attn_output"},
    {Of(F::kQ3_K_M, F::kIQ3_M), kAttentionOutput, [](C c) { return !c.falcon && !Eight(c); }, kQ4_K,
     "attn_output"},
    {Of(F::kQ3_K_L), kAttentionOutput, [](C c) { return !c.falcon && !Eight(c); }, kQ5_K,
     "attn_output"},

    // Gate and up projections.
    {Of(F::kIQ3_XS), kGate, MiddleLayers, kIQ3_XXS, "ffn_gate of the middle layers"},
    {Of(F::kIQ3_XS), kUp, MiddleLayers, kIQ3_XXS, "ffn_up of the middle layers"},

    // Experts in 4-bit floats. Stands last, for every role that no rule above has taken.
    {Of(F::kMXFP4_MOE), kOther, [](C c) { return c.stacked; }, kMXFP4, "experts"},
    {Of(F::kMXFP4_MOE), kOther, Always, kQ8_0, "all but the experts"},
};

struct RolePattern {
  std::string_view part;
  Role role;
};
/// The first that a name contains decides.
constexpr RolePattern kRoles[] = {
    {"attn_qkv.weight", Role::kValue},
    {"attn_kv_b.weight", Role::kValue},
    {"attn_v.weight", Role::kValue},
    {"attn_k.weight", Role::kKey},
    {"attn_q.weight", Role::kQuery},
    {"attn_output.weight", Role::kAttentionOutput},
    {"ffn_up", Role::kUp},
    {"ffn_gate", Role::kGate},
    {"ffn_down", Role::kDown},
};

constexpr ShapeFallback kFallbacks[] = {
    {kIQ1_S, kIQ4_NL},
    {kIQ1_M, kIQ4_NL},
    {kIQ2_XXS, kIQ4_NL},
    {kIQ2_XS, kIQ4_NL},
    {kIQ2_S, kIQ4_NL},
    {kIQ3_XXS, kIQ4_NL},
    {kIQ3_S, kIQ4_NL},
    {kIQ4_XS, kIQ4_NL},
    {kQ2_K, kQ4_0},
    {kQ3_K, kQ4_0},
    {kTQ1_0, kQ4_0},
    {kTQ2_0, kQ4_0},
    {kQ2_0, kQ4_0},
    {kQ4_K, kQ5_0},
    {kQ5_K, kQ5_1},
    {kQ6_K, kQ8_0},
    // llama-quantize knows none for these and fails.
    {kQ1_0, kQ4_0},
    {kNVFP4, kQ4_0},
};

constexpr std::string_view kKept[] = {
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
};

using A = ArchitectureRule;
constexpr A kArchitectureRules[] = {
    {"glm5-next", "hc_"},
    {"glm5-next", "indexer.attn_q_b"},
    {"glm5-next", "indexer.attn_k"},
    {"glm5-next", "indexer.proj"},
    {"glm5-next", "indexer_compressor_gate"},
    {"glm5-next", "indexer_compressor_ape"},
    {"glm5-next", "ssm_f_a.weight"},
    {"glm5-next", "ssm_f_b.weight"},
    {"glm5-next", "ssm_g_a.weight"},
    {"glm5-next", "ssm_g_b.weight"},
    {"glm5-next", "ssm_beta.weight"},
    {"glm5-next", "attn_kv_a_mqa.weight"},
    {"glm5-next", "attn_k_b.weight"},
    {"glm5-next", "attn_v_b.weight"},
    {"glm5-next", "attn_q_a", A::kAtLeastQ8},
    {"glm5-next", "attn_q_b", A::kAtLeastQ8},
    {"glm5-next", "nextn.eh_proj", A::kAtLeastQ8},
};

}  // namespace

Role RoleOf(std::string_view name) {
  if (name == "output.weight") return Role::kOutput;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") return Role::kEmbedding;
  for (const RolePattern& pattern : kRoles) {
    if (name.find(pattern.part) != std::string_view::npos) return pattern.role;
  }
  return Role::kOther;
}

std::span<const PresetRule> PresetRules() { return kRules; }
std::span<const ShapeFallback> ShapeFallbacks() { return kFallbacks; }
std::span<const std::string_view> KeptNames() { return kKept; }
std::span<const ArchitectureRule> ArchitectureRules() { return kArchitectureRules; }

}  // namespace smelt
