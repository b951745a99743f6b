// Mamba-2. A prompt goes through in chunks of 32 tokens (one panel), in matrix form (Dao and Gu,
// "Transformers are SSMs", 2024, section 6): within a chunk every token gives something to every
// later one, weighted by the product of its B and the other's C and by the decay between them; what
// came before the chunk is in the state, which is brought forward once a chunk. All of it is
// products that run at the speed of a matrix multiplication. Few tokens go one by one.
#include <algorithm>
#include <cmath>

#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/scan.h"
#include "infer/cpu/scan_kernel.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

static_assert(kStateBlock == kPanel, "states are products over panels");
constexpr size_t kScan2Tile = kPanel * kPanel;

struct Scan2Scratch {
  Array<float> x, rows;
};
const PerThread<Scan2Scratch> scan2_scratch;

struct Scan2Sizes {
  explicit Scan2Sizes(const Scan2Op& op)
      : head(op.inner / op.heads),
        columns(op.inner + 2 * static_cast<size_t>(op.groups) * op.state),
        blocks((op.state + kStateBlock - 1) / kStateBlock),
        head_state(blocks * head * kStateBlock) {}
  size_t head;        ///< values of a head
  size_t columns;     ///< features of xbc
  size_t blocks;      ///< of a head's state
  size_t head_state;  ///< floats of a head's state
};

// What all heads of a group share of one chunk: products[s][t] = B[s] C[t], and B with the state as
// lanes, [state / 32][s][32].
struct Scan2Chunk {
  float *products = nullptr, *b = nullptr;
};

class Scan2Chunks {
 public:
  Scan2Chunks(const Scan2Op& op, const Scan2Sizes& sizes, size_t panels)
      : groups_(op.groups), size_((1 + sizes.blocks) * kScan2Tile) {
    values_.Reserve(size_ * groups_ * panels);
  }
  Scan2Chunk At(size_t panel, size_t group) {
    float* start = values_.data() + (panel * groups_ + group) * size_;
    return {start, start + kScan2Tile};
  }

 private:
  const size_t groups_, size_;
  Array<float> values_;
};

void PrepareChunk(const Scan2Op& op, const Scan2Sizes& sizes, const float* b, const float* c,
                  size_t tokens, const Scan2Chunk& chunk) {
  GemmPanel(b, 1, kPanel, tokens, c, op.state, chunk.products, false);
  for (size_t block = 0; block < sizes.blocks; ++block) {
    float* to = chunk.b + block * kScan2Tile;
    const size_t first = block * kStateBlock, count = std::min(kStateBlock, op.state - first);
    if (count < kStateBlock) std::fill_n(to, kScan2Tile, 0.0f);
    for (size_t j = 0; j < count; ++j) {
      for (size_t s = 0; s < kPanel; ++s) to[s * kStateBlock + j] = b[(first + j) * kPanel + s];
    }
  }
}

// One head, one chunk. x, out: [head][32]; c: [state][32]; dt: [32], raw.
void RunChunk(const Scan2Op& op, const Scan2Sizes& sizes, uint32_t head, const Scan2Chunk& chunk,
              size_t tokens, const float* x, const float* c, const float* raw, float* h,
              float* out) {
  alignas(64) float dt[kPanel] = {}, high[kPanel] = {}, low[kPanel] = {};
  alignas(64) float carried[kPanel], left[kPanel], all[kPanel], weights[kScan2Tile];
  TimeSteps(raw, ValuesOf(op.dt_bias)[head], op.dt_min, op.dt_max, tokens, dt);
  SumDecay(ValuesOf(op.a)[head], dt, tokens, high, low);
  const ChunkDecay decay{dt, high, low, tokens, ValuesOf(op.d)[head]};
  ChunkWeights(decay, chunk.products, weights, carried, left);
  // From before the chunk, then from within.
  for (size_t block = 0; block < sizes.blocks; ++block) {
    const size_t first = block * kStateBlock;
    GemmPanel(h + first * sizes.head, kStateBlock, 1, sizes.head, c + first * kPanel,
              std::min(kStateBlock, op.state - first), out, block > 0);
  }
  ScalePanel(carried, sizes.head, out);
  GemmPanel(x, kPanel, 1, sizes.head, weights, tokens, out, true);
  // The state at the chunk's end.
  float* scaled = scan2_scratch->x.Reserve(sizes.head * kPanel);
  std::copy_n(x, sizes.head * kPanel, scaled);
  ScalePanel(left, sizes.head, scaled);
  std::fill_n(all, kPanel, carried[tokens - 1]);
  ScalePanel(all, sizes.head * sizes.blocks, h);
  for (size_t block = 0; block < sizes.blocks; ++block) {
    GemmPanel(scaled, kPanel, 1, sizes.head, chunk.b + block * kScan2Tile, tokens,
              h + block * sizes.head * kStateBlock, true);
  }
}

absl::Status ScanChunks(const Scan2Op& op, const Layout& layout, const float* xbc, const float* dt,
                        CpuState& state, float* out) {
  const Scan2Sizes sizes(op);
  Scan2Chunks chunks(op, sizes, layout.panels);
  const auto b_of = [&](size_t panel, size_t group) {
    return xbc + (panel * sizes.columns + op.inner + group * op.state) * kPanel;
  };
  const size_t to_c = static_cast<size_t>(op.groups) * op.state * kPanel;
  for (const Layout::Segment& s : layout.segments) {
    SMELT_RETURN_IF_ERROR(
        ParallelForWorkers(s.panels * op.groups, 1, [&](uint64_t first, uint64_t last, int) {
          for (uint64_t i = first; i < last; ++i) {
            const uint32_t local = static_cast<uint32_t>(i / op.groups);
            const size_t panel = s.first_panel + local, group = i % op.groups;
            const float* b = b_of(panel, group);
            PrepareChunk(op, sizes, b, b + to_c, layout.TokensOf(s, local),
                         chunks.At(panel, group));
          }
        }));
  }
  return ParallelFor(layout.segments.size() * op.heads, 1, [&](uint64_t first, uint64_t last) {
    for (uint64_t task = first; task < last; ++task) {
      const Layout::Segment& s = layout.segments[task / op.heads];
      const uint32_t head = static_cast<uint32_t>(task % op.heads);
      const size_t group = head / (op.heads / op.groups);
      float* h = state.sequences[task / op.heads].recurrent.data() + head * sizes.head_state;
      for (uint32_t local = 0; local < s.panels; ++local) {
        const size_t panel = s.first_panel + local;
        RunChunk(op, sizes, head, chunks.At(panel, group), layout.TokensOf(s, local),
                 xbc + (panel * sizes.columns + head * sizes.head) * kPanel,
                 b_of(panel, group) + to_c, dt + (panel * op.heads + head) * kPanel, h,
                 out + (panel * op.inner + head * sizes.head) * kPanel);
      }
    }
    return absl::OkStatus();
  });
}

// B and C of some tokens, filled up to whole blocks: [token][group][B, C][blocks * 32].
const float* PadBc(const Scan2Op& op, const Scan2Sizes& sizes, size_t tokens, const float* xbc) {
  const size_t row = sizes.blocks * kStateBlock;
  float* padded = scan2_scratch->rows.Reserve(tokens * op.groups * 2 * row);
  float* to = padded;
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t group = 0; group < op.groups; ++group) {
      const float* b = xbc + t * sizes.columns + op.inner + group * op.state;
      for (const float* from : {b, b + static_cast<size_t>(op.groups) * op.state}) {
        std::fill(std::copy_n(from, op.state, to), to + row, 0.0f);
        to += row;
      }
    }
  }
  return padded;
}

absl::Status ScanTokens(const Scan2Op& op, const Layout& layout, const float* xbc, const float* dt,
                        CpuState& state, float* out) {
  const Scan2Sizes sizes(op);
  const float* bc = PadBc(op, sizes, layout.tokens, xbc);
  const size_t row = sizes.blocks * kStateBlock;
  return ParallelForWorkers(
      layout.segments.size() * op.heads, 4, [&](uint64_t first, uint64_t last, int) {
        for (uint64_t task = first; task < last; ++task) {
          const Layout::Segment& s = layout.segments[task / op.heads];
          const uint32_t head = static_cast<uint32_t>(task % op.heads);
          const size_t group = head / (op.heads / op.groups);
          float steps[kPanel], decays[kPanel];
          const double a = ValuesOf(op.a)[head];
          for (size_t t = 0; t < s.tokens; ++t) {
            TimeSteps(dt + (s.first_panel + t) * op.heads + head, ValuesOf(op.dt_bias)[head],
                      op.dt_min, op.dt_max, 1, steps + t);
            decays[t] = static_cast<float>(std::exp(a * steps[t]));
          }
          const float* b = bc + (s.first_panel * op.groups + group) * 2 * row;
          RunScan2(
              {.x = xbc + s.first_panel * sizes.columns + head * sizes.head,
               .b = b,
               .c = b + row,
               .x_stride = sizes.columns,
               .bc_stride = 2 * row * op.groups,
               .out_stride = op.inner,
               .dt = steps,
               .decay = decays,
               .d = ValuesOf(op.d)[head],
               .h = state.sequences[task / op.heads].recurrent.data() + head * sizes.head_state,
               .out = out + s.first_panel * op.inner + head * sizes.head,
               .tokens = s.tokens,
               .head_size = sizes.head,
               .blocks = sizes.blocks});
        }
      });
}

}  // namespace

absl::Status Scan2(const Scan2Op& op, const Layout& layout, const float* xbc, const float* dt,
                   CpuState& state, float* out) {
  state.Prepare(&SequenceState::recurrent, op.heads * Scan2Sizes(op).head_state);
  return layout.lanes == 1 ? ScanTokens(op, layout, xbc, dt, state, out)
                           : ScanChunks(op, layout, xbc, dt, state, out);
}

}  // namespace smelt::cpu
