#include "infer/cpu/attention.h"

#include <algorithm>

#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

constexpr uint64_t kKeyBlock = 384;  // scores of a block stay in the first caches

const PerThread<Array<float>> score_scratch;

// [feature][32] to rows of `features`, for the first `tokens` lanes.
void PanelToRows(const float* panel, uint32_t tokens, size_t features, float* rows) {
  constexpr size_t kBlock = 16;
  for (size_t f = 0; f < features; f += kBlock) {
    const size_t end = std::min(features, f + kBlock);
    for (uint32_t t = 0; t < tokens; ++t) {
      for (size_t j = f; j < end; ++j) rows[t * features + j] = panel[j * kPanel + t];
    }
  }
}

struct Keys {
  const float* keys;  // of one kv head, key_stride floats from position to position
  const float* values;
  size_t key_stride, value_stride;
  uint64_t begin, end;  // positions to look at
};

// 32 queries of one head: scores as a product with rows of keys, values as a product with columns
// of values.
void AttendPanel(const AttentionOp& op, const Keys& cache, uint64_t first_query, const float* q,
                 const float* sink, float* out) {
  alignas(64) float maximum[kPanel], sum[kPanel], correction[kPanel];
  std::fill_n(maximum, kPanel, sink != nullptr ? *sink : -1e30f);
  std::fill_n(sum, kPanel, sink != nullptr ? 1.0f : 0.0f);
  float* scores = score_scratch->Reserve(kKeyBlock * kPanel);
  SoftmaxArgs args{.scale = op.scale,
                   .softcap = op.softcap,
                   .first_query = first_query,
                   .window = op.window,
                   .causal = op.causal};
  for (uint64_t key = cache.begin; key < cache.end; key += kKeyBlock) {
    const uint64_t keys = std::min(kKeyBlock, cache.end - key);
    GemmPanel(cache.keys + key * cache.key_stride, cache.key_stride, 1, keys, q, op.key_size,
              scores, false);
    args.first_key = key;
    SoftmaxBlock(args, keys, scores, maximum, sum, correction);
    const bool first = key == cache.begin;
    if (!first) ScalePanel(correction, op.value_size, out);
    GemmPanel(cache.values + key * cache.value_stride, 1, cache.value_stride, op.value_size, scores,
              keys, out, !first);
  }
  for (float& s : sum) s = 1.0f / s;
  ScalePanel(sum, op.value_size, out);
}

// One query of one head.
void AttendRow(const AttentionOp& op, const Keys& cache, const float* q, const float* sink,
               float* out) {
  const uint64_t count = cache.end - cache.begin;
  float* scores = score_scratch->Reserve(count);
  for (uint64_t i = 0; i < count; ++i)
    scores[i] = DotF32(q, cache.keys + (cache.begin + i) * cache.key_stride, op.key_size);
  const float sum = SoftmaxRow(scores, count, op.scale, op.softcap, sink != nullptr,
                               sink != nullptr ? *sink : 0.0f);
  std::fill_n(out, op.value_size, 0.0f);
  for (uint64_t i = 0; i < count; ++i)
    AddScaled(cache.values + (cache.begin + i) * cache.value_stride, scores[i] / sum, op.value_size,
              out);
}

}  // namespace

absl::Status AppendRows(const Layout& layout, const float* in, size_t features, CpuState& state,
                        Array<float> SequenceState::*cache) {
  return ParallelForWorkers(layout.segments.size(), 1, [&](uint64_t first, uint64_t last, int) {
    for (uint64_t i = first; i < last; ++i) {
      const Layout::Segment& s = layout.segments[i];
      SequenceState& to = state.sequences[i];
      for (uint32_t p = 0; p < s.panels; ++p) {
        const float* panel = in + (s.first_panel + p) * features * layout.lanes;
        float* rows = (to.*cache).data() + (to.positions + p * layout.lanes) * features;
        if (layout.lanes == 1) {
          std::memcpy(rows, panel, features * sizeof(float));
        } else {
          PanelToRows(panel, std::min(kPanel, s.tokens - p * kPanel), features, rows);
        }
      }
    }
  });
}

absl::Status Attend(const AttentionOp& op, const Layout& layout, const float* q, const float* k,
                    const float* v, CpuState& state, float* out) {
  const size_t key_columns = static_cast<size_t>(op.kv_heads) * op.key_size;
  const size_t value_columns =
      op.values_in_keys ? 0 : static_cast<size_t>(op.kv_heads) * op.value_size;
  std::vector<uint32_t> segment_of_panel(layout.panels);
  for (size_t i = 0; i < layout.segments.size(); ++i) {
    const Layout::Segment& s = layout.segments[i];
    if (op.own_keys)
      SMELT_RETURN_IF_ERROR(state.sequences[i].Extend(s.tokens, key_columns, value_columns));
    std::fill_n(segment_of_panel.begin() + s.first_panel, s.panels, static_cast<uint32_t>(i));
  }
  if (op.own_keys) {
    SMELT_RETURN_IF_ERROR(AppendRows(layout, k, key_columns, state, &SequenceState::keys));
    if (!op.values_in_keys)
      SMELT_RETURN_IF_ERROR(AppendRows(layout, v, value_columns, state, &SequenceState::values));
    for (size_t i = 0; i < layout.segments.size(); ++i)
      state.sequences[i].positions += layout.segments[i].tokens;
  }

  const float* sinks = ValuesOf(op.sinks);
  return ParallelFor(
      static_cast<uint64_t>(layout.panels) * op.heads, 1, [&](uint64_t first, uint64_t last) {
        for (uint64_t task = first; task < last; ++task) {
          const uint32_t panel = static_cast<uint32_t>(task / op.heads),
                         head = static_cast<uint32_t>(task % op.heads);
          const Layout::Segment& s = layout.segments[segment_of_panel[panel]];
          const SequenceState& cache = state.sequences[segment_of_panel[panel]];
          const uint64_t local = static_cast<uint64_t>(panel - s.first_panel) * layout.lanes;
          const uint64_t query = s.position + local;
          const uint64_t last_query =
              s.position + std::min<uint64_t>(s.tokens, local + layout.lanes) - 1;
          const uint32_t kv_head = head / (op.heads / op.kv_heads);
          const float* head_keys = cache.keys.data() + kv_head * op.key_size;
          Keys keys{head_keys,
                    op.values_in_keys ? head_keys + op.value_first
                                      : cache.values.data() + kv_head * op.value_size,
                    key_columns,
                    op.values_in_keys ? key_columns : value_columns,
                    0,
                    op.causal ? last_query + 1 : cache.positions};
          if (op.window != 0 && query + 1 > op.window) keys.begin = query + 1 - op.window;
          const float* qh =
              q + (static_cast<size_t>(panel) * op.heads + head) * op.key_size * layout.lanes;
          float* oh =
              out + (static_cast<size_t>(panel) * op.heads + head) * op.value_size * layout.lanes;
          const float* sink = sinks == nullptr ? nullptr : sinks + head;
          if (layout.lanes == 1) {
            AttendRow(op, keys, qh, sink, oh);
          } else {
            AttendPanel(op, keys, query, qh, sink, oh);
          }
        }
        return absl::OkStatus();
      });
}

}  // namespace smelt::cpu
