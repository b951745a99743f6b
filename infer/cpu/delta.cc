// The gated delta rule (Yang, Kautz and Hatamizadeh, "Gated Delta Networks", 2024). A prompt goes
// through in chunks of 32 tokens (one panel), in matrix form: what each token changes in the state
// depends on what the tokens before it changed, which within a chunk is the solution of a
// triangular system of 32 unknowns; its inverse is made once a chunk and head, and all else are
// products that run at the speed of a matrix multiplication. Few tokens go one by one.
#include "infer/cpu/delta.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "infer/cpu/delta_kernel.h"
#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/scan_kernel.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

static_assert(kPanel == 32, "chunks are panels");
constexpr size_t kTile = kPanel * kPanel;
constexpr uint32_t kWave = 8;  // panels of which the shared products are held
constexpr float kNoLimit = std::numeric_limits<float>::infinity();

struct DeltaScratch {
  Array<float> change, solved, rows;
};
const PerThread<DeltaScratch> delta_scratch;

struct Sizes {
  explicit Sizes(const DeltaOp& op)
      : keys(static_cast<size_t>(op.key_heads) * op.key_size),
        values(static_cast<size_t>(op.value_heads) * op.value_size),
        columns(2 * keys + values),
        blocks((op.key_size + kPanel - 1) / kPanel),
        head_state(blocks * op.value_size * kPanel) {}
  size_t keys, values;  ///< of all heads
  size_t columns;       ///< features of qkv
  size_t blocks;        ///< of 32 keys, of a head's state
  size_t head_state;    ///< floats
};

uint32_t KeyHeadOf(const DeltaOp& op, uint32_t value_head) {
  return op.alternating ? value_head % op.key_heads : value_head / (op.value_heads / op.key_heads);
}

// What all value heads of a key head share of one chunk: products k[s] k[t] and k[s] q[t], and k
// with keys as lanes, [key_size / 32][s][32].
struct Chunk {
  float *kk = nullptr, *kq = nullptr, *k = nullptr;
};

class Chunks {
 public:
  Chunks(const DeltaOp& op, const Sizes& sizes)
      : heads_(op.key_heads), size_((2 + sizes.blocks) * kTile), values_(size_ * heads_ * kWave) {}
  Chunk At(uint32_t place, uint32_t head) {
    float* start = values_.data() + (static_cast<size_t>(place) * heads_ + head) * size_;
    return {start, start + kTile, start + 2 * kTile};
  }

 private:
  const uint32_t heads_;
  const size_t size_;
  Array<float> values_;
};

void PrepareChunk(const DeltaOp& op, const Sizes& sizes, size_t tokens, float* q, float* k,
                  const Chunk& chunk) {
  const float scale = 1 / std::sqrt(static_cast<float>(op.key_size));
  ToLength(op.key_size, op.epsilon, scale, q);
  ToLength(op.key_size, op.epsilon, 1, k);
  GemmPanel(k, 1, kPanel, tokens, k, op.key_size, chunk.kk, false);
  GemmPanel(k, 1, kPanel, tokens, q, op.key_size, chunk.kq, false);
  for (size_t block = 0; block < sizes.blocks; ++block) {
    float* to = chunk.k + block * kTile;
    const size_t first = block * kPanel, count = std::min<size_t>(kPanel, op.key_size - first);
    if (count < kPanel) std::fill_n(to, kTile, 0.0f);
    for (size_t j = 0; j < count; ++j) {
      for (size_t s = 0; s < tokens; ++s) to[s * kPanel + j] = k[(first + j) * kPanel + s];
    }
  }
}

// out[value][token] = S^T x for x [key][32].
void ReadState(const DeltaOp& op, const Sizes& sizes, const float* state, const float* x,
               float* out) {
  for (size_t block = 0; block < sizes.blocks; ++block) {
    const size_t first = block * kPanel;
    GemmPanel(state + first * op.value_size, kPanel, 1, op.value_size, x + first * kPanel,
              std::min<size_t>(kPanel, op.key_size - first), out, block > 0);
  }
}

// One value head, one chunk. q, k: [key][32]; v, out: [value][32]; beta, alpha: [32], raw.
void RunChunk(const DeltaOp& op, const Sizes& sizes, uint32_t head, const Chunk& chunk,
              size_t tokens, const float* q, const float* k, const float* v, const float* beta,
              const float* alpha, float* state, float* out) {
  alignas(64) float high[kPanel] = {}, low[kPanel] = {}, steps[kPanel] = {}, all[kPanel];
  alignas(64) DeltaWeights weights;
  TimeSteps(alpha, ValuesOf(op.dt_bias)[head], 0, kNoLimit, tokens, steps);
  SumDecay(ValuesOf(op.a)[head], steps, tokens, high, low);
  MakeDeltaWeights({beta, high, low, tokens}, chunk.kk, chunk.kq, weights);
  // What each token changes: its value less what the state held for its key.
  float* change = delta_scratch->change.Reserve(op.value_size * kPanel);
  float* solved = delta_scratch->solved.Reserve(op.value_size * kPanel);
  ReadState(op, sizes, state, k, change);
  DeltaResidue(weights, v, op.value_size, change);
  GemmPanel(change, kPanel, 1, op.value_size, weights.solve, tokens, solved, false);
  // From before the chunk, then from within.
  ReadState(op, sizes, state, q, out);
  ScalePanel(weights.carried, op.value_size, out);
  GemmPanel(solved, kPanel, 1, op.value_size, weights.read, tokens, out, true);
  // The state at the chunk's end.
  ScalePanel(weights.left, op.value_size, solved);
  std::fill_n(all, kPanel, weights.carried[tokens - 1]);
  ScalePanel(all, op.value_size * sizes.blocks, state);
  for (size_t block = 0; block < sizes.blocks; ++block) {
    GemmPanel(solved, kPanel, 1, op.value_size, chunk.k + block * kTile, tokens,
              state + block * op.value_size * kPanel, true);
  }
}

absl::Status RunChunks(const DeltaOp& op, const Layout& layout, float* qkv, const float* beta,
                       const float* alpha, CpuState& state, float* out) {
  const Sizes sizes(op);
  Chunks chunks(op, sizes);
  const auto q_of = [&](size_t panel, uint32_t head) {
    return qkv + (panel * sizes.columns + static_cast<size_t>(head) * op.key_size) * kPanel;
  };
  const size_t to_k = sizes.keys * kPanel;
  for (size_t i = 0; i < layout.segments.size(); ++i) {
    const Layout::Segment& s = layout.segments[i];
    float* states = state.sequences[i].recurrent.data();
    for (uint32_t first = 0; first < s.panels; first += kWave) {
      const uint32_t count = std::min(kWave, s.panels - first);
      SMELT_RETURN_IF_ERROR(ParallelForWorkers(
          static_cast<uint64_t>(count) * op.key_heads, 1, [&](uint64_t begin, uint64_t end, int) {
            for (uint64_t task = begin; task < end; ++task) {
              const uint32_t place = static_cast<uint32_t>(task / op.key_heads),
                             head = static_cast<uint32_t>(task % op.key_heads);
              float* q = q_of(s.first_panel + first + place, head);
              PrepareChunk(op, sizes, layout.TokensOf(s, first + place), q, q + to_k,
                           chunks.At(place, head));
            }
          }));
      SMELT_RETURN_IF_ERROR(
          ParallelForWorkers(op.value_heads, 1, [&](uint64_t begin, uint64_t end, int) {
            for (uint64_t task = begin; task < end; ++task) {
              const uint32_t head = static_cast<uint32_t>(task), from = KeyHeadOf(op, head);
              const size_t value = static_cast<size_t>(head) * op.value_size;
              for (uint32_t place = 0; place < count; ++place) {
                const size_t panel = s.first_panel + first + place;
                const float* q = q_of(panel, from);
                const size_t gate = (panel * op.value_heads + head) * kPanel;
                RunChunk(op, sizes, head, chunks.At(place, from), layout.TokensOf(s, first + place),
                         q, q + to_k,
                         qkv + (panel * sizes.columns + 2 * sizes.keys + value) * kPanel,
                         beta + gate, alpha + gate, states + head * sizes.head_state,
                         out + (panel * sizes.values + value) * kPanel);
              }
            }
          }));
    }
  }
  return absl::OkStatus();
}

// q and k of some tokens, of unit length and filled up to whole blocks:
// [token][key head][q, k][blocks * 32].
const float* UnitRows(const DeltaOp& op, const Sizes& sizes, size_t tokens, const float* qkv) {
  const size_t row = sizes.blocks * kPanel;
  float* rows = delta_scratch->rows.Reserve(tokens * op.key_heads * 2 * row);
  float* to = rows;
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t head = 0; head < op.key_heads; ++head) {
      const float* q = qkv + t * sizes.columns + head * op.key_size;
      for (const float* from : {q, q + sizes.keys}) {
        double square = op.epsilon;
        for (size_t j = 0; j < op.key_size; ++j) square += static_cast<double>(from[j]) * from[j];
        if (from == q) square *= op.key_size;
        const float factor = static_cast<float>(1 / std::sqrt(square));
        for (size_t j = 0; j < row; ++j) to[j] = j < op.key_size ? from[j] * factor : 0.0f;
        to += row;
      }
    }
  }
  return rows;
}

absl::Status RunTokens(const DeltaOp& op, const Layout& layout, const float* qkv, const float* beta,
                       const float* alpha, CpuState& state, float* out) {
  const Sizes sizes(op);
  const size_t row = sizes.blocks * kPanel;
  const float* rows = UnitRows(op, sizes, layout.tokens, qkv);
  return ParallelForWorkers(
      layout.segments.size() * op.value_heads, 2, [&](uint64_t first, uint64_t last, int) {
        for (uint64_t task = first; task < last; ++task) {
          const Layout::Segment& s = layout.segments[task / op.value_heads];
          const uint32_t head = static_cast<uint32_t>(task % op.value_heads);
          float betas[kPanel], decays[kPanel];
          for (size_t t = 0; t < s.tokens; ++t) {
            const size_t gate = (s.first_panel + t) * op.value_heads + head;
            float step = 0;
            TimeSteps(alpha + gate, ValuesOf(op.dt_bias)[head], 0, kNoLimit, 1, &step);
            decays[t] =
                static_cast<float>(std::exp(static_cast<double>(ValuesOf(op.a)[head]) * step));
            betas[t] = 1 / (1 + std::exp(-beta[gate]));
          }
          const float* q = rows + (s.first_panel * op.key_heads + KeyHeadOf(op, head)) * 2 * row;
          RunDelta({.q = q,
                    .k = q + row,
                    .v = qkv + s.first_panel * sizes.columns + 2 * sizes.keys +
                         static_cast<size_t>(head) * op.value_size,
                    .qk_stride = 2 * row * op.key_heads,
                    .v_stride = sizes.columns,
                    .out_stride = sizes.values,
                    .beta = betas,
                    .decay = decays,
                    .state = state.sequences[task / op.value_heads].recurrent.data() +
                             head * sizes.head_state,
                    .out = out + s.first_panel * sizes.values +
                           static_cast<size_t>(head) * op.value_size,
                    .tokens = s.tokens,
                    .value_size = op.value_size,
                    .blocks = sizes.blocks});
        }
      });
}

}  // namespace

absl::Status Delta(const DeltaOp& op, const Layout& layout, float* qkv, const float* beta,
                   const float* alpha, CpuState& state, float* out) {
  state.Prepare(&SequenceState::recurrent, op.value_heads * Sizes(op).head_state);
  SMELT_RETURN_IF_ERROR(layout.lanes == 1 ? RunTokens(op, layout, qkv, beta, alpha, state, out)
                                          : RunChunks(op, layout, qkv, beta, alpha, state, out));
  state.SetStarted();
  return absl::OkStatus();
}

}  // namespace smelt::cpu
