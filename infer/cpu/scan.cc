#include "infer/cpu/scan.h"

#include <algorithm>

#include "infer/cpu/kernels.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/scan_kernel.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

constexpr size_t kBlock = 16;  // channels of one task

struct ScanScratch {
  Array<float> x, z, dt, out, a, rows;
};
const PerThread<ScanScratch> scan_scratch;

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

// A buffer as rows [token][features]; with one lane it is that already.
absl::StatusOr<const float*> AllRows(const Layout& layout, const float* in, size_t features,
                                     Array<float>& own) {
  if (layout.lanes == 1) return in;
  own.Reserve(layout.Floats(features));
  SMELT_RETURN_IF_ERROR(
      ParallelForWorkers(layout.panels, 1, [&](uint64_t begin, uint64_t end, int) {
        for (uint64_t p = begin; p < end; ++p) {
          const size_t at = p * features * kPanel;
          ToRows(in + at, 0, features, own.data() + at);
        }
      }));
  return own.data();
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
    ConvolvePanel(in, op.taps, weight, bias, !op.plain, lanes);
    // The last inputs of valid tokens move to the front.
    const uint32_t tokens = layout.TokensOf(s, p);
    for (size_t j = 0; j < keep; ++j) in[j] = in[tokens + j];
  }
  for (size_t j = 0; j < keep; ++j) window[j * op.channels + channel] = in[j];
}

void ConvolveFew(const ConvOp& op, const Layout::Segment& s, float* window, float* x) {
  const size_t keep = op.taps - 1, row = op.channels;
  float* in = scan_scratch->rows.Reserve((keep + s.tokens) * row);
  float* tokens = x + s.first_panel * row;
  std::copy_n(window, keep * row, in);
  std::copy_n(tokens, s.tokens * row, in + keep * row);
  ConvolveRows(in, row, s.tokens, row, op.taps, ValuesOf(op.weight), ValuesOf(op.bias), !op.plain,
               tokens);
  std::copy_n(in + s.tokens * row, keep * row, window);
}

// Channels [first, first + count) of one sequence.
void Scan1Channels(const Scan1Op& op, const Layout& layout, const Layout::Segment& s, size_t first,
                   const float* x, const float* z, const float* dt, const float* b, const float* c,
                   float* h, float* out) {
  const size_t count = std::min<size_t>(kBlock, op.inner - first);
  float* a = scan_scratch->a.Reserve(op.state * kBlock);
  for (size_t j = 0; j < op.state; ++j) {
    for (size_t i = 0; i < kBlock; ++i)
      a[j * kBlock + i] = i < count ? ValuesOf(op.a)[(first + i) * op.state + j] : 0.0f;
  }
  Scan1Block block{
      .a = a, .d = ValuesOf(op.d) + first, .h = h, .channels = count, .state = op.state};
  float* rows_x = scan_scratch->x.Reserve(kPanel * kBlock);
  float* rows_z = scan_scratch->z.Reserve(kPanel * kBlock);
  float* rows_dt = scan_scratch->dt.Reserve(kPanel * kBlock);
  float* rows_out = scan_scratch->out.Reserve(kPanel * kBlock);
  for (uint32_t p = 0; p < s.panels; ++p) {
    const size_t panel = s.first_panel + p, at = panel * op.inner * layout.lanes;
    block.b = b + panel * layout.lanes * op.state;
    block.c = c + panel * layout.lanes * op.state;
    block.tokens = layout.TokensOf(s, p);
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

}  // namespace

absl::Status Convolve(const ConvOp& op, const Layout& layout, CpuState& state, float* x) {
  const size_t keep = op.taps - 1;
  state.Prepare(&SequenceState::window, std::max<size_t>(1, keep * op.channels));
  for (size_t i = 0; i < layout.segments.size(); ++i) {
    const Layout::Segment& s = layout.segments[i];
    float* window = state.sequences[i].window.data();
    if (layout.lanes == 1) {
      ConvolveFew(op, s, window, x);
      continue;
    }
    SMELT_RETURN_IF_ERROR(
        ParallelForWorkers(op.channels, 32, [&](uint64_t first, uint64_t last, int) {
          for (uint64_t f = first; f < last; ++f)
            ConvolveChannel(op, layout, s, f, window, x, scan_scratch->rows);
        }));
  }
  return absl::OkStatus();
}

absl::Status Scan1(const Scan1Op& op, const Layout& layout, const float* x, const float* z,
                   const float* dt, const float* b, const float* c, CpuState& state, float* out) {
  const size_t blocks = (op.inner + kBlock - 1) / kBlock, size = op.state * kBlock;
  state.Prepare(&SequenceState::recurrent, blocks * size);
  Array<float> own_b, own_c;
  SMELT_ASSIGN_OR_RETURN(const float* rows_b, AllRows(layout, b, op.state, own_b));
  SMELT_ASSIGN_OR_RETURN(const float* rows_c, AllRows(layout, c, op.state, own_c));
  SMELT_RETURN_IF_ERROR(
      ParallelFor(layout.segments.size() * blocks, 1, [&](uint64_t first, uint64_t last) {
        for (uint64_t task = first; task < last; ++task) {
          const size_t sequence = task / blocks, block = task % blocks;
          Scan1Channels(op, layout, layout.segments[sequence], block * kBlock, x, z, dt, rows_b,
                        rows_c, state.sequences[sequence].recurrent.data() + block * size, out);
        }
        return absl::OkStatus();
      }));
  return absl::OkStatus();
}

}  // namespace smelt::cpu
