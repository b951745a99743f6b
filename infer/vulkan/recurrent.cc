#include <cmath>

#include "infer/vulkan/executor.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

constexpr uint32_t kMostTaps = 16;  // of shaders/conv.comp

struct ConvPush {
  uint64_t x, weight, bias, window;
  uint32_t channels, taps, tokens, plain;
};

struct Scan1Push {
  uint64_t x, z, dt, b, c, to, a, d, h;
  uint32_t inner, state, tokens, unused;
};

struct Scan2Push {
  uint64_t xbc, dt, to, dt_bias, a, d, h;
  uint32_t inner, state, heads, groups, tokens;
  float dt_min, dt_max;
  uint32_t unused;
};

struct DeltaPush {
  uint64_t qkv, beta, alpha, to, dt_bias, a, h;
  uint32_t key_heads, value_heads, key_size, value_size, tokens, alternating;
};

}  // namespace

absl::Status Executor::Do(const ConvOp& op) {
  if (op.taps > kMostTaps) {
    return Error(ErrorCode::kUnsupported, "convolutions over ", op.taps,
                 " positions are too long for the device; use --device cpu");
  }
  SMELT_ASSIGN_OR_RETURN(const Range weight, ValuesAt(device(), op.weight));
  SMELT_ASSIGN_OR_RETURN(const Range bias, ValuesAt(device(), op.bias));
  const uint64_t kept = uint64_t{op.taps - 1} * op.channels;
  SMELT_RETURN_IF_ERROR(state_.Prepare(&DeviceSequence::window, std::max<uint64_t>(1, kept)));
  const double work = 2.0 * op.channels * op.taps;
  for (size_t i = 0; i < batch_.segments.size(); ++i) {
    const auto some = [&](const Segment& s) {
      const ConvPush push{At(op.x) + Bytes(s.first, op.channels),
                          weight.address,
                          bias.address,
                          state_.sequences[i].window.address(),
                          op.channels,
                          op.taps,
                          s.tokens,
                          op.plain};
      return device().Dispatch(Shader("conv"), push, GroupsFor(op.channels), work * s.tokens,
                               {.reads = {weight, bias},
                                .writes = {FloatRange(push.x, uint64_t{s.tokens} * op.channels),
                                           RangeOf(state_.sequences[i].window)}});
    };
    SMELT_RETURN_IF_ERROR(ForTokens(batch_.segments[i], work, some));
  }
  return absl::OkStatus();
}

absl::Status Executor::Do(const Scan1Op& op) {
  SMELT_ASSIGN_OR_RETURN(const Range a, ValuesAt(device(), op.a));
  SMELT_ASSIGN_OR_RETURN(const Range d, ValuesAt(device(), op.d));
  SMELT_RETURN_IF_ERROR(state_.Prepare(&DeviceSequence::recurrent, uint64_t{op.inner} * op.state));
  const double work = 20.0 * op.inner * op.state;
  for (size_t i = 0; i < batch_.segments.size(); ++i) {
    const auto some = [&](const Segment& s) {
      const uint64_t inner = Bytes(s.first, op.inner), state = Bytes(s.first, op.state);
      const Scan1Push push{At(op.x) + inner,
                           At(op.z) + inner,
                           At(op.dt) + inner,
                           At(op.b) + state,
                           At(op.c) + state,
                           At(op.out) + inner,
                           a.address,
                           d.address,
                           state_.sequences[i].recurrent.address(),
                           op.inner,
                           op.state,
                           s.tokens,
                           0};
      const uint64_t inners = uint64_t{s.tokens} * op.inner, states = uint64_t{s.tokens} * op.state;
      return device().Dispatch(
          Shader("scan1"), push, GroupsFor(op.inner), work * s.tokens,
          {.reads = {FloatRange(push.x, inners), FloatRange(push.z, inners),
                     FloatRange(push.dt, inners), FloatRange(push.b, states),
                     FloatRange(push.c, states), a, d},
           .writes = {FloatRange(push.to, inners), RangeOf(state_.sequences[i].recurrent)}});
    };
    SMELT_RETURN_IF_ERROR(ForTokens(batch_.segments[i], work, some));
  }
  return absl::OkStatus();
}

absl::Status Executor::Do(const Scan2Op& op) {
  SMELT_ASSIGN_OR_RETURN(const Range dt_bias, ValuesAt(device(), op.dt_bias));
  SMELT_ASSIGN_OR_RETURN(const Range a, ValuesAt(device(), op.a));
  SMELT_ASSIGN_OR_RETURN(const Range d, ValuesAt(device(), op.d));
  SMELT_RETURN_IF_ERROR(state_.Prepare(&DeviceSequence::recurrent, uint64_t{op.inner} * op.state));
  const uint64_t columns = op.inner + 2 * uint64_t{op.groups} * op.state;
  const double work = 6.0 * op.inner * op.state;
  for (size_t i = 0; i < batch_.segments.size(); ++i) {
    const auto some = [&](const Segment& s) {
      const Scan2Push push{At(op.xbc) + Bytes(s.first, columns),
                           At(op.dt) + Bytes(s.first, op.heads),
                           At(op.out) + Bytes(s.first, op.inner),
                           dt_bias.address,
                           a.address,
                           d.address,
                           state_.sequences[i].recurrent.address(),
                           op.inner,
                           op.state,
                           op.heads,
                           op.groups,
                           s.tokens,
                           op.dt_min,
                           op.dt_max,
                           0};
      return device().Dispatch(
          Shader("scan2"), push, GroupsFor(op.inner), work * s.tokens,
          {.reads = {FloatRange(push.xbc, s.tokens * columns),
                     FloatRange(push.dt, uint64_t{s.tokens} * op.heads), dt_bias, a, d},
           .writes = {FloatRange(push.to, uint64_t{s.tokens} * op.inner),
                      RangeOf(state_.sequences[i].recurrent)}});
    };
    SMELT_RETURN_IF_ERROR(ForTokens(batch_.segments[i], work, some));
  }
  return absl::OkStatus();
}

absl::Status Executor::Do(const DeltaOp& op) {
  SMELT_ASSIGN_OR_RETURN(const Range dt_bias, ValuesAt(device(), op.dt_bias));
  SMELT_ASSIGN_OR_RETURN(const Range a, ValuesAt(device(), op.a));
  const uint32_t keys = op.key_heads * op.key_size, values = op.value_heads * op.value_size;
  const uint32_t columns = 2 * keys + values;
  SMELT_RETURN_IF_ERROR(state_.Prepare(&DeviceSequence::recurrent, uint64_t{op.key_size} * values));
  // q and k to length 1 (q besides over the root of its size): a norm over the sum, not the mean.
  const float size = static_cast<float>(op.key_size);
  for (const bool of_q : {true, false}) {
    const uint64_t at = At(op.qkv) + (of_q ? 0 : Bytes(1, keys));
    SMELT_RETURN_IF_ERROR(kernels_.Norm({.x = at,
                                         .to = at,
                                         .in_stride = columns,
                                         .out_stride = columns,
                                         .tokens = batch_.tokens,
                                         .groups = op.key_heads,
                                         .group = op.key_size,
                                         .epsilon = op.epsilon / size,
                                         .scale = of_q ? 1 / size : 1 / std::sqrt(size)}));
  }
  const double work = 8.0 * values * op.key_size;
  for (size_t i = 0; i < batch_.segments.size(); ++i) {
    const auto some = [&](const Segment& s) {
      const DeltaPush push{At(op.qkv) + Bytes(s.first, columns),
                           At(op.beta) + Bytes(s.first, op.value_heads),
                           At(op.alpha) + Bytes(s.first, op.value_heads),
                           At(op.out) + Bytes(s.first, values),
                           dt_bias.address,
                           a.address,
                           state_.sequences[i].recurrent.address(),
                           op.key_heads,
                           op.value_heads,
                           op.key_size,
                           op.value_size,
                           s.tokens,
                           op.alternating};
      const uint64_t of_heads = uint64_t{s.tokens} * op.value_heads;
      return device().Dispatch(
          Shader("delta"), push, GroupsFor(values), work * s.tokens,
          {.reads = {FloatRange(push.qkv, uint64_t{s.tokens} * columns),
                     FloatRange(push.beta, of_heads), FloatRange(push.alpha, of_heads), dt_bias, a},
           .writes = {FloatRange(push.to, uint64_t{s.tokens} * values),
                      RangeOf(state_.sequences[i].recurrent)}});
    };
    SMELT_RETURN_IF_ERROR(ForTokens(batch_.segments[i], work, some));
  }
  return absl::OkStatus();
}

}  // namespace smelt::vulkan
