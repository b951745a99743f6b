#include "infer/vulkan/executor.h"
#include "infer/watch.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

struct RoutePush {
  uint64_t score, selection, chosen, weights, selection_bias, expert_scale;
  uint32_t tokens, count, used, gating, groups, groups_used, flags;
  float router_scale, nearness, sum_epsilon, scale;
  uint32_t unused;
};

struct CombinePush {
  uint64_t results, weights, to;
  uint32_t count, features, used, add;
};

constexpr uint32_t kMostExpertGroups = 256;  // of shaders/route.comp

}  // namespace

absl::Status Executor::Do(const ExpertsOp& op) {
  if (op.groups > kMostExpertGroups) {
    return Error(ErrorCode::kUnsupported, op.groups,
                 " groups of experts are too many for the device; use --device cpu");
  }
  if (tap_ != nullptr) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> in, Fetch(op.in, op.router.columns));
    SMELT_RETURN_IF_ERROR(WatchRows(
        *tap_, {&op.router, &op.shared_gate_proj, &op.shared_up, &op.shared_gate}, 0, in));
  }
  const uint32_t tokens = batch_.tokens;
  const uint64_t scores = uint64_t{tokens} * op.count, choices = uint64_t{tokens} * op.used;
  SMELT_ASSIGN_OR_RETURN(const uint64_t score, batch_.Of(Temporary::kRouted, scores));
  SMELT_ASSIGN_OR_RETURN(const uint64_t selection, batch_.Of(Temporary::kSelection, scores));
  SMELT_ASSIGN_OR_RETURN(const uint64_t chosen, batch_.Of(Temporary::kChosen, choices));
  SMELT_ASSIGN_OR_RETURN(const uint64_t weights, batch_.Of(Temporary::kExpertWeights, choices));
  SMELT_ASSIGN_OR_RETURN(const Range bias, ValuesAt(device(), op.selection_bias));
  SMELT_ASSIGN_OR_RETURN(const Range scale, ValuesAt(device(), op.expert_scale));
  SMELT_RETURN_IF_ERROR(
      kernels_.Multiply({.matrix = &op.router, .x = At(op.in), .to = score, .inputs = tokens}));
  const RoutePush push{score,
                       selection,
                       chosen,
                       weights,
                       bias.address,
                       scale.address,
                       tokens,
                       op.count,
                       op.used,
                       static_cast<uint32_t>(op.gating),
                       op.groups,
                       op.groups_used,
                       (op.normalize ? 1u : 0u) | (op.group_by_two_best ? 2u : 0u),
                       op.router_scale,
                       op.nearness,
                       op.sum_epsilon,
                       op.scale,
                       0};
  SMELT_RETURN_IF_ERROR(device().Dispatch(
      Shader("route"), push, GroupsFor(tokens), 10.0 * tokens * op.count * (op.used + op.groups),
      {.reads = {bias, scale},
       .writes = {FloatRange(score, scores), FloatRange(selection, scores),
                  FloatRange(chosen, choices), FloatRange(weights, choices)}}));
  SMELT_RETURN_IF_ERROR(RunChosen(op, chosen, weights));
  return op.shared_up.present() ? RunShared(op) : absl::OkStatus();
}

absl::Status Executor::Hidden(const Matrix& gate, const Matrix& up, const ProductCall& like,
                              uint64_t hidden) {
  ProductCall product = like;
  product.to = hidden;
  product.matrix = &up;
  if (gate.present()) return kernels_.MultiplyGated(gate, product);
  product.store = Store::kActivate;
  return kernels_.Multiply(product);
}

absl::Status Executor::RunChosen(const ExpertsOp& op, uint64_t chosen, uint64_t weights) {
  const uint64_t choices = uint64_t{batch_.tokens} * op.used;
  SMELT_ASSIGN_OR_RETURN(const uint64_t hidden, batch_.Of(Temporary::kHidden, choices * op.hidden));
  SMELT_ASSIGN_OR_RETURN(const uint64_t result, batch_.Of(Temporary::kResult, choices * op.width));
  uint64_t sorted = 0;
  if (WorthSorting(choices, batch_.tokens, op.count)) {
    SMELT_ASSIGN_OR_RETURN(sorted, batch_.Of(Temporary::kSorted, ChoiceWords(choices, op.count)));
    SMELT_RETURN_IF_ERROR(
        kernels_.SortChoices(chosen, static_cast<uint32_t>(choices), op.count, sorted));
  }
  SMELT_ASSIGN_OR_RETURN(const uint64_t codes,
                         Rounded({&op.gate, &op.up}, At(op.expert_in), batch_.tokens));
  SMELT_RETURN_IF_ERROR(Hidden(op.gate, op.up,
                               {.x = At(op.expert_in),
                                .inputs = static_cast<uint32_t>(choices),
                                .codes = codes,
                                .activation = op.activation,
                                .clamped = op.clamped,
                                .chosen = chosen,
                                .sorted = sorted,
                                .share = op.used},
                               hidden));
  if (tap_ != nullptr) {
    SMELT_ASSIGN_OR_RETURN(const auto experts, Fetch<uint32_t>(Temporary::kChosen, choices));
    SMELT_ASSIGN_OR_RETURN(const auto in, Fetch(op.expert_in, op.width));
    SMELT_ASSIGN_OR_RETURN(const auto made, Fetch<float>(Temporary::kHidden, choices * op.hidden));
    SMELT_RETURN_IF_ERROR(WatchExperts(*tap_, op, experts, in, made));
  }
  SMELT_ASSIGN_OR_RETURN(const uint64_t hidden_codes,
                         Rounded({&op.down}, hidden, static_cast<uint32_t>(choices)));
  SMELT_RETURN_IF_ERROR(kernels_.Multiply({.matrix = &op.down,
                                           .x = hidden,
                                           .to = result,
                                           .inputs = static_cast<uint32_t>(choices),
                                           .codes = hidden_codes,
                                           .chosen = chosen,
                                           .sorted = sorted}));
  const uint64_t count = uint64_t{batch_.tokens} * op.width;
  const CombinePush push{result,   weights, At(op.out), static_cast<uint32_t>(count),
                         op.width, op.used, op.add};
  return device().Dispatch(
      Shader("combine"), push, GroupsFor(count), 2.0 * static_cast<double>(count) * op.used,
      {.reads = {FloatRange(result, choices * op.width), FloatRange(weights, choices)},
       .writes = {FloatRange(At(op.out), count)}});
}

absl::Status Executor::RunShared(const ExpertsOp& op) {
  const uint32_t tokens = batch_.tokens;
  SMELT_ASSIGN_OR_RETURN(const uint64_t hidden,
                         batch_.Of(Temporary::kHidden, uint64_t{tokens} * op.shared_up.rows));
  SMELT_ASSIGN_OR_RETURN(const uint64_t codes,
                         Rounded({&op.shared_gate_proj, &op.shared_up}, At(op.in), tokens));
  SMELT_RETURN_IF_ERROR(
      Hidden(op.shared_gate_proj, op.shared_up,
             {.x = At(op.in), .inputs = tokens, .codes = codes, .activation = op.shared_activation},
             hidden));
  if (tap_ != nullptr) {
    SMELT_ASSIGN_OR_RETURN(const auto made,
                           Fetch<float>(Temporary::kHidden, uint64_t{tokens} * op.shared_up.rows));
    SMELT_RETURN_IF_ERROR(WatchRows(*tap_, {&op.shared_down}, 0, made));
  }
  SMELT_ASSIGN_OR_RETURN(const uint64_t hidden_codes, Rounded({&op.shared_down}, hidden, tokens));
  ProductCall down{.matrix = &op.shared_down,
                   .x = hidden,
                   .to = At(op.out),
                   .inputs = tokens,
                   .codes = hidden_codes,
                   .store = Store::kAdd};
  if (!op.shared_gate.present()) return kernels_.Multiply(down);
  const uint64_t count = uint64_t{tokens} * op.width;
  SMELT_ASSIGN_OR_RETURN(down.to, batch_.Of(Temporary::kResult, count));
  SMELT_ASSIGN_OR_RETURN(const uint64_t gate, batch_.Of(Temporary::kSecond, tokens));
  down.store = Store::kSet;
  SMELT_RETURN_IF_ERROR(kernels_.Multiply(down));
  SMELT_RETURN_IF_ERROR(kernels_.Multiply({.matrix = &op.shared_gate,
                                           .x = At(op.in),
                                           .to = gate,
                                           .inputs = tokens,
                                           .store = Store::kActivate,
                                           .activation = Activation::kSigmoid}));
  SMELT_RETURN_IF_ERROR(kernels_.Apply({.x = down.to,
                                        .other = gate,
                                        .count = count,
                                        .kind = Element::kScaleTokens,
                                        .features = op.width}));
  return kernels_.Apply(
      {.x = At(op.out), .other = down.to, .count = count, .kind = Element::kAddScaled});
}

}  // namespace smelt::vulkan
