#include "infer/vulkan/kernels.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

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
constexpr uint32_t kClamped = 6;  // among the activations of shaders/product.glsl

// What a product's second specialization constant says of its push constants.
enum Form : uint32_t { kOne, kPair, kParts, kSorted };
constexpr size_t kMostParts = 3;
constexpr uint32_t kMostJoinedRows = kMostGroups / kMostParts * kVectorRows;

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

struct CopyPart {
  uint64_t x, to;
  uint32_t groups, in_stride, in_first, out_stride, out_first, count;
};
struct CopyPush {
  CopyPart parts[2];
  uint64_t report;
};

struct ProductPart {
  uint64_t weight, bias, factors;
  uint32_t to, rows;
};
struct ProductHead {
  uint64_t tables, x, to;
  uint32_t columns, inputs;
};
struct ProductPush {
  ProductHead head;
  ProductPart first, second;
  uint64_t chosen;
  uint32_t in_stride, out_stride, in_step, out_step, stack_rows, store;
};
struct PartsPush {
  ProductHead head;
  ProductPart parts[kMostParts];
};
static_assert(sizeof(ProductPush) == sizeof(PartsPush) && sizeof(PartsPush) <= kMostPush);

struct RoundPush {
  uint64_t x, to;
  uint32_t columns, inputs, stride, unused;
};

struct SortPush {
  uint64_t chosen, to;
  uint32_t choices, experts, tiles, unused;
};

struct DecodePush {
  uint64_t weight, tables, to;
  uint32_t rows, columns, row_bytes, unused;
};

CopyPart PartOf(const CopyCall& call) {
  const CopyOp& op = call.op;
  return {call.x,       call.to, call.tokens * op.groups, op.in_stride, op.in_first, op.out_stride,
          op.out_first, op.count};
}

// From the first group's first value to the last one's last.
Range Strided(uint64_t address, uint32_t groups, uint32_t stride, uint32_t first, uint32_t count) {
  if (groups == 0) return {};
  return FloatRange(address + first * sizeof(float), uint64_t{groups - 1} * stride + count);
}

// Whether the product is one of integers.
bool Rounded(const ProductCall& call) { return call.codes != 0 && TakesRounded(*call.matrix); }
uint64_t InputsAt(const ProductCall& call) { return Rounded(call) ? call.codes : call.x; }
uint32_t InWidth(const ProductCall& call) {
  return Rounded(call) ? RoundedWords(call.matrix->columns) : call.matrix->columns;
}
uint32_t InStride(const ProductCall& call) {
  return call.in_stride != 0 && !Rounded(call) ? call.in_stride : InWidth(call);
}
uint32_t OutStride(const ProductCall& call) {
  return call.out_stride != 0 ? call.out_stride : call.matrix->rows;
}
bool Few(const ProductCall& call) {
  return call.sorted == 0 && (call.chosen != 0 || call.inputs <= kMostVectors);
}
// Of shaders/sort.comp: each full, but for one of each expert.
uint32_t ChoiceTiles(uint64_t choices, uint32_t experts) {
  return static_cast<uint32_t>(choices / kTileInputs) + experts;
}

// Inputs of a workgroup of shaders/matvec.comp: a power of two, so that few shaders are made.
uint32_t Together(const ProductCall& call) {
  uint32_t together = 1;
  while (call.chosen == 0 && together < call.inputs) together *= 2;
  return together;
}

// Row `row` of the matrix, counted from its first one on, and what belongs to it.
ProductPart PartOf(const Matrix& m, const DeviceRows& rows, const Range& bias, uint32_t row) {
  const uint64_t at = m.first_row + row;
  const auto floats = [&](uint64_t address) {
    return address == 0 ? 0 : address + at * sizeof(float);
  };
  return {rows.address() + at * AsDevice(m.weight).row_bytes(), floats(bias.address),
          floats(rows.factors()), 0, m.rows - row};
}

// As product.glsl takes it apart.
uint32_t StoreOf(const ProductCall& call) {
  const uint32_t activation = call.clamped ? kClamped : static_cast<uint32_t>(call.activation);
  return static_cast<uint32_t>(call.store) | activation << 4 | call.share << 8;
}

Range Written(const ProductCall& call) {
  return FloatRange(call.to, uint64_t{call.inputs - 1} * OutStride(call) +
                                 uint64_t{call.matrices - 1} * call.out_step + call.matrix->rows);
}
Range ReadBy(const ProductCall& call) {
  return FloatRange(InputsAt(call), uint64_t{(call.inputs - 1) / call.share} * InStride(call) +
                                        uint64_t{call.matrices - 1} * call.in_step + InWidth(call));
}

}  // namespace

Groups GroupsFor(uint64_t count) {
  return {static_cast<uint32_t>(std::min<uint64_t>((count + kGroup - 1) / kGroup, kMostGroups))};
}

bool WorthSorting(uint64_t choices, uint32_t tokens, uint32_t experts) {
  constexpr uint32_t kMostExperts = 1024;  // of shaders/sort.comp
  constexpr uint64_t kFewest = 4;          // of an expert, that fill a tile well enough
  return tokens > kMostVectors && experts <= kMostExperts && choices >= kFewest * experts;
}

uint64_t ChoiceWords(uint64_t choices, uint32_t experts) {
  return choices + 3 * uint64_t{ChoiceTiles(choices, experts)};
}

absl::StatusOr<Range> ValuesAt(Device& device, const WeightPtr& weight) {
  if (weight == nullptr) return Range{};
  SMELT_RETURN_IF_ERROR(AsDevice(weight).Bring(device));
  return AsDevice(weight).rows().range();
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
  const uint64_t others =
      call.kind == Element::kScaleTokens ? call.count / call.features : call.count;
  return device_.Dispatch(
      Shader("element"), push, GroupsFor(call.count), 10 * static_cast<double>(call.count),
      {.reads = {FloatRange(call.other, others)}, .writes = {FloatRange(call.x, call.count)}});
}

absl::Status Kernels::Norm(const NormCall& call) {
  const NormPush push{call.x,         call.to,         call.weight.address, call.bias.address,
                      call.in_stride, call.out_stride, call.group,          call.weights,
                      call.centred,   call.add,        call.epsilon,        call.scale};
  const uint32_t features = call.groups * call.group;
  return device_.Dispatch(
      Shader("norm"), push, {call.groups, call.tokens}, 10.0 * call.tokens * features,
      {.reads = {call.weight, call.bias, Strided(call.x, call.tokens, call.in_stride, 0, features)},
       .writes = {Strided(call.to, call.tokens, call.out_stride, 0, features)}});
}

absl::Status Kernels::Copy(const CopyCall& call, const CopyCall& other) {
  const CopyPush push{{PartOf(call), PartOf(other)}, device_.report_address()};
  Access access;
  uint64_t count = 0;
  for (size_t i = 0; i < 2; ++i) {
    const CopyPart& c = push.parts[i];
    access.reads[i] = Strided(c.x, c.groups, c.in_stride, c.in_first, c.count);
    access.writes[i] = Strided(c.to, c.groups, c.out_stride, c.out_first, c.count);
    count += uint64_t{c.groups} * c.count;
  }
  return device_.Dispatch(Shader("copy", call.halves, other.halves), push, GroupsFor(count),
                          static_cast<double>(count), access);
}

bool TakesRounded(const Matrix& matrix) { return AsDevice(matrix.weight).integer(); }

absl::Status Kernels::Round(uint64_t x, uint32_t inputs, uint32_t columns, uint64_t to) {
  const RoundPush push{x, to, columns, inputs, columns, 0};
  const uint64_t count = uint64_t{inputs} * columns;
  return device_.Dispatch(Shader("quantize"), push, GroupsFor(count / 32),
                          5 * static_cast<double>(count),
                          {.reads = {FloatRange(x, count)},
                           .writes = {FloatRange(to, uint64_t{inputs} * RoundedWords(columns))}});
}

absl::Status Kernels::Multiply(const ProductCall& call) {
  const Matrix& m = *call.matrix;
  const DeviceWeight& weight = AsDevice(m.weight);
  const absl::Status whole = weight.Bring(device_);
  if (whole.ok()) return MultiplyRows(call, weight.rows(), 0, m.rows);
  return CodeOf(whole) == ErrorCode::kOutOfMemory && call.matrices == 1 ? MultiplyInParts(call)
                                                                        : whole;
}

absl::Status Kernels::MultiplyInParts(const ProductCall& call) {
  const Matrix& m = *call.matrix;
  const DeviceWeight& weight = AsDevice(m.weight);
  const bool stacked = call.chosen != 0;
  const uint32_t all = stacked ? static_cast<uint32_t>(m.count) : m.rows;
  const uint32_t fewest = stacked ? 1 : kFewestRows;
  const uint64_t step = stacked ? m.expert_rows : 1;
  uint32_t part = all;
  for (uint32_t first = 0; first < all;) {
    const uint32_t count = std::min(part, all - first);
    const absl::StatusOr<DeviceRows> rows = weight.BringRows(
        device_, m.first_row + first * step, (count - 1) * step + (stacked ? m.rows : 1));
    if (rows.ok()) {
      SMELT_RETURN_IF_ERROR(stacked ? MultiplyRows(call, *rows, 0, m.rows, {first, count})
                                    : MultiplyRows(call, *rows, first, count));
      first += count;
    } else if (CodeOf(rows.status()) == ErrorCode::kOutOfMemory && part > fewest) {
      part = std::max(part / 2, fewest);
    } else {
      return rows.status();
    }
  }
  return absl::OkStatus();
}

absl::Status Kernels::MultiplyRows(const ProductCall& call, const DeviceRows& weight_rows,
                                   uint32_t first, uint32_t count, ExpertRange experts) {
  const Matrix& m = *call.matrix;
  const DeviceWeight& weight = AsDevice(m.weight);
  SMELT_ASSIGN_OR_RETURN(const Range bias, ValuesAt(device_, m.bias));
  if (call.sorted != 0) return MultiplySorted(call, weight_rows, experts);
  const bool few = Few(call);
  const uint32_t together = few ? Together(call) : 1;
  const uint32_t group_rows = few ? kVectorRows : kTileRows;
  const uint32_t group_inputs = few ? together : kTileInputs;
  const uint32_t most_rows = kMostGroups * group_rows;
  const uint32_t most_inputs =
      MostInputs(call, 2.0 * count * m.columns * call.matrices, group_inputs);
  const bool rounded = Rounded(call);
  const Shader shader(few ? weight.vector_shader(rounded) : weight.matrix_shader(rounded), together,
                      kOne);
  const Access access{.reads = {weight_rows.range(), weight_rows.factor_range(), bias, ReadBy(call),
                                FloatRange(call.chosen, call.inputs), RangeOf(tables_)},
                      .writes = {Written(call)}};
  for (uint32_t input = 0; input < call.inputs; input += most_inputs) {
    for (uint32_t row = first; row < first + count; row += most_rows) {
      ProductPush push{};
      push.in_stride = InStride(call);
      push.out_stride = OutStride(call);
      push.head.tables = tables_.address();
      push.head.x = InputsAt(call) + uint64_t{input / call.share} * push.in_stride * sizeof(float);
      push.head.to = call.to + (uint64_t{input} * push.out_stride + row) * sizeof(float);
      push.head.columns = m.columns;
      push.head.inputs = std::min(most_inputs, call.inputs - input);
      push.first = PartOf(m, weight_rows, bias, row);
      push.first.rows = std::min(most_rows, first + count - row);
      push.second.to = experts.first;
      push.second.rows = experts.count;
      push.chosen = call.chosen == 0 ? 0 : call.chosen + uint64_t{input} * sizeof(uint32_t);
      push.in_step = call.in_step;
      push.out_step = call.out_step;
      push.stack_rows = static_cast<uint32_t>(m.expert_rows);
      push.store = StoreOf(call);
      const Groups groups{(push.first.rows + group_rows - 1) / group_rows,
                          (push.head.inputs + group_inputs - 1) / group_inputs, call.matrices};
      SMELT_RETURN_IF_ERROR(device_.Dispatch(
          shader, push, groups,
          2.0 * push.first.rows * m.columns * push.head.inputs * call.matrices, access));
    }
  }
  return absl::OkStatus();
}

absl::Status Kernels::MultiplySorted(const ProductCall& call, const DeviceRows& rows,
                                     ExpertRange experts) {
  const Matrix& m = *call.matrix;
  SMELT_ASSIGN_OR_RETURN(const Range bias, ValuesAt(device_, m.bias));
  const uint32_t all = static_cast<uint32_t>(m.count);
  const uint32_t tiles = ChoiceTiles(call.inputs, all);
  const double work = 2.0 * m.rows * m.columns * kTileInputs;
  const uint32_t most =
      static_cast<uint32_t>(std::clamp(device_.most_work() / work, 1.0, double{kMostGroups}));
  ProductPush push{};
  push.head = {tables_.address(), InputsAt(call), call.to, m.columns, call.inputs};
  push.first = PartOf(m, rows, bias, 0);
  push.second.to = experts.first;
  push.second.rows = experts.count;
  push.chosen = call.sorted;
  push.in_stride = InStride(call);
  push.out_stride = OutStride(call);
  push.stack_rows = static_cast<uint32_t>(m.expert_rows);
  push.store = StoreOf(call);
  const Range sorted = FloatRange(call.sorted, ChoiceWords(call.inputs, all));
  for (uint32_t first = 0; first < tiles; first += most) {
    const uint32_t count = std::min(most, tiles - first);
    push.in_step = first;
    SMELT_RETURN_IF_ERROR(device_.Dispatch(
        Shader(AsDevice(m.weight).matrix_shader(Rounded(call)), 1, kSorted), push,
        {(m.rows + kTileRows - 1) / kTileRows, count}, work * count,
        {.reads = {rows.range(), rows.factor_range(), bias, ReadBy(call), sorted, RangeOf(tables_)},
         .writes = {Written(call)}}));
  }
  return absl::OkStatus();
}

absl::Status Kernels::SortChoices(uint64_t chosen, uint32_t choices, uint32_t experts,
                                  uint64_t to) {
  const SortPush push{chosen, to, choices, experts, ChoiceTiles(choices, experts), 0};
  return device_.Dispatch(Shader("sort"), push, {}, 100.0 * (choices + experts),
                          {.reads = {FloatRange(chosen, choices)},
                           .writes = {FloatRange(to, ChoiceWords(choices, experts))}});
}

uint32_t Kernels::MostInputs(const ProductCall& call, double work, uint32_t together) const {
  const uint32_t step = call.share * together;
  const double steps = std::clamp(device_.most_work() / (work * step), 1.0,
                                  static_cast<double>(kMostGroups / call.share));
  return static_cast<uint32_t>(steps) * step;
}

absl::StatusOr<bool> Kernels::Join(const ProductCall& one, const ProductCall& other) {
  for (const ProductCall* call : {&one, &other}) {
    if (!Few(*call) || call->matrices != 1 || call->matrix->rows > kMostJoinedRows) return false;
    const absl::Status whole = AsDevice(call->matrix->weight).Bring(device_);
    if (CodeOf(whole) == ErrorCode::kOutOfMemory) return false;
    SMELT_RETURN_IF_ERROR(whole);
  }
  return AsDevice(one.matrix->weight).format() == AsDevice(other.matrix->weight).format() &&
         one.matrix->columns == other.matrix->columns;
}

absl::Status Kernels::MultiplyAll(std::span<const ProductCall> calls) {
  std::array<bool, kMostProducts> done = {};
  for (size_t i = 0; i < calls.size(); ++i) {
    if (done[i]) continue;
    std::array<const ProductCall*, kMostParts> parts = {&calls[i]};
    size_t count = 1;
    for (size_t j = i + 1; j < calls.size() && count < kMostParts; ++j) {
      if (done[j] || calls[i].store != Store::kSet || calls[j].store != Store::kSet) continue;
      SMELT_ASSIGN_OR_RETURN(done[j], Join(calls[i], calls[j]));
      if (done[j]) parts[count++] = &calls[j];
    }
    SMELT_RETURN_IF_ERROR(count == 1 ? Multiply(calls[i])
                                     : MultiplyParts(std::span(parts).first(count)));
  }
  return absl::OkStatus();
}

absl::Status Kernels::MultiplyParts(std::span<const ProductCall* const> calls) {
  const ProductCall& like = *calls[0];
  PartsPush push{};
  push.head = {tables_.address(), InputsAt(like), like.to, like.matrix->columns, like.inputs};
  for (const ProductCall* call : calls) push.head.to = std::min(push.head.to, call->to);
  Access access{.reads = {ReadBy(like), RangeOf(tables_)}};
  uint32_t groups = 0;
  double rows = 0;
  for (size_t i = 0; i < calls.size(); ++i) {
    const Matrix& m = *calls[i]->matrix;
    const DeviceRows& weight = AsDevice(m.weight).rows();
    SMELT_ASSIGN_OR_RETURN(const Range bias, ValuesAt(device_, m.bias));
    push.parts[i] = PartOf(m, weight, bias, 0);
    push.parts[i].to = static_cast<uint32_t>((calls[i]->to - push.head.to) / sizeof(float));
    access.reads[2 + 3 * i] = weight.range();
    access.reads[3 + 3 * i] = weight.factor_range();
    access.reads[4 + 3 * i] = bias;
    access.writes[i] = Written(*calls[i]);
    groups += (m.rows + kVectorRows - 1) / kVectorRows;
    rows += m.rows;
  }
  return device_.Dispatch(
      Shader(AsDevice(like.matrix->weight).vector_shader(Rounded(like)), Together(like), kParts),
      push, {groups}, 2.0 * rows * like.matrix->columns * like.inputs, access);
}

absl::Status Kernels::MultiplyGated(const Matrix& gate, const ProductCall& call) {
  ProductCall of_gate = call;
  of_gate.matrix = &gate;
  of_gate.store = Store::kSet;
  ProductCall of_up = call;
  of_up.store = Store::kMultiplyAct;
  SMELT_ASSIGN_OR_RETURN(bool joins, Join(of_gate, of_up));
  joins = joins && gate.rows == call.matrix->rows && gate.expert_rows == call.matrix->expert_rows;
  if (!joins) {
    SMELT_RETURN_IF_ERROR(Multiply(of_gate));
    return Multiply(of_up);
  }
  const Matrix& up = *call.matrix;
  const DeviceRows &gates = AsDevice(gate.weight).rows(), &ups = AsDevice(up.weight).rows();
  SMELT_ASSIGN_OR_RETURN(const Range gate_bias, ValuesAt(device_, gate.bias));
  SMELT_ASSIGN_OR_RETURN(const Range up_bias, ValuesAt(device_, up.bias));
  const Access access{
      .reads = {gates.range(), gates.factor_range(), gate_bias, ups.range(), ups.factor_range(),
                up_bias, ReadBy(call), FloatRange(call.chosen, call.inputs), RangeOf(tables_)},
      .writes = {Written(call)}};
  const uint32_t together = Together(call);
  const double per_input = 4.0 * up.rows * up.columns;
  const uint32_t most = MostInputs(call, per_input, together);
  for (uint32_t input = 0; input < call.inputs; input += most) {
    ProductPush push{};
    push.in_stride = InStride(call);
    push.out_stride = OutStride(call);
    push.head = {tables_.address(),
                 InputsAt(call) + uint64_t{input / call.share} * push.in_stride * sizeof(float),
                 call.to + uint64_t{input} * push.out_stride * sizeof(float), up.columns,
                 std::min(most, call.inputs - input)};
    push.first = PartOf(gate, gates, gate_bias, 0);
    push.second = PartOf(up, ups, up_bias, 0);
    push.second.rows = UINT32_MAX;
    push.chosen = call.chosen == 0 ? 0 : call.chosen + uint64_t{input} * sizeof(uint32_t);
    push.stack_rows = static_cast<uint32_t>(up.expert_rows);
    push.store = StoreOf(of_up);
    SMELT_RETURN_IF_ERROR(
        device_.Dispatch(Shader(AsDevice(up.weight).vector_shader(Rounded(call)), together, kPair),
                         push, {up.rows, (push.head.inputs + together - 1) / together},
                         per_input * push.head.inputs, access));
  }
  return absl::OkStatus();
}

absl::Status Kernels::Decode(const WeightPtr& weight, uint64_t to) {
  const DeviceWeight& w = AsDevice(weight);
  SMELT_RETURN_IF_ERROR(w.Bring(device_));
  const uint64_t rows = w.host().rows(), columns = w.host().columns();
  const DecodePush push{w.rows().address(),
                        tables_.address(),
                        to,
                        static_cast<uint32_t>(rows),
                        static_cast<uint32_t>(columns),
                        w.row_bytes(),
                        0};
  const uint64_t octets = rows * ((columns + 7) / 8);
  const std::string shader = "decode_" + w.format();
  return device_.Dispatch(
      Shader(shader), push, GroupsFor(octets), 20 * static_cast<double>(octets),
      {.reads = {w.rows().range(), RangeOf(tables_)}, .writes = {FloatRange(to, rows * columns)}});
}

}  // namespace smelt::vulkan
