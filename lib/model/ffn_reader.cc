// The feed-forward part of a block as GGUF files hold it: an MLP, experts, or both.
#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "lib/model/block_reader.h"

namespace smelt {

absl::Status BlockReader::ReadFfnLengths() {
  if (!ffn_.empty()) return absl::OkStatus();
  ffn_.assign(layers_, 0);  // of models whose every block has experts
  if (reader_.Has("feed_forward_length")) {
    SMELT_ASSIGN_OR_RETURN(ffn_, PerLayer("feed_forward_length", 0, kMaxWidth));
  }
  return ReadExpertCounts();
}

absl::StatusOr<bool> BlockReader::HasFfn(uint64_t layer) {
  SMELT_RETURN_IF_ERROR(ReadFfnLengths());
  return ffn_[layer] != 0;
}

absl::Status BlockReader::ReadFfn(uint64_t layer, LayerSpec& block) {
  SMELT_RETURN_IF_ERROR(ReadFfnLengths());
  if (experts_ != 0 && reader_.HasTensor(Block(layer, "pre_ffw_norm_2.weight"))) {
    SMELT_ASSIGN_OR_RETURN(block.ffn, ReadMlp(layer));
    SMELT_RETURN_IF_ERROR(ReadBeside(layer, block));
  } else if (experts_ != 0 && reader_.HasTensor(Block(layer, "ffn_gate_inp.weight"))) {
    SMELT_ASSIGN_OR_RETURN(block.ffn, ReadExperts(layer));
  } else {
    SMELT_ASSIGN_OR_RETURN(block.ffn, ReadMlp(layer));
    // Of no influence where every layer is dense.
    reader_.Ignore({"expert_used_count", "expert_feed_forward_length",
                    "expert_shared_feed_forward_length", "expert_weights_norm",
                    "expert_weights_scale", "expert_gating_func", "expert_group_count",
                    "expert_group_used_count", "expert_shared_count", "leading_dense_block_count",
                    "moe_latent_size", "interleave_moe_layer_step"});
  }
  return absl::OkStatus();
}

absl::Status BlockReader::ReadBeside(uint64_t layer, LayerSpec& block) {
  ExpertsBeside& beside = block.experts_beside;
  SMELT_ASSIGN_OR_RETURN(beside.experts, ReadExperts(layer));
  SMELT_ASSIGN_OR_RETURN(beside.in_norm, ReadNorm(layer, "pre_ffw_norm_2", width_));
  SMELT_ASSIGN_OR_RETURN(beside.mlp_norm, ReadNorm(layer, "post_ffw_norm_1", width_));
  SMELT_ASSIGN_OR_RETURN(beside.out_norm, ReadNorm(layer, "post_ffw_norm_2", width_));
  return absl::OkStatus();
}

absl::Status BlockReader::ReadEnd(uint64_t layer, LayerSpec& block) {
  const std::string why = Cat(reader_.Key("embedding_length_per_layer_input"), " is ", inputs_);
  if (inputs_ != 0) {
    SMELT_ASSIGN_OR_RETURN(block.input.gate, ReadLinear(layer, "inp_gate", width_, inputs_, why));
    SMELT_ASSIGN_OR_RETURN(block.input.projection, ReadLinear(layer, "proj", inputs_, width_, why));
    SMELT_ASSIGN_OR_RETURN(block.input.post_norm, ReadNorm(layer, "post_norm", width_));
    block.input.activation = activation_;
  }
  SMELT_ASSIGN_OR_RETURN(
      const TensorRef scale,
      reader_.TensorIf(Block(layer, "layer_output_scale.weight"), {1}, "one number a block"));
  if (scale == kNoTensor) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const std::vector<float> values, reader_.Values(scale));
  block.output_scale = values[0];
  return absl::OkStatus();
}

/// Counts that contradict each other, or the tensors, whether or not a block has experts.
absl::Status BlockReader::ReadExpertCounts() {
  SMELT_ASSIGN_OR_RETURN(experts_, reader_.CountOr("expert_count", 0, 0, 1 << 16));
  SMELT_ASSIGN_OR_RETURN(const uint64_t used, reader_.CountOr("expert_used_count", 0, 0, 1 << 16));
  if (used > experts_) {
    return reader_.Bad("expert_used_count",
                       Cat("is ", used, ", but ", reader_.Key("expert_count"), " is ", experts_));
  }
  for (uint64_t layer = 0; experts_ == 0 && layer < layers_; ++layer) {
    const std::string router = Block(layer, "ffn_gate_inp.weight");
    if (reader_.HasTensor(router))
      return reader_.Bad("expert_count", Cat("is 0 or missing, but tensor ", router, " is there"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Mlp> BlockReader::ReadMlp(uint64_t layer) {
  Mlp mlp;
  mlp.activation = activation_;
  const uint64_t ffn = ffn_[layer];
  const std::string why = Cat(reader_.Key("feed_forward_length"), " is ", ffn);
  if (ffn == 0) return reader_.Bad("feed_forward_length", "is 0");
  if (architecture_.fused_gate_up) {
    SMELT_ASSIGN_OR_RETURN(mlp.gate, ReadLinear(layer, "ffn_up", width_, 2 * ffn, why));
    mlp.gate.rows = ffn;
    mlp.up = mlp.gate;
    mlp.up.first_row = ffn;
  } else {
    if (architecture_.gated) {
      SMELT_ASSIGN_OR_RETURN(mlp.gate, ReadLinear(layer, "ffn_gate", width_, ffn, why));
    }
    SMELT_ASSIGN_OR_RETURN(mlp.up, ReadLinear(layer, "ffn_up", width_, ffn, why));
  }
  SMELT_ASSIGN_OR_RETURN(mlp.down, ReadLinear(layer, "ffn_down", ffn, width_, why));
  if (architecture_.xielu) {
    SMELT_ASSIGN_OR_RETURN(mlp.xielu, ReadXielu(layer));
  }
  return mlp;
}

/// The keys have no architecture in front; alphas are stored as what softplus makes positive.
absl::StatusOr<Xielu> BlockReader::ReadXielu(uint64_t layer) {
  const auto number = [&](std::string_view key) -> absl::StatusOr<double> {
    const MetadataValue* value = reader_.source().metadata().Find(key);
    const bool fits = value != nullptr && (!value->is_array() || value->size() == layers_);
    const std::optional<double> found =
        fits ? value->FloatAt(value->is_array() ? layer : 0) : std::nullopt;
    if (found && std::isfinite(*found)) return *found;
    return Error(ErrorCode::kInvalidInput, "metadata key ", key, " ",
                 value == nullptr ? "is missing" : "does not hold a finite number for each of ",
                 value == nullptr ? std::string() : Cat(layers_, " blocks"));
  };
  const auto softplus = [](double x) { return x > 30 ? x : std::log1p(std::exp(x)); };
  SMELT_ASSIGN_OR_RETURN(const double alpha_p, number("xielu.alpha_p"));
  SMELT_ASSIGN_OR_RETURN(const double alpha_n, number("xielu.alpha_n"));
  SMELT_ASSIGN_OR_RETURN(const double beta, number("xielu.beta"));
  SMELT_ASSIGN_OR_RETURN(const double eps, number("xielu.eps"));
  return Xielu{.alpha_p = static_cast<float>(softplus(alpha_p)),
               .alpha_n = static_cast<float>(beta + softplus(alpha_n)),
               .beta = static_cast<float>(beta),
               .eps = static_cast<float>(eps)};
}

absl::StatusOr<Experts> BlockReader::ReadExperts(uint64_t layer) {
  Experts experts;
  experts.count = static_cast<uint32_t>(experts_);
  SMELT_ASSIGN_OR_RETURN(const uint64_t used, reader_.Count("expert_used_count", 1, experts_));
  experts.used = static_cast<uint32_t>(used);
  experts.activation = activation_;
  experts.gating = architecture_.gating;
  experts.clamped = architecture_.clamped_experts;
  if (experts.gating == Experts::Gating::kSparseMixer) {
    SMELT_ASSIGN_OR_RETURN(experts.nearness, reader_.Own<float>("smelt.expert_nearness", 0.02f));
  }
  SMELT_ASSIGN_OR_RETURN(const uint64_t gating, reader_.CountOr("expert_gating_func", 0, 0, 3));
  if (gating == 1) experts.gating = Experts::Gating::kSoftmax;
  if (gating == 2) experts.gating = Experts::Gating::kSigmoid;
  if (gating == 3) experts.gating = Experts::Gating::kSoftmaxOfTopK;
  SMELT_ASSIGN_OR_RETURN(experts.normalize,
                         reader_.FlagOr("expert_weights_norm", architecture_.normalize_experts));
  SMELT_ASSIGN_OR_RETURN(experts.scale, reader_.RealOr("expert_weights_scale", 1, 0));
  SMELT_RETURN_IF_ERROR(ReadExpertGroups(experts));
  SMELT_ASSIGN_OR_RETURN(experts.selection_bias,
                         reader_.TensorIf(Block(layer, "exp_probs_b.bias"), {experts_},
                                          Cat(reader_.Key("expert_count"), " is ", experts_)));
  experts.sum_epsilon = architecture_.expert_sum_epsilon;
  reader_.Ignore({"leading_dense_block_count", "interleave_moe_layer_step"});  // the tensors say it

  SMELT_ASSIGN_OR_RETURN(const uint64_t ffn,
                         reader_.CountOr("expert_feed_forward_length", ffn_[layer], 1, kMaxWidth));
  const std::string why = Cat(reader_.Key("expert_count"), " is ", experts_);
  SMELT_ASSIGN_OR_RETURN(experts.router, ReadLinear(layer, "ffn_gate_inp", width_, experts_, why));
  SMELT_ASSIGN_OR_RETURN(const uint64_t latent,
                         reader_.CountOr("moe_latent_size", 0, 0, kMaxWidth));
  const uint64_t width = latent == 0 ? width_ : latent;
  if (latent != 0) {
    const std::string because = Cat(reader_.Key("moe_latent_size"), " is ", latent);
    SMELT_ASSIGN_OR_RETURN(experts.latent_down,
                           ReadLinear(layer, "ffn_latent_down", width_, latent, because));
    SMELT_ASSIGN_OR_RETURN(experts.latent_up,
                           ReadLinear(layer, "ffn_latent_up", latent, width_, because));
  }
  SMELT_RETURN_IF_ERROR(ReadExpertMatrices(layer, width, ffn, experts));
  SMELT_RETURN_IF_ERROR(ReadShared(layer, ffn, experts));
  return experts;
}

/// `width`: what the experts read and write; the router reads the stream.
absl::Status BlockReader::ReadExpertMatrices(uint64_t layer, uint64_t width, uint64_t ffn,
                                             Experts& experts) {
  const std::string why = Cat(reader_.Key("expert_count"), " is ", experts_);
  if (reader_.HasTensor(Block(layer, "ffn_gate_up_exps.weight"))) {
    SMELT_ASSIGN_OR_RETURN(experts.gate,
                           ReadExpertLinear(layer, "ffn_gate_up_exps", width, 2 * ffn));
    experts.gate.rows = ffn;
    experts.up = experts.gate;
    experts.up.first_row = ffn;
  } else {
    if (architecture_.gated) {
      SMELT_ASSIGN_OR_RETURN(experts.gate, ReadExpertLinear(layer, "ffn_gate_exps", width, ffn));
    }
    SMELT_ASSIGN_OR_RETURN(experts.up, ReadExpertLinear(layer, "ffn_up_exps", width, ffn));
  }
  SMELT_ASSIGN_OR_RETURN(experts.down, ReadExpertLinear(layer, "ffn_down_exps", ffn, width));
  SMELT_ASSIGN_OR_RETURN(const TensorRef router_scale,
                         reader_.TensorIf(Block(layer, "ffn_gate_inp.scale"), {width_}, why));
  if (router_scale != kNoTensor) {
    experts.router_norm = {.kind = NormKind::kRms, .epsilon = epsilon_, .weight = router_scale};
    experts.router_scale = 1 / std::sqrt(static_cast<double>(width_));
  }
  SMELT_ASSIGN_OR_RETURN(experts.expert_scale,
                         reader_.TensorIf(Block(layer, "ffn_down_exps.scale"), {experts_}, why));
  return absl::OkStatus();
}

absl::Status BlockReader::ReadExpertGroups(Experts& experts) {
  SMELT_ASSIGN_OR_RETURN(const uint64_t groups, reader_.CountOr("expert_group_count", 1));
  SMELT_ASSIGN_OR_RETURN(const uint64_t used,
                         reader_.CountOr("expert_group_used_count", std::max<uint64_t>(groups, 1)));
  if (groups <= 1) return absl::OkStatus();
  if (experts_ % groups != 0 || used == 0 || used > groups ||
      experts.used > experts_ / groups * used) {
    return reader_.Bad("expert_group_count",
                       Cat("is ", groups, ", of which ", used, " are used: that does not go with ",
                           experts.used, " of ", experts_, " experts"));
  }
  experts.groups = static_cast<uint32_t>(groups);
  experts.groups_used = static_cast<uint32_t>(used);
  experts.group_by_two_best = experts.gating == Experts::Gating::kSigmoid;
  return absl::OkStatus();
}

absl::Status BlockReader::ReadShared(uint64_t layer, uint64_t expert_ffn, Experts& experts) {
  // Several shared experts are one of their common width.
  SMELT_ASSIGN_OR_RETURN(const uint64_t count,
                         reader_.CountOr("expert_shared_count", 0, 0, 1 << 16));
  const uint64_t together = count == 0 ? ffn_[layer] : count * expert_ffn;
  SMELT_ASSIGN_OR_RETURN(const uint64_t ffn, reader_.CountOr("expert_shared_feed_forward_length",
                                                             together, 0, kMaxWidth));
  if (!reader_.HasTensor(Block(layer, "ffn_up_shexp.weight"))) return absl::OkStatus();
  const std::string why = Cat(reader_.Key("expert_shared_feed_forward_length"), " is ", ffn);
  experts.shared.activation = activation_;
  if (architecture_.gated) {
    SMELT_ASSIGN_OR_RETURN(experts.shared.gate,
                           ReadLinear(layer, "ffn_gate_shexp", width_, ffn, why));
  }
  SMELT_ASSIGN_OR_RETURN(experts.shared.up, ReadLinear(layer, "ffn_up_shexp", width_, ffn, why));
  SMELT_ASSIGN_OR_RETURN(experts.shared.down,
                         ReadLinear(layer, "ffn_down_shexp", ffn, width_, why));
  const std::string gate = Block(layer, "ffn_gate_inp_shexp.weight");
  SMELT_ASSIGN_OR_RETURN(experts.shared_gate.weight, reader_.TensorIf(gate, {width_, 1}, why));
  return absl::OkStatus();
}

}  // namespace smelt
