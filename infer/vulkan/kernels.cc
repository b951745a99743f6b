#include "infer/vulkan/kernels.h"

#include <algorithm>

#include "infer/vulkan/tables.h"
#include "infer/vulkan/weights.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

constexpr uint32_t kGroup = 64;       // invocations of a workgroup
constexpr uint32_t kVectorRows = 2;   // of shaders/matvec.comp
constexpr uint32_t kMostVectors = 8;  // inputs from which on shaders/matmul.comp is faster
constexpr uint32_t kFewestRows = 16;  // of a weight that comes in parts
constexpr uint32_t kTileRows = 64, kTileInputs = 32;  // of shaders/matmul.comp

struct ElementPush {
  uint64_t x, other;
  uint32_t count, kind, activation, features;
  float a, b, c, d;
};

struct NormPush {
  uint64_t x, to, weight, bias;
  uint32_t in_stride, out_stride, group, weights, centred, add;
  float epsilon, scale;
};

struct CopyPush {
  uint64_t x, to;
  uint32_t groups, in_stride, in_first, out_stride, out_first, count;
};

struct ProductPush {
  uint64_t weight, tables, x, to, bias, factors, chosen;
  uint32_t rows, columns, row_bytes, first_row, inputs, in_stride, out_stride, in_step, out_step,
      stack_rows, share, store_activation;
};

struct DecodePush {
  uint64_t weight, tables, to;
  uint32_t rows, columns, row_bytes, unused;
};

}  // namespace

Groups GroupsFor(uint64_t count) {
  return {static_cast<uint32_t>(std::min<uint64_t>((count + kGroup - 1) / kGroup, kMostGroups))};
}

absl::StatusOr<uint64_t> ValuesAt(Device& device, const WeightPtr& weight) {
  if (weight == nullptr) return 0;
  SMELT_RETURN_IF_ERROR(AsDevice(weight).Bring(device));
  return AsDevice(weight).rows().address();
}

absl::Status Kernels::Open() {
  const std::vector<std::byte> tables = LookUpTables();
  SMELT_ASSIGN_OR_RETURN(tables_, device_.Allocate(tables.size()));
  return device_.Write(tables_, 0, tables);
}

absl::Status Kernels::Apply(const ElementCall& call) {
  const ElementPush push{call.x,
                         call.other,
                         static_cast<uint32_t>(call.count),
                         static_cast<uint32_t>(call.kind),
                         static_cast<uint32_t>(call.activation),
                         call.features,
                         call.a,
                         call.b,
                         call.c,
                         call.d};
  return device_.Dispatch("element", 0, push, GroupsFor(call.count),
                          10 * static_cast<double>(call.count));
}

absl::Status Kernels::Norm(const NormCall& call) {
  const NormPush push{call.x,         call.to,         call.weight,  call.bias,
                      call.in_stride, call.out_stride, call.group,   call.weights,
                      call.centred,   call.add,        call.epsilon, call.scale};
  return device_.Dispatch("norm", 0, push, {call.groups, call.tokens},
                          10.0 * call.tokens * call.groups * call.group);
}

absl::Status Kernels::Copy(const CopyOp& op, uint64_t x, uint64_t to, uint32_t tokens) {
  const uint32_t groups = tokens * op.groups;
  const CopyPush push{x,       to, groups, op.in_stride, op.in_first, op.out_stride, op.out_first,
                      op.count};
  const uint64_t count = uint64_t{groups} * op.count;
  return device_.Dispatch("copy", 0, push, GroupsFor(count), static_cast<double>(count));
}

absl::Status Kernels::Multiply(const ProductCall& call) {
  const Matrix& m = *call.matrix;
  const DeviceWeight& weight = AsDevice(m.weight);
  const absl::Status whole = weight.Bring(device_);
  if (whole.ok()) return MultiplyRows(call, weight.rows(), 0, m.rows);
  if (CodeOf(whole) != ErrorCode::kOutOfMemory || call.chosen != 0 || call.matrices != 1)
    return whole;
  uint32_t part = m.rows;
  for (uint32_t first = 0; first < m.rows;) {
    const uint32_t count = std::min(part, m.rows - first);
    const absl::StatusOr<DeviceRows> rows = weight.BringRows(device_, m.first_row + first, count);
    if (rows.ok()) {
      SMELT_RETURN_IF_ERROR(MultiplyRows(call, *rows, first, count));
      first += count;
    } else if (CodeOf(rows.status()) == ErrorCode::kOutOfMemory && part > kFewestRows) {
      part = std::max(part / 2, kFewestRows);
    } else {
      return rows.status();
    }
  }
  return absl::OkStatus();
}

absl::Status Kernels::MultiplyRows(const ProductCall& call, const DeviceRows& weight_rows,
                                   uint32_t first, uint32_t count) {
  const Matrix& m = *call.matrix;
  const DeviceWeight& weight = AsDevice(m.weight);
  SMELT_ASSIGN_OR_RETURN(const uint64_t bias, ValuesAt(device_, m.bias));
  const bool single = call.chosen != 0;
  const bool vectors = single || call.inputs <= kMostVectors;
  // Inputs of a workgroup: a power of two, so that few shaders are made.
  uint32_t together = 1;
  while (vectors && !single && together < call.inputs) together *= 2;
  const uint32_t group_rows = vectors ? kVectorRows : kTileRows;
  const uint32_t group_inputs = vectors ? together : kTileInputs;
  const uint32_t most_rows = kMostGroups * group_rows;
  // Of so many inputs, in whole workgroups and with those that share one.
  const uint32_t step = call.share * group_inputs;
  const double per_step = 2.0 * count * m.columns * call.matrices * step;
  const uint32_t steps = static_cast<uint32_t>(std::clamp(
      device_.most_work() / per_step, 1.0, static_cast<double>(kMostGroups / call.share)));
  const uint32_t most_inputs = steps * step;
  const std::string shader = Cat(vectors ? "matvec_" : "matmul_", weight.format());
  for (uint32_t input = 0; input < call.inputs; input += most_inputs) {
    for (uint32_t row = first; row < first + count; row += most_rows) {
      ProductPush push{};
      push.weight = weight_rows.address();
      push.tables = tables_.address();
      push.in_stride = call.in_stride != 0 ? call.in_stride : m.columns;
      push.out_stride = call.out_stride != 0 ? call.out_stride : m.rows;
      push.x = call.x + uint64_t{input / call.share} * push.in_stride * sizeof(float);
      push.to = call.to + (uint64_t{input} * push.out_stride + row) * sizeof(float);
      push.bias = bias;
      push.factors = weight_rows.factors();
      push.chosen = single ? call.chosen + uint64_t{input} * sizeof(uint32_t) : 0;
      push.rows = std::min(most_rows, first + count - row);
      push.columns = m.columns;
      push.row_bytes = weight.row_bytes();
      push.first_row = static_cast<uint32_t>(m.first_row) + row;
      push.inputs = std::min(most_inputs, call.inputs - input);
      push.in_step = call.in_step;
      push.out_step = call.out_step;
      push.stack_rows = static_cast<uint32_t>(m.expert_rows);
      push.share = call.share;
      push.store_activation =
          static_cast<uint32_t>(call.store) | static_cast<uint32_t>(call.activation) << 8;
      const Groups groups{(push.rows + group_rows - 1) / group_rows,
                          (push.inputs + group_inputs - 1) / group_inputs, call.matrices};
      SMELT_RETURN_IF_ERROR(
          device_.Dispatch(shader, together, push, groups,
                           2.0 * push.rows * push.columns * push.inputs * call.matrices));
    }
  }
  return absl::OkStatus();
}

absl::Status Kernels::Decode(const WeightPtr& weight, uint64_t to) {
  const DeviceWeight& w = AsDevice(weight);
  SMELT_RETURN_IF_ERROR(w.Bring(device_));
  const DecodePush push{w.rows().address(),
                        tables_.address(),
                        to,
                        static_cast<uint32_t>(w.host().rows()),
                        static_cast<uint32_t>(w.host().columns()),
                        w.row_bytes(),
                        0};
  const uint64_t octets = w.host().rows() * ((w.host().columns() + 7) / 8);
  return device_.Dispatch("decode_" + w.format(), 0, push, GroupsFor(octets),
                          20 * static_cast<double>(octets));
}

}  // namespace smelt::vulkan
