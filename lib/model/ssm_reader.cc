#include "lib/model/ssm_reader.h"

#include <limits>

#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<SsmReader> SsmReader::Create(SpecReader& reader, BlockReader& blocks, bool grouped) {
  SsmReader ssm(reader, blocks);
  constexpr uint64_t kMax = 1 << 24;
  SMELT_ASSIGN_OR_RETURN(ssm.conv_, reader.Count("ssm.conv_kernel", 1, 1 << 10));
  SMELT_ASSIGN_OR_RETURN(ssm.inner_, reader.Count("ssm.inner_size", 1, kMax));
  SMELT_ASSIGN_OR_RETURN(ssm.state_, reader.Count("ssm.state_size", 1, 1 << 16));
  SMELT_ASSIGN_OR_RETURN(ssm.rank_, reader.Count("ssm.time_step_rank", 1, kMax));
  constexpr float kNone = std::numeric_limits<float>::infinity();
  if (!grouped) {
    SMELT_ASSIGN_OR_RETURN(const bool normed, reader.FlagOr("ssm.dt_b_c_rms", false));
    if (!normed) return ssm;
    ssm.plain_norm_.kind = NormKind::kRms;
    SMELT_ASSIGN_OR_RETURN(
        ssm.plain_norm_.epsilon,
        reader.Own<float>("smelt.ssm.dt_b_c_epsilon", static_cast<float>(blocks.epsilon())));
    return ssm;
  }
  SMELT_ASSIGN_OR_RETURN(ssm.groups_, reader.Count("ssm.group_count", 1, 1 << 16));
  SMELT_ASSIGN_OR_RETURN(ssm.dt_min_, reader.Own<float>("smelt.ssm.time_step_min", 0));
  SMELT_ASSIGN_OR_RETURN(ssm.dt_max_, reader.Own<float>("smelt.ssm.time_step_max", kNone));
  SMELT_ASSIGN_OR_RETURN(ssm.norm_before_gate_,
                         reader.Own<bool>("smelt.ssm.norm_before_gate", false));
  if (ssm.dt_max_ < ssm.dt_min_)
    return BadOwnKey("smelt.ssm.time_step_max",
                     Cat("is ", ssm.dt_max_, ", which is below smelt.ssm.time_step_min"));
  if (ssm.inner_ % ssm.rank_ != 0) {
    return reader.Bad("ssm.time_step_rank",
                      Cat("is ", ssm.rank_, " heads, which do not divide inner_size ", ssm.inner_));
  }
  if (ssm.rank_ % ssm.groups_ != 0 || ssm.inner_ % ssm.groups_ != 0) {
    return reader.Bad("ssm.group_count",
                      Cat("is ", ssm.groups_, ", which does not divide the ", ssm.rank_, " heads"));
  }
  return ssm;
}

absl::StatusOr<Mamba1> SsmReader::ReadMamba1(uint64_t layer, bool normed) {
  Mamba1 m;
  m.inner = static_cast<uint32_t>(inner_);
  m.state = static_cast<uint32_t>(state_);
  m.conv = static_cast<uint32_t>(conv_);
  m.rank = static_cast<uint32_t>(rank_);
  const std::string why = Cat(reader_.Key("ssm.inner_size"), " ", inner_, ", state_size ", state_,
                              ", conv_kernel ", conv_, ", time_step_rank ", rank_);
  const auto name = [&](std::string_view part) { return blocks_.Block(layer, part); };
  SMELT_ASSIGN_OR_RETURN(m.in,
                         blocks_.ReadLinear(layer, "ssm_in", blocks_.width(), 2 * inner_, why));
  SMELT_ASSIGN_OR_RETURN(m.conv_weight,
                         reader_.Tensor(name("ssm_conv1d.weight"), {conv_, inner_}, why));
  SMELT_ASSIGN_OR_RETURN(m.conv_bias, reader_.TensorIf(name("ssm_conv1d.bias"), {inner_}, why));
  SMELT_ASSIGN_OR_RETURN(m.x, blocks_.ReadLinear(layer, "ssm_x", inner_, rank_ + 2 * state_, why));
  SMELT_ASSIGN_OR_RETURN(m.dt, blocks_.ReadLinear(layer, "ssm_dt", rank_, inner_, why));
  SMELT_ASSIGN_OR_RETURN(m.a, reader_.Tensor(name("ssm_a"), {state_, inner_}, why));
  SMELT_ASSIGN_OR_RETURN(m.d, reader_.Tensor(name("ssm_d"), {inner_}, why));
  SMELT_ASSIGN_OR_RETURN(m.out, blocks_.ReadLinear(layer, "ssm_out", inner_, blocks_.width(), why));
  m.dt_norm = m.b_norm = m.c_norm = plain_norm_;
  if (!normed) return m;
  SMELT_ASSIGN_OR_RETURN(m.dt_norm, blocks_.ReadNorm(layer, "ssm_dt_norm", rank_));
  SMELT_ASSIGN_OR_RETURN(m.b_norm, blocks_.ReadNorm(layer, "ssm_b_norm", state_));
  SMELT_ASSIGN_OR_RETURN(m.c_norm, blocks_.ReadNorm(layer, "ssm_c_norm", state_));
  return m;
}

absl::StatusOr<Mamba2> SsmReader::ReadMamba2(uint64_t layer, bool norm_needed) {
  Mamba2 m;
  m.inner = static_cast<uint32_t>(inner_);
  m.state = static_cast<uint32_t>(state_);
  m.conv = static_cast<uint32_t>(conv_);
  m.heads = static_cast<uint32_t>(rank_);
  m.groups = static_cast<uint32_t>(groups_);
  m.dt_min = dt_min_;
  m.dt_max = dt_max_;
  const uint64_t channels = inner_ + 2 * groups_ * state_;
  const std::string why = Cat(reader_.Key("ssm.inner_size"), " ", inner_, ", state_size ", state_,
                              ", group_count ", groups_, ", time_step_rank ", rank_);
  const auto name = [&](std::string_view part) { return blocks_.Block(layer, part); };
  SMELT_ASSIGN_OR_RETURN(
      m.in, blocks_.ReadLinear(layer, "ssm_in", blocks_.width(), inner_ + channels + rank_, why));
  SMELT_ASSIGN_OR_RETURN(m.conv_weight,
                         reader_.Tensor(name("ssm_conv1d.weight"), {conv_, channels}, why));
  SMELT_ASSIGN_OR_RETURN(m.conv_bias, reader_.TensorIf(name("ssm_conv1d.bias"), {channels}, why));
  SMELT_ASSIGN_OR_RETURN(m.dt_bias, reader_.Tensor(name("ssm_dt.bias"), {rank_}, why));
  SMELT_ASSIGN_OR_RETURN(m.a, reader_.Tensor(name("ssm_a"), {1, rank_}, why));
  SMELT_ASSIGN_OR_RETURN(m.d, reader_.Tensor(name("ssm_d"), {1, rank_}, why));
  if (norm_needed || reader_.HasTensor(name("ssm_norm.weight"))) {
    m.norm.kind = NormKind::kRms;
    m.norm.epsilon = blocks_.epsilon();
    m.norm.group = inner_ / groups_;
    m.norm_before_gate = norm_before_gate_;
    SMELT_ASSIGN_OR_RETURN(
        m.norm.weight, reader_.Tensor(name("ssm_norm.weight"), {inner_ / groups_, groups_}, why));
  }
  SMELT_ASSIGN_OR_RETURN(m.out, blocks_.ReadLinear(layer, "ssm_out", inner_, blocks_.width(), why));
  return m;
}

absl::StatusOr<DeltaNet> SsmReader::ReadDeltaNet(uint64_t layer, bool alternating) {
  DeltaNet d;
  d.key_heads = static_cast<uint32_t>(groups_);
  d.value_heads = static_cast<uint32_t>(rank_);
  d.key_size = static_cast<uint32_t>(state_);
  d.value_size = static_cast<uint32_t>(inner_ / rank_);
  d.conv = static_cast<uint32_t>(conv_);
  d.alternating = alternating;
  const uint64_t rows = 2 * groups_ * state_ + inner_, width = blocks_.width();
  const std::string why = Cat(reader_.Key("ssm.inner_size"), " ", inner_, ", state_size ", state_,
                              ", group_count ", groups_, ", time_step_rank ", rank_);
  const auto name = [&](std::string_view part) { return blocks_.Block(layer, part); };
  if (reader_.HasTensor(name("ssm_in.weight"))) {  // files of 2025
    SMELT_ASSIGN_OR_RETURN(d.qkv, blocks_.ReadLinear(layer, "ssm_in", width, rows + inner_, why));
  } else {
    SMELT_ASSIGN_OR_RETURN(d.qkv, blocks_.ReadLinear(layer, "attn_qkv", width, rows, why));
    SMELT_ASSIGN_OR_RETURN(d.gate, blocks_.ReadLinear(layer, "attn_gate", width, inner_, why));
  }
  SMELT_ASSIGN_OR_RETURN(d.conv_weight,
                         reader_.Tensor(name("ssm_conv1d.weight"), {conv_, rows}, why));
  if (reader_.HasTensor(name("ssm_ba.weight"))) {
    SMELT_ASSIGN_OR_RETURN(d.beta, blocks_.ReadLinear(layer, "ssm_ba", width, 2 * rank_, why));
  } else {
    SMELT_ASSIGN_OR_RETURN(d.beta, blocks_.ReadLinear(layer, "ssm_beta", width, rank_, why));
    SMELT_ASSIGN_OR_RETURN(d.alpha, blocks_.ReadLinear(layer, "ssm_alpha", width, rank_, why));
  }
  SMELT_ASSIGN_OR_RETURN(d.dt_bias, reader_.Tensor(name("ssm_dt.bias"), {rank_}, why));
  SMELT_ASSIGN_OR_RETURN(d.a, reader_.Tensor(name("ssm_a"), {rank_}, why));
  SMELT_ASSIGN_OR_RETURN(d.norm, blocks_.ReadNorm(layer, "ssm_norm", d.value_size));
  d.norm.group = d.value_size;
  SMELT_ASSIGN_OR_RETURN(d.out, blocks_.ReadLinear(layer, "ssm_out", inner_, width, why));
  return d;
}

}  // namespace smelt
