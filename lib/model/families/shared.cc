// What several families share.
#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

absl::Status NoteAttentionBias(FamilyContext& context) {
  if (context.hyper.flag(Param::kAttentionBias))
    context.differences.push_back("cannot load attention biases of this architecture");
  return absl::OkStatus();
}

void WriteExpertNormalization(FamilyContext& context) {
  const bool normalize = context.hyper.flag(Param::kNormTopkProb);
  const Architecture& architecture = context.family.architecture;
  if (normalize == architecture.normalize_experts) return;
  context.extra.Set(Cat(architecture.name, ".expert_weights_norm"), normalize);
  context.differences.push_back(normalize ? "does not normalise the weights of the chosen experts"
                                          : "normalises the weights of the chosen experts");
}

absl::Status ReadSparseLayers(FamilyContext& context) {
  const uint64_t layers = std::min<uint64_t>(context.hyper(Param::kLayers), 1 << 16);
  SMELT_ASSIGN_OR_RETURN(const std::vector<double> dense, context.config.Reals("mlp_only_layers"));
  SMELT_ASSIGN_OR_RETURN(const auto step, context.config.Count("decoder_sparse_step", 1));
  context.sparse.assign(layers, true);
  for (uint64_t i = 0; i < layers; ++i) {
    const bool listed =
        std::find(dense.begin(), dense.end(), static_cast<double>(i)) != dense.end();
    context.sparse[i] = !listed && (i + 1) % step.value_or(1) == 0;
  }
  if (std::find(context.sparse.begin(), context.sparse.end(), false) != context.sparse.end()) {
    context.differences.push_back("cannot load dense layers among those with experts");
  }
  return absl::OkStatus();
}

absl::Status ReadRoutedExperts(FamilyContext& context) {
  Hyper& h = context.hyper;
  const uint64_t layers = h(Param::kLayers);
  for (uint64_t i = 0; i < layers; ++i) context.sparse.push_back(i >= h(Param::kDenseLayers));
  h.Set(Param::kSharedFfn, h.real(Param::kSharedCount) * h.real(Param::kExpertFfn));
  const uint64_t experts = h(Param::kExperts), groups = h(Param::kExpertGroups),
                 used = h(Param::kExpertGroupsUsed);
  if (experts % groups != 0 || used > groups || h(Param::kExpertsUsed) > experts / groups * used) {
    return context.config.Bad("n_group", Cat("is ", groups, ", of which topk_group ", used,
                                             " are used: that does not go with ",
                                             h(Param::kExpertsUsed), " of ", experts, " experts"));
  }
  return absl::OkStatus();
}

void NoteTheta(FamilyContext& context) {
  constexpr double kAssumed = 10000;
  if (context.rope.full.theta != kAssumed) {
    context.differences.push_back(
        Cat("takes ", kAssumed, " for rope_theta ", context.rope.full.theta));
  }
}

absl::StatusOr<uint64_t> ReadTimeStepRank(const FamilyContext& context, std::string_view key) {
  const uint64_t automatic = (context.hyper(Param::kWidth) + 15) / 16;
  const JsonValue* value = context.config.Find(key);
  if (value != nullptr && value->as_string() != nullptr && *value->as_string() == "auto")
    return automatic;
  SMELT_ASSIGN_OR_RETURN(const auto rank, context.config.Count(key, 1, 1 << 24));
  return rank.value_or(automatic);
}

void WriteAttentionScale(FamilyContext& context, double scale) {
  const Hyper& h = context.hyper;
  const Architecture& architecture = context.family.architecture;
  const bool by_width = architecture.layers_scaled_by_width != 0 &&
                        h(Param::kLayers) == architecture.layers_scaled_by_width;
  const double divisor =
      by_width ? h.real(Param::kWidth) / h.real(Param::kHeads) : h.real(Param::kHeadDim);
  const double assumed = 1 / std::sqrt(divisor);
  if (std::abs(scale - assumed) <= 1e-9 * assumed) return;
  context.extra.Set(Cat(architecture.name, ".attention.scale"), static_cast<float>(scale));
  const auto rounded = [](double value) { return std::round(value * 1e6) / 1e6; };
  context.differences.push_back(
      Cat("scales queries by ", rounded(assumed), ", not ", rounded(scale)));
}

absl::StatusOr<std::vector<int>> ReadLayerKinds(const FamilyContext& context, std::string_view key,
                                                std::span<const LayerKind> kinds) {
  std::vector<int> result;
  if (!context.config.Has(key)) return result;
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> names, context.config.Texts(key));
  const uint64_t layers = context.hyper(Param::kLayers);
  if (names.size() != layers) {
    return context.config.Bad(
        key, Cat("has ", names.size(), " entries, expected one for each of ", layers, " layers"));
  }
  for (const std::string& name : names) {
    const auto it = std::ranges::find(kinds, name, &LayerKind::name);
    if (it == kinds.end()) {
      std::string known;
      for (const LayerKind& kind : kinds) known += Cat(known.empty() ? "" : ", ", kind.name);
      return context.config.Bad(key, Cat("has ", Escape(name, 40), ", expected one of ", known));
    }
    result.push_back(it->kind);
  }
  return result;
}

}  // namespace smelt
