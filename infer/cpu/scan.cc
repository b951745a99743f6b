#include "infer/cpu/scan.h"

#include <algorithm>
#include <cmath>

#include "infer/cpu/kernels.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/scan_kernel.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

constexpr size_t kBlock = 16;  // channels of one task

struct Scratch {
  Array<float> x, z, dt, decay, out, a, rows;
};
thread_local Scratch scratch;

absl::Status OutOfMemory() {
  return Error(ErrorCode::kOutOfMemory, "no memory for the recurrent state");
}

// `count` features from `first` on of one panel [features][32] to rows of `count`, and back.
void ToRows(const float* panel, size_t first, size_t count, float* rows) {
  for (size_t f = 0; f < count; ++f) {
    for (size_t t = 0; t < kPanel; ++t) rows[t * count + f] = panel[(first + f) * kPanel + t];
  }
}
void FromRows(const float* rows, size_t first, size_t count, float* panel) {
  for (size_t f = 0; f < count; ++f) {
    for (size_t t = 0; t < kPanel; ++t) panel[(first + f) * kPanel + t] = rows[t * count + f];
  }
}

// All panels of a buffer's features [first, first + count) as rows of `count`; with one lane and
// all features it is that already.
const float* AllRows(const Layout& layout, const float* in, size_t features, size_t first,
                     size_t count, Array<float>& own) {
  if (layout.lanes == 1 && count == features) return in;
  if (own.Reserve(layout.Floats(count)) == nullptr) return nullptr;
  ParallelForWorkers(layout.panels, 1, [&](uint64_t begin, uint64_t end, int) {
    for (uint64_t p = begin; p < end; ++p) {
      const float* panel = in + p * features * layout.lanes;
      float* rows = own.data() + p * count * layout.lanes;
      if (layout.lanes == 1) {
        std::copy_n(panel + first, count, rows);
      } else {
        ToRows(panel, first, count, rows);
      }
    }
  });
  return own.data();
}

// A state of `size` floats for every sequence, zero where it begins.
absl::Status PrepareStates(CpuState& state, Array<float> SequenceState::*part, size_t size) {
  for (SequenceState& s : state.sequences) {
    Array<float>& values = s.*part;
    if (s.started && values.size() >= size) continue;
    if (values.Reserve(size) == nullptr) return OutOfMemory();
    std::fill_n(values.data(), size, 0.0f);
  }
  return absl::OkStatus();
}

uint32_t TokensOf(const Layout& layout, const Layout::Segment& s, uint32_t panel) {
  return std::min(layout.lanes, s.tokens - panel * layout.lanes);
}

void ConvolveChannel(const ConvOp& op, const Layout& layout, const Layout::Segment& s,
                     size_t channel, float* window, float* x, Array<float>& buffer) {
  const size_t keep = op.taps - 1;
  float* in = buffer.Reserve(keep + kPanel + kBlock);
  const float* weight = ValuesOf(op.weight) + channel * op.taps;
  const float bias = op.bias == nullptr ? 0.0f : ValuesOf(op.bias)[channel];
  for (size_t j = 0; j < keep; ++j) in[j] = window[j * op.channels + channel];
  for (uint32_t p = 0; p < s.panels; ++p) {
    float* lanes = x + (static_cast<size_t>(s.first_panel + p) * op.channels + channel) * kPanel;
    std::copy_n(lanes, kPanel, in + keep);
    ConvolvePanel(in, op.taps, weight, bias, lanes);
    // The last inputs of valid tokens move to the front.
    const uint32_t tokens = TokensOf(layout, s, p);
    for (size_t j = 0; j < keep; ++j) in[j] = in[tokens + j];
  }
  for (size_t j = 0; j < keep; ++j) window[j * op.channels + channel] = in[j];
}

absl::Status ConvolveFew(const ConvOp& op, const Layout::Segment& s, float* window, float* x) {
  const size_t keep = op.taps - 1, row = op.channels;
  float* in = scratch.rows.Reserve((keep + s.tokens) * row);
  if (in == nullptr) return OutOfMemory();
  float* tokens = x + s.first_panel * row;
  std::copy_n(window, keep * row, in);
  std::copy_n(tokens, s.tokens * row, in + keep * row);
  ConvolveRows(in, row, s.tokens, row, op.taps, ValuesOf(op.weight), ValuesOf(op.bias), tokens);
  std::copy_n(in + s.tokens * row, keep * row, window);
  return absl::OkStatus();
}

// Channels [first, first + count) of one sequence.
void Scan1Channels(const Scan1Op& op, const Layout& layout, const Layout::Segment& s, size_t first,
                   const float* x, const float* z, const float* dt, const float* b, const float* c,
                   float* h, float* out) {
  const size_t count = std::min<size_t>(kBlock, op.inner - first);
  float* a = scratch.a.Reserve(op.state * kBlock);
  for (size_t j = 0; j < op.state; ++j) {
    for (size_t i = 0; i < kBlock; ++i)
      a[j * kBlock + i] = i < count ? ValuesOf(op.a)[(first + i) * op.state + j] : 0.0f;
  }
  Scan1Block block{
      .a = a, .d = ValuesOf(op.d) + first, .h = h, .channels = count, .state = op.state};
  float* rows_x = scratch.x.Reserve(kPanel * kBlock);
  float* rows_z = scratch.z.Reserve(kPanel * kBlock);
  float* rows_dt = scratch.dt.Reserve(kPanel * kBlock);
  float* rows_out = scratch.out.Reserve(kPanel * kBlock);
  for (uint32_t p = 0; p < s.panels; ++p) {
    const size_t panel = s.first_panel + p, at = panel * op.inner * layout.lanes;
    block.b = b + panel * layout.lanes * op.state;
    block.c = c + panel * layout.lanes * op.state;
    block.tokens = TokensOf(layout, s, p);
    if (layout.lanes == 1) {
      block.x = x + at + first, block.z = z + at + first, block.dt = dt + at + first,
      block.out = out + at + first;
      block.stride = op.inner;
      RunScan1(block);
      continue;
    }
    ToRows(x + at, first, count, rows_x);
    ToRows(z + at, first, count, rows_z);
    ToRows(dt + at, first, count, rows_dt);
    block.x = rows_x, block.z = rows_z, block.dt = rows_dt, block.out = rows_out;
    block.stride = count;
    RunScan1(block);
    FromRows(rows_out, first, count, out + at);
  }
}

// One head of one sequence.
void Scan2OneHead(const Scan2Op& op, const Layout& layout, const Layout::Segment& s, uint32_t head,
                  const float* xbc, const float* dt, const float* bc, float* h, float* out) {
  const size_t size = op.inner / op.heads, columns = op.inner + 2 * op.groups * op.state;
  const uint32_t group = head / (op.heads / op.groups);
  Scan2Head task{.d = ValuesOf(op.d)[head],
                 .h = h,
                 .head_size = size,
                 .state = op.state,
                 .bc_stride = 2 * op.groups * op.state};
  float* steps = scratch.dt.Reserve(kPanel);
  float* decay = scratch.decay.Reserve(kPanel);
  float* rows_x = scratch.x.Reserve(kPanel * size);
  float* rows_out = scratch.out.Reserve(kPanel * size);
  const double a = ValuesOf(op.a)[head];
  for (uint32_t p = 0; p < s.panels; ++p) {
    const size_t panel = s.first_panel + p;
    const float* raw = dt + (panel * op.heads + head) * layout.lanes;
    task.tokens = TokensOf(layout, s, p);
    for (size_t t = 0; t < task.tokens; ++t) {
      const double v = static_cast<double>(raw[t]) + ValuesOf(op.dt_bias)[head];
      const double step =
          std::clamp<double>(v > 20 ? v : std::log1p(std::exp(v)), op.dt_min, op.dt_max);
      steps[t] = static_cast<float>(step);
      decay[t] = static_cast<float>(std::exp(step * a));
    }
    task.dt = steps, task.decay = decay;
    task.b = bc + panel * layout.lanes * task.bc_stride + group * op.state;
    task.c = task.b + op.groups * op.state;
    const float* in = xbc + panel * columns * layout.lanes;
    float* to = out + panel * op.inner * layout.lanes;
    if (layout.lanes == 1) {
      task.x = in + head * size, task.out = to + head * size, task.stride = columns;
      RunScan2(task);
      continue;
    }
    ToRows(in, head * size, size, rows_x);
    task.x = rows_x, task.out = rows_out, task.stride = size;
    RunScan2(task);
    FromRows(rows_out, head * size, size, to);
  }
}

}  // namespace

absl::Status Convolve(const ConvOp& op, const Layout& layout, CpuState& state, float* x) {
  const size_t keep = op.taps - 1;
  SMELT_RETURN_IF_ERROR(
      PrepareStates(state, &SequenceState::window, std::max<size_t>(1, keep * op.channels)));
  for (size_t i = 0; i < layout.segments.size(); ++i) {
    const Layout::Segment& s = layout.segments[i];
    float* window = state.sequences[i].window.data();
    if (layout.lanes == 1) {
      SMELT_RETURN_IF_ERROR(ConvolveFew(op, s, window, x));
      continue;
    }
    ParallelForWorkers(op.channels, 32, [&](uint64_t first, uint64_t last, int) {
      for (uint64_t f = first; f < last; ++f)
        ConvolveChannel(op, layout, s, f, window, x, scratch.rows);
    });
  }
  return absl::OkStatus();
}

absl::Status Scan1(const Scan1Op& op, const Layout& layout, const float* x, const float* z,
                   const float* dt, const float* b, const float* c, CpuState& state, float* out) {
  const size_t blocks = (op.inner + kBlock - 1) / kBlock, size = op.state * kBlock;
  SMELT_RETURN_IF_ERROR(PrepareStates(state, &SequenceState::recurrent, blocks * size));
  Array<float> own_b, own_c;
  const float* rows_b = AllRows(layout, b, op.state, 0, op.state, own_b);
  const float* rows_c = AllRows(layout, c, op.state, 0, op.state, own_c);
  if (rows_b == nullptr || rows_c == nullptr) return OutOfMemory();
  ParallelForWorkers(layout.segments.size() * blocks, 1, [&](uint64_t first, uint64_t last, int) {
    for (uint64_t task = first; task < last; ++task) {
      const size_t sequence = task / blocks, block = task % blocks;
      Scan1Channels(op, layout, layout.segments[sequence], block * kBlock, x, z, dt, rows_b, rows_c,
                    state.sequences[sequence].recurrent.data() + block * size, out);
    }
  });
  for (SequenceState& s : state.sequences) s.started = true;
  return absl::OkStatus();
}

absl::Status Scan2(const Scan2Op& op, const Layout& layout, const float* xbc, const float* dt,
                   CpuState& state, float* out) {
  const size_t head_state = static_cast<size_t>(op.inner / op.heads) * op.state;
  const size_t columns = op.inner + 2 * static_cast<size_t>(op.groups) * op.state;
  SMELT_RETURN_IF_ERROR(PrepareStates(state, &SequenceState::recurrent, op.heads * head_state));
  Array<float> own;
  const float* bc = AllRows(layout, xbc, columns, op.inner, columns - op.inner, own);
  if (bc == nullptr) return OutOfMemory();
  ParallelForWorkers(layout.segments.size() * op.heads, 1, [&](uint64_t first, uint64_t last, int) {
    for (uint64_t task = first; task < last; ++task) {
      const size_t sequence = task / op.heads;
      const uint32_t head = static_cast<uint32_t>(task % op.heads);
      Scan2OneHead(op, layout, layout.segments[sequence], head, xbc, dt, bc,
                   state.sequences[sequence].recurrent.data() + head * head_state, out);
    }
  });
  for (SequenceState& s : state.sequences) s.started = true;
  return absl::OkStatus();
}

}  // namespace smelt::cpu
