#include "infer/vulkan/executor.h"

#include "infer/vulkan/weights.h"
#include "infer/watch.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

struct Heads {
  uint64_t x;
  uint32_t count, heads, size, first;
};
struct RopePush {
  uint64_t cosines, sines;
  Heads q, k;
  uint32_t pairs, halves;
};

}  // namespace

absl::Status Executor::RunAll() {
  SMELT_ASSIGN_OR_RETURN(scratch_, batch_.Scratch(graph_.scratch_features * batch_.tokens));
  SMELT_RETURN_IF_ERROR(ForOperations(
      graph_, [&](size_t first, size_t count) { return Multiply(first, count); },
      [&](const auto& op) { return Do(op); }));
  state_.SetStarted();
  return absl::OkStatus();
}

uint64_t Executor::At(Slot slot) const {
  if (slot == kStream) return x_.memory.address();
  if (slot == kInputs) return inputs_->memory.address();
  return scratch_ + Bytes(graph_.slots[slot].offset, batch_.tokens);
}

absl::StatusOr<std::vector<float>> Executor::Fetch(Slot slot, uint32_t features) {
  std::vector<float> values(uint64_t{batch_.tokens} * features);
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
  if (slot == kStream || slot == kInputs) {
    SMELT_RETURN_IF_ERROR(device().Read((slot == kStream ? &x_ : inputs_)->memory, 0, bytes));
  } else {
    SMELT_RETURN_IF_ERROR(
        device().Read(batch_.scratch(), Bytes(graph_.slots[slot].offset, batch_.tokens), bytes));
  }
  return values;
}

absl::Status Executor::Do(const NormOp& op) {
  SMELT_ASSIGN_OR_RETURN(const Range weight, ValuesAt(device(), op.weight));
  SMELT_ASSIGN_OR_RETURN(const Range bias, ValuesAt(device(), op.bias));
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

absl::StatusOr<uint64_t> Executor::Rounded(std::span<const Matrix* const> matrices, uint64_t x,
                                           uint32_t inputs) {
  const auto rounded = std::ranges::find_if(matrices, [&](const Matrix* m) {
    return precision_ == Precision::kQ8 && m->present() && TakesRounded(*m);
  });
  if (rounded == matrices.end()) return uint64_t{0};
  const uint32_t columns = (*rounded)->columns;
  SMELT_ASSIGN_OR_RETURN(const uint64_t to,
                         batch_.Of(Temporary::kRounded, uint64_t{inputs} * RoundedWords(columns)));
  SMELT_RETURN_IF_ERROR(kernels_.Round(x, inputs, columns, to));
  return to;
}

absl::Status Executor::Multiply(size_t first, size_t count) {
  const auto at = [&](size_t i) -> const MatMulOp& {
    return std::get<MatMulOp>(graph_.ops[first + i]);
  };
  std::array<const Matrix*, kMostProducts> matrices;
  for (size_t i = 0; i < count; ++i) matrices[i] = &at(i).matrix;
  if (tap_ != nullptr) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> rows, Fetch(at(0).in, at(0).matrix.columns));
    SMELT_RETURN_IF_ERROR(WatchRows(*tap_, std::span(matrices).first(count), 0, rows));
  }
  SMELT_ASSIGN_OR_RETURN(const uint64_t codes,
                         Rounded(std::span(matrices).first(count), At(at(0).in), batch_.tokens));
  std::array<ProductCall, kMostProducts> calls;
  size_t plain = 0;
  for (size_t i = 0; i < count; ++i) {
    const MatMulOp& op = at(i);
    const ProductCall call{.matrix = &op.matrix,
                           .x = At(op.in),
                           .to = At(op.out),
                           .inputs = batch_.tokens,
                           .codes = codes,
                           .store = op.store,
                           .activation = op.activation};
    const bool gated = op.store == Store::kMultiplyAct && i > 0 && at(i - 1).out == op.out &&
                       at(i - 1).store == Store::kSet;
    if (gated) {
      --plain;  // the gate
      SMELT_RETURN_IF_ERROR(kernels_.MultiplyGated(at(i - 1).matrix, call));
    } else {
      calls[plain++] = call;
    }
  }
  return kernels_.MultiplyAll(std::span(calls).first(plain));
}

absl::Status Executor::Do(const RopeOp& op) {
  SMELT_ASSIGN_OR_RETURN(const DeviceBatch::Angles* angles, batch_.AnglesOf(op.rope));
  const uint32_t pairs = op.rope.dims / 2;
  const auto heads_of = [&](Slot slot, uint32_t heads, uint32_t size, uint32_t first) -> Heads {
    return {heads == 0 ? 0 : At(slot), batch_.tokens * heads * pairs, heads, size, first};
  };
  const Heads q = heads_of(op.q, op.heads, op.head_size, op.q_first);
  const Heads k =
      heads_of(op.k, op.kv_heads, op.k_head_size != 0 ? op.k_head_size : op.head_size, 0);
  const auto whole = [&](const Heads& h) {
    return FloatRange(h.x, uint64_t{batch_.tokens} * h.heads * h.size);
  };
  const RopePush push{angles->cos.address(),
                      angles->sin.address(),
                      q,
                      k,
                      pairs,
                      op.rope.style == RopeStyle::kHalves};
  const uint64_t count = uint64_t{q.count} + k.count;
  return device().Dispatch(
      Shader("rope"), push, GroupsFor(count), 6.0 * static_cast<double>(count),
      {.reads = {RangeOf(angles->cos), RangeOf(angles->sin)}, .writes = {whole(q), whole(k)}});
}

absl::Status Executor::Do(const TemperatureOp& op) {
  for (const Op& next : graph_.ops) {
    const LatentAttentionOp* attention = std::get_if<LatentAttentionOp>(&next);
    if (attention != nullptr && attention->q == op.x)
      SMELT_RETURN_IF_ERROR(WatchQueries(*attention));
  }
  SMELT_ASSIGN_OR_RETURN(const uint64_t factors, batch_.TemperaturesOf(op.temperature, op.length));
  return kernels_.Apply({.x = At(op.x),
                         .other = factors,
                         .count = uint64_t{op.features} * batch_.tokens,
                         .kind = Element::kScaleTokens,
                         .features = op.features});
}

absl::Status Executor::Do(const CopyOp& op) {
  return kernels_.Copy({op, At(op.in), At(op.out), batch_.tokens});
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
