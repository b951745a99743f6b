// Feed-forward parts.
#include "infer/lowerer.h"
#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<Slot> Lowerer::Hidden(const Mlp& mlp, Slot in) {
  const Linear& up = mlp.up;
  const Slot hidden = NewSlot(
      static_cast<uint32_t>(up.rows == 0 ? Shape(up.weight).ne[1] - up.first_row : up.rows));
  if (mlp.gate.present()) {
    SMELT_RETURN_IF_ERROR(Multiply(mlp.gate, in, hidden));
    SMELT_RETURN_IF_ERROR(Multiply(up, in, hidden, Store::kMultiplyAct, mlp.activation));
  } else if (mlp.xielu) {
    SMELT_RETURN_IF_ERROR(Multiply(up, in, hidden));
    graph_.ops.push_back(
        XieluOp{.x = hidden, .features = graph_.slots[hidden].features, .xielu = *mlp.xielu});
  } else {
    SMELT_RETURN_IF_ERROR(Multiply(up, in, hidden, Store::kActivate, mlp.activation));
  }
  return hidden;
}

absl::Status Lowerer::Feed(const LayerSpec& layer, const Mlp& mlp, Slot in) {
  SMELT_ASSIGN_OR_RETURN(const Slot hidden, Hidden(mlp, in));
  return AddToStream(mlp.down, hidden, layer.post_ffn_norm);
}

absl::Status Lowerer::FeedBoth(const LayerSpec& layer) {
  const Mlp& mlp = std::get<Mlp>(layer.ffn);
  const ExpertsBeside& beside = layer.experts_beside;
  const Slot in = NewSlot(width_), delta = NewSlot(width_);
  SMELT_RETURN_IF_ERROR(AddNorm(layer.ffn_norm, kStream, in, width_, false));
  SMELT_ASSIGN_OR_RETURN(const Slot hidden, Hidden(mlp, in));
  SMELT_RETURN_IF_ERROR(Multiply(mlp.down, hidden, delta));
  SMELT_RETURN_IF_ERROR(AddNorm(beside.mlp_norm, delta, delta, width_, false));
  SMELT_RETURN_IF_ERROR(AddNorm(beside.in_norm, kStream, in, width_, false));
  const Slot result = NewSlot(width_);
  SMELT_RETURN_IF_ERROR(AddExperts(beside.experts, in, result, false));
  SMELT_RETURN_IF_ERROR(AddNorm(beside.out_norm, result, delta, width_, true));
  return AddDelta(delta, layer.post_ffn_norm);
}

absl::Status Lowerer::Feed(const LayerSpec& layer, const Experts& e, Slot in) {
  if (e.latent_down.present()) return FeedLatent(layer, e, in);
  if (!layer.post_ffn_norm.present() && residual_scale_ == 1)
    return AddExperts(e, in, kStream, true);
  const Slot delta = NewSlot(width_);
  SMELT_RETURN_IF_ERROR(AddExperts(e, in, delta, false));
  return AddDelta(delta, layer.post_ffn_norm);
}

absl::Status Lowerer::AddExperts(const Experts& e, Slot in, Slot out, bool add) {
  SMELT_ASSIGN_OR_RETURN(ExpertsOp op, ChosenExperts(e, in));
  op.out = out;
  op.add = add;
  op.shared_activation = e.shared.activation;
  SMELT_ASSIGN_OR_RETURN(op.shared_gate_proj, Lower(e.shared.gate));
  SMELT_ASSIGN_OR_RETURN(op.shared_up, Lower(e.shared.up));
  SMELT_ASSIGN_OR_RETURN(op.shared_down, Lower(e.shared.down));
  SMELT_ASSIGN_OR_RETURN(op.shared_gate, LowerInPlace(e.shared_gate));
  graph_.ops.push_back(std::move(op));
  return absl::OkStatus();
}

absl::StatusOr<ExpertsOp> Lowerer::ChosenExperts(const Experts& e, Slot in) {
  ExpertsOp op{.in = in,
               .expert_in = in,
               .count = e.count,
               .used = e.used,
               .width = width_,
               .router_scale = static_cast<float>(e.router_scale),
               .gating = e.gating,
               .nearness = static_cast<float>(e.nearness),
               .groups = e.groups,
               .groups_used = e.groups_used,
               .group_by_two_best = e.group_by_two_best,
               .normalize = e.normalize,
               .sum_epsilon = static_cast<float>(e.sum_epsilon),
               .scale = static_cast<float>(e.scale),
               .activation = e.activation,
               .clamped = e.clamped};
  if (e.router_norm.present()) {
    op.in = NewSlot(width_);
    SMELT_RETURN_IF_ERROR(AddNorm(e.router_norm, kStream, op.in, width_, false));
  }
  SMELT_ASSIGN_OR_RETURN(op.selection_bias, Values(e.selection_bias));
  SMELT_ASSIGN_OR_RETURN(op.expert_scale, Values(e.expert_scale));
  SMELT_ASSIGN_OR_RETURN(op.router, LowerInPlace(e.router));
  SMELT_ASSIGN_OR_RETURN(op.gate, Lower(e.gate));
  SMELT_ASSIGN_OR_RETURN(op.up, Lower(e.up));
  SMELT_ASSIGN_OR_RETURN(op.down, Lower(e.down));
  op.hidden = op.up.rows;
  return op;
}

absl::Status Lowerer::FeedLatent(const LayerSpec& layer, const Experts& e, Slot in) {
  const uint32_t width = static_cast<uint32_t>(Shape(e.latent_down.weight).ne[1]);
  const Slot latent = NewSlot(width), sum = NewSlot(width);
  SMELT_RETURN_IF_ERROR(Multiply(e.latent_down, in, latent));
  SMELT_ASSIGN_OR_RETURN(ExpertsOp op, ChosenExperts(e, in));
  op.expert_in = latent;
  op.out = sum;
  op.width = width;
  graph_.ops.push_back(std::move(op));
  SMELT_RETURN_IF_ERROR(AddToStream(e.latent_up, sum, layer.post_ffn_norm));
  if (!e.shared.up.present()) return absl::OkStatus();
  return Feed(layer, e.shared, in);
}

}  // namespace smelt
