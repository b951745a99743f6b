#include "infer/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "infer/cpu/attention_kernel.h"
#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

constexpr uint64_t kKeyBlock = 384;  // scores of a block stay in the first caches

struct AttentionScratch {
  Array<float> rows, keys, values, scores, maximum, sum, partial;
};
const PerThread<AttentionScratch> attention_scratch;

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

// What a query at `position` sees.
struct Seen {
  uint64_t begin, end;
};
Seen KeysSeen(const AttentionOp& op, uint64_t position, uint64_t positions) {
  return {op.window != 0 && position + 1 > op.window ? position + 1 - op.window : 0,
          op.causal ? position + 1 : positions};
}

// Rows of keys and values of one head; of a thread one at a time, because f16 is widened in its
// scratch memory.
struct HeadRows {
  HeadRows(const AttentionOp& op, const SequenceState& cache, uint32_t kv_head, uint64_t first,
           uint64_t count)
      : keys(cache.keys.Read(kv_head, first, count, attention_scratch->keys)),
        values(op.values_in_keys
                   ? keys + op.value_first
                   : cache.values.Read(kv_head, first, count, attention_scratch->values)),
        key_stride(op.key_size),
        value_stride(op.values_in_keys ? op.key_size : op.value_size) {}
  const float *keys, *values;
  size_t key_stride, value_stride;
};

// 32 queries of one head: scores as a product with rows of keys, values as a product with columns
// of values.
void AttendPanel(const AttentionOp& op, const SequenceState& cache, uint32_t kv_head,
                 const Seen& seen, uint64_t first_query, const float* q, const float* sink,
                 float* out) {
  alignas(64) float maximum[kPanel], sum[kPanel], correction[kPanel];
  std::fill_n(maximum, kPanel, sink != nullptr ? *sink : kMasked);
  std::fill_n(sum, kPanel, sink != nullptr ? 1.0f : 0.0f);
  float* scores = attention_scratch->scores.Reserve(kKeyBlock * kPanel);
  SoftmaxArgs args{.scale = op.scale,
                   .softcap = op.softcap,
                   .first_query = first_query,
                   .window = op.window,
                   .causal = op.causal};
  for (uint64_t key = seen.begin; key < seen.end; key += kKeyBlock) {
    const uint64_t keys = std::min(kKeyBlock, seen.end - key);
    const HeadRows rows(op, cache, kv_head, key, keys);
    GemmPanel(rows.keys, rows.key_stride, 1, keys, q, op.key_size, scores, false);
    args.first_key = key;
    SoftmaxBlock(args, keys, scores, maximum, sum, correction);
    const bool first = key == seen.begin;
    if (!first) ScalePanel(correction, op.value_size, out);
    GemmPanel(rows.values, 1, rows.value_stride, op.value_size, scores, keys, out, !first);
  }
  for (float& s : sum) s = 1.0f / s;
  ScalePanel(sum, op.value_size, out);
}

absl::Status AttendPanels(const AttentionOp& op, const Layout& layout, const float* q,
                          const CpuState& state, float* out) {
  std::vector<uint32_t> segment_of_panel(layout.panels);
  for (size_t i = 0; i < layout.segments.size(); ++i) {
    const Layout::Segment& s = layout.segments[i];
    std::fill_n(segment_of_panel.begin() + s.first_panel, s.panels, static_cast<uint32_t>(i));
  }
  const float* sinks = ValuesOf(op.sinks);
  return ParallelFor(
      static_cast<uint64_t>(layout.panels) * op.heads, 1, [&](uint64_t first, uint64_t last) {
        for (uint64_t task = first; task < last; ++task) {
          const uint32_t panel = static_cast<uint32_t>(task / op.heads),
                         head = static_cast<uint32_t>(task % op.heads);
          const Layout::Segment& s = layout.segments[segment_of_panel[panel]];
          const SequenceState& cache = state.sequences[segment_of_panel[panel]];
          const uint64_t local = static_cast<uint64_t>(panel - s.first_panel) * kPanel;
          const uint64_t query = s.position + local;
          const uint64_t last_query = s.position + std::min<uint64_t>(s.tokens, local + kPanel) - 1;
          const Seen seen{KeysSeen(op, query, cache.positions).begin,
                          KeysSeen(op, last_query, cache.positions).end};
          const size_t row = task * kPanel;
          AttendPanel(op, cache, head / (op.heads / op.kv_heads), seen, query,
                      q + row * op.key_size, sinks == nullptr ? nullptr : sinks + head,
                      out + row * op.value_size);
        }
        return absl::OkStatus();
      });
}

// Few queries, each a row. The queries of one key head look at a chunk of its keys together; what
// chunks give is put together in their order. Everything is cut by sizes alone, so that the result
// is the same for any number of threads.
class FewQueries {
 public:
  FewQueries(const AttentionOp& op, const Layout& layout, const float* q, const CpuState& state,
             float* out)
      : op_(op), layout_(layout), q_(q), state_(state), out_(out) {
    for (size_t i = 0; i < layout.segments.size(); ++i) AddTasks(i);
  }

  absl::Status Run() {
    const size_t rows = Rows();
    AttentionScratch& scratch = *attention_scratch;
    maximum_ = scratch.maximum.Reserve(rows * chunks_);
    sum_ = scratch.sum.Reserve(rows * chunks_);
    partial_ = scratch.partial.Reserve(rows * chunks_ * op_.value_size);
    const uint64_t grain = std::max<uint64_t>(1, kLeastWork * tasks_.size() / (work_ + 1));
    SMELT_RETURN_IF_ERROR(
        ParallelForWorkers(tasks_.size(), grain, [&](uint64_t first, uint64_t last, int) {
          for (uint64_t i = first; i < last; ++i) Attend(tasks_[i]);
        }));
    return ParallelForWorkers(rows, std::max<uint64_t>(1, kLeastWork / (chunks_ * op_.value_size)),
                              [&](uint64_t first, uint64_t last, int) {
                                for (uint64_t row = first; row < last; ++row) Merge(row);
                              });
  }

 private:
  // In multiplications and additions: what makes a chunk, and for what no thread is woken.
  static constexpr uint64_t kChunkWork = 1 << 18, kLeastWork = 1 << 15;
  static constexpr uint32_t kMostRows = 16;             // of a task: they stay in the first caches
  static constexpr uint64_t kMostPartial = 1ull << 20;  // values

  struct Task {
    uint32_t segment, token, tokens;  // of the segment
    uint32_t head, heads;
    uint64_t chunk, first, end;  // keys
  };

  size_t Rows() const { return static_cast<size_t>(layout_.panels) * op_.heads; }

  void AddTasks(size_t segment) {
    const Layout::Segment& s = layout_.segments[segment];
    // Consecutive tokens see nearly the same keys.
    const uint32_t group = op_.heads / op_.kv_heads, most_heads = std::min(group, kMostRows),
                   most_tokens = std::min(kMostRows / most_heads, s.tokens);
    const uint64_t positions = state_.sequences[segment].positions;
    const uint64_t begin = KeysSeen(op_, s.position, positions).begin,
                   end = KeysSeen(op_, s.position + s.tokens - 1, positions).end;
    const uint64_t key_work = uint64_t{op_.key_size} + op_.value_size;
    const uint64_t chunks =
        std::max<uint64_t>(1, kMostPartial / (Rows() * (uint64_t{op_.value_size} + 2)));
    const uint64_t keys =
        std::max(kChunkWork / (most_tokens * most_heads * key_work), (end - begin) / chunks + 1);
    const uint64_t chunk = (keys + kKeysAtOnce - 1) / kKeysAtOnce * kKeysAtOnce;
    const uint64_t first_chunk = begin / chunk;
    for (uint64_t c = first_chunk; c * chunk < end; ++c) {
      for (uint32_t head = 0; head < op_.heads;) {
        const uint32_t heads = std::min(most_heads, group - head % group);
        for (uint32_t t = 0; t < s.tokens; t += most_tokens) {
          tasks_.push_back({static_cast<uint32_t>(segment), t, std::min(most_tokens, s.tokens - t),
                            head, heads, c - first_chunk, c * chunk, (c + 1) * chunk});
        }
        head += heads;
      }
      chunks_ = std::max(chunks_, c - first_chunk + 1);
    }
    work_ += (end - begin) * s.tokens * op_.heads * key_work;
  }

  // Weighted values of a chunk: not in `out`, which may be the queries' buffer.
  float* Sums(uint64_t chunk, size_t row) const {
    return partial_ + (chunk * Rows() + row) * op_.value_size;
  }

  // Keys by keys, so that all tokens find them in the cache.
  void Attend(const Task& task) const {
    const Layout::Segment& s = layout_.segments[task.segment];
    const SequenceState& cache = state_.sequences[task.segment];
    const uint32_t kv_head = task.head / (op_.heads / op_.kv_heads);
    const RowAttention attention{.heads = task.heads,
                                 .key_size = op_.key_size,
                                 .value_size = op_.value_size,
                                 .scale = op_.scale,
                                 .softcap = op_.softcap};
    const auto row = [&](uint32_t t) {
      return (s.first_panel + task.token + t) * static_cast<size_t>(op_.heads) + task.head;
    };
    for (uint32_t t = 0; t < task.tokens; ++t) {
      std::fill_n(maximum_ + task.chunk * Rows() + row(t), task.heads, kMasked);
      std::fill_n(sum_ + task.chunk * Rows() + row(t), task.heads, 0.0f);
      std::fill_n(Sums(task.chunk, row(t)), task.heads * op_.value_size, 0.0f);
    }
    const auto seen = [&](uint32_t t) {
      return KeysSeen(op_, s.position + task.token + t, cache.positions);
    };
    const uint64_t begin = std::max(task.first, seen(0).begin),
                   end = std::min(task.end, seen(task.tokens - 1).end);
    for (uint64_t key = begin; key < end; key += kKeysAtOnce) {
      const uint64_t block_end = std::min(key + kKeysAtOnce, end);
      const HeadRows rows(op_, cache, kv_head, key, block_end - key);
      for (uint32_t t = 0; t < task.tokens; ++t) {
        const uint64_t first = std::max(key, seen(t).begin),
                       last = std::min(block_end, seen(t).end);
        if (first >= last) continue;
        AttendKeys(attention, q_ + row(t) * op_.key_size,
                   rows.keys + (first - key) * rows.key_stride, rows.key_stride,
                   rows.values + (first - key) * rows.value_stride, rows.value_stride, last - first,
                   maximum_ + task.chunk * Rows() + row(t), sum_ + task.chunk * Rows() + row(t),
                   Sums(task.chunk, row(t)));
      }
    }
  }

  void Merge(size_t row) const {
    const float* sinks = ValuesOf(op_.sinks);
    const size_t head = row % op_.heads;
    float maximum = sinks != nullptr ? sinks[head] : kMasked;
    for (uint64_t c = 0; c < chunks_; ++c) maximum = std::max(maximum, maximum_[c * Rows() + row]);
    float sum = sinks != nullptr ? std::exp(sinks[head] - maximum) : 0.0f;
    for (uint64_t c = 0; c < chunks_; ++c) {
      const size_t at = c * Rows() + row;
      maximum_[at] = std::exp(maximum_[at] - maximum);  // the weight of its sums
      sum += maximum_[at] * sum_[at];
    }
    float* const out = out_ + row * op_.value_size;
    std::fill_n(out, op_.value_size, 0.0f);
    for (uint64_t c = 0; c < chunks_; ++c)
      AddScaled(Sums(c, row), maximum_[c * Rows() + row] / sum, op_.value_size, out);
  }

  const AttentionOp& op_;
  const Layout& layout_;
  const float* const q_;
  const CpuState& state_;
  float* const out_;
  std::vector<Task> tasks_;
  uint64_t chunks_ = 1, work_ = 0;
  float *maximum_ = nullptr, *sum_ = nullptr, *partial_ = nullptr;  // [chunk][token][head]
};

}  // namespace

absl::Status AppendRows(const Layout& layout, const float* in, CpuState& state,
                        HeadCache SequenceState::*cache) {
  return ParallelFor(layout.segments.size(), 1, [&](uint64_t first, uint64_t last) {
    for (uint64_t i = first; i < last; ++i) {
      const Layout::Segment& s = layout.segments[i];
      HeadCache& to = state.sequences[i].*cache;
      for (uint32_t p = 0; p < s.panels; ++p) {
        const uint64_t position = state.sequences[i].positions + p * layout.lanes;
        for (uint32_t head = 0; head < to.heads(); ++head) {
          const float* rows =
              in + ((s.first_panel + p) * size_t{to.heads()} + head) * to.size() * layout.lanes;
          const uint32_t tokens = layout.TokensOf(s, p);
          if (layout.lanes != 1) {
            float* turned = attention_scratch->rows.Reserve(size_t{kPanel} * to.size());
            PanelToRows(rows, tokens, to.size(), turned);
            rows = turned;
          }
          SMELT_RETURN_IF_ERROR(to.Write(head, position, tokens, rows));
        }
      }
    }
    return absl::OkStatus();
  });
}

absl::Status Attend(const AttentionOp& op, const Layout& layout, const float* q, const float* k,
                    const float* v, CpuState& state, float* out) {
  if (op.own_keys) {
    for (size_t i = 0; i < layout.segments.size(); ++i) {
      SMELT_RETURN_IF_ERROR(state.sequences[i].Extend(layout.segments[i].tokens, op.kv_heads,
                                                      op.key_size,
                                                      op.values_in_keys ? 0 : op.value_size));
    }
    SMELT_RETURN_IF_ERROR(AppendRows(layout, k, state, &SequenceState::keys));
    if (!op.values_in_keys)
      SMELT_RETURN_IF_ERROR(AppendRows(layout, v, state, &SequenceState::values));
    for (size_t i = 0; i < layout.segments.size(); ++i)
      state.sequences[i].positions += layout.segments[i].tokens;
  }
  if (layout.lanes != 1) return AttendPanels(op, layout, q, state, out);
  return FewQueries(op, layout, q, state, out).Run();
}

}  // namespace smelt::cpu
