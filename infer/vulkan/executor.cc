#include "infer/vulkan/executor.h"

#include "infer/vulkan/weights.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

struct RopePush {
  uint64_t x, cosines, sines;
  uint32_t count, heads, head_size, first, pairs, halves;
};

}  // namespace

absl::Status Executor::RunAll() {
  SMELT_ASSIGN_OR_RETURN(scratch_, batch_.Scratch(graph_.scratch_features * batch_.tokens));
  for (const Op& op : graph_.ops) {
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_RETURN_IF_ERROR(std::visit([&](const auto& kind) { return Do(kind); }, op));
  }
  state_.SetStarted();
  return absl::OkStatus();
}

uint64_t Executor::At(Slot slot) const {
  if (slot == kStream) return x_.memory.address();
  if (slot == kInputs) return inputs_->memory.address();
  return scratch_ + Bytes(graph_.slots[slot].offset, batch_.tokens);
}

absl::Status Executor::Do(const NormOp& op) {
  SMELT_ASSIGN_OR_RETURN(const uint64_t weight, ValuesAt(device(), op.weight));
  SMELT_ASSIGN_OR_RETURN(const uint64_t bias, ValuesAt(device(), op.bias));
  return kernels_.Norm({.x = At(op.in),
                        .to = At(op.out),
                        .weight = weight,
                        .bias = bias,
                        .in_stride = op.features,
                        .out_stride = op.features,
                        .tokens = batch_.tokens,
                        .groups = op.features / op.group,
                        .group = op.group,
                        .weights = op.weights != 0 ? op.weights : 1,
                        .centred = op.kind == NormKind::kLayer,
                        .add = op.add,
                        .epsilon = op.epsilon});
}

absl::Status Executor::Do(const AddOp& op) {
  return kernels_.Apply({.x = At(op.out),
                         .other = At(op.in),
                         .count = uint64_t{op.features} * batch_.tokens,
                         .kind = Element::kAddScaled,
                         .a = op.scale});
}

absl::Status Executor::Do(const ScaleOp& op) {
  return kernels_.Apply({.x = At(op.x),
                         .count = uint64_t{op.features} * batch_.tokens,
                         .kind = Element::kScale,
                         .a = op.scale});
}

absl::Status Executor::Do(const MatMulOp& op) {
  return kernels_.Multiply({.matrix = &op.matrix,
                            .x = At(op.in),
                            .to = At(op.out),
                            .inputs = batch_.tokens,
                            .store = op.store,
                            .activation = op.activation});
}

absl::Status Executor::Do(const RopeOp& op) {
  SMELT_ASSIGN_OR_RETURN(const DeviceBatch::Angles* angles, batch_.AnglesOf(op.rope));
  const uint32_t pairs = op.rope.dims / 2;
  const auto rotate = [&](Slot slot, uint32_t heads, uint32_t size, uint32_t first) {
    const uint32_t count = batch_.tokens * heads * pairs;
    const RopePush push{At(slot),
                        angles->cos.address(),
                        angles->sin.address(),
                        count,
                        heads,
                        size,
                        first,
                        pairs,
                        op.rope.style == RopeStyle::kHalves};
    return device().Dispatch("rope", 0, push, GroupsFor(count), 6.0 * count);
  };
  SMELT_RETURN_IF_ERROR(rotate(op.q, op.heads, op.head_size, op.q_first));
  return rotate(op.k, op.kv_heads, op.k_head_size != 0 ? op.k_head_size : op.head_size, 0);
}

absl::Status Executor::Do(const TemperatureOp& op) {
  SMELT_ASSIGN_OR_RETURN(const uint64_t factors, batch_.TemperaturesOf(op.temperature, op.length));
  return kernels_.Apply({.x = At(op.x),
                         .other = factors,
                         .count = uint64_t{op.features} * batch_.tokens,
                         .kind = Element::kScaleTokens,
                         .features = op.features});
}

absl::Status Executor::Do(const CopyOp& op) {
  return kernels_.Copy(op, At(op.in), At(op.out), batch_.tokens);
}

absl::Status Executor::Do(const GateOp& op) {
  return kernels_.Apply({.x = At(op.x),
                         .other = At(op.z),
                         .count = uint64_t{op.features} * batch_.tokens,
                         .kind = op.plain ? Element::kMultiply : Element::kGate,
                         .activation = op.activation});
}

absl::Status Executor::Do(const ClampOp& op) {
  return kernels_.Apply({.x = At(op.x),
                         .count = uint64_t{op.features} * batch_.tokens,
                         .kind = Element::kClamp,
                         .a = op.limit});
}

absl::Status Executor::Do(const XieluOp& op) {
  return kernels_.Apply({.x = At(op.x),
                         .count = uint64_t{op.features} * batch_.tokens,
                         .kind = Element::kXielu,
                         .a = op.xielu.alpha_p,
                         .b = op.xielu.alpha_n,
                         .c = op.xielu.beta,
                         .d = op.xielu.eps});
}

}  // namespace smelt::vulkan
