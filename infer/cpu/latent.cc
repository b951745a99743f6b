#include "infer/cpu/latent.h"

#include <algorithm>
#include <vector>

#include "infer/cpu/attention.h"
#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/head_matmul.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/watch.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

constexpr uint64_t kLatentBlock = 384;

struct LatentScratch {
  Array<float> rows, cached, key_weights, value_weights, keys, values, scores, running, latent;
};
const PerThread<LatentScratch> latent_scratch;

size_t Blocks(size_t features) { return (features + kPanel - 1) / kPanel; }

// Fewer operations in making keys and values than in queries and sums of latent vectors.
bool MakesKeys(const LatentAttentionOp& op, const Layout& layout, const Layout::Segment& s) {
  if (layout.lanes == 1 || 2 * op.rank <= op.plain_size + op.value_size) return false;
  const uint64_t made = op.plain_size + op.value_size, queries = s.panels * kPanel;
  return queries * (2 * op.rank - made) > op.rank * made;
}

// Matrices of one head with outputs as lanes: [output / 32][rank][32], filled up with zeros.
absl::Status PackWeights(const LatentAttentionOp& op, uint64_t head, float* keys, float* values) {
  std::fill_n(keys, Blocks(op.plain_size) * op.rank * kPanel, 0.0f);
  std::fill_n(values, Blocks(op.value_size) * op.rank * kPanel, 0.0f);
  const size_t most = static_cast<size_t>(op.rank) * std::max(op.plain_size, op.value_size);
  float* rows = latent_scratch->rows.Reserve(most);
  const auto place = [&](float* to, size_t output, size_t r) -> float& {
    return to[(output / kPanel * op.rank + r) * kPanel + output % kPanel];
  };
  SMELT_RETURN_IF_ERROR(AsCpu(op.k_b.weight)
                            .Decode(head * op.k_b.expert_rows + op.k_b.first_row, op.rank, 0,
                                    op.plain_size, rows, op.plain_size));
  for (size_t r = 0; r < op.rank; ++r) {
    for (size_t i = 0; i < op.plain_size; ++i) place(keys, i, r) = rows[r * op.plain_size + i];
  }
  SMELT_RETURN_IF_ERROR(AsCpu(op.v_b.weight)
                            .Decode(head * op.v_b.expert_rows + op.v_b.first_row, op.value_size, 0,
                                    op.rank, rows, op.rank));
  for (size_t i = 0; i < op.value_size; ++i) {
    for (size_t r = 0; r < op.rank; ++r) place(values, i, r) = rows[i * op.rank + r];
  }
  return absl::OkStatus();
}

// One head of one sequence: blocks of keys are made once and looked at by all panels of queries.
class HeadOfMany {
 public:
  HeadOfMany(const LatentAttentionOp& op, const Layout::Segment& s, const SequenceState& cache,
             uint64_t head, const float* q, float* out)
      : op_(op), segment_(s), cache_(cache), head_(head), q_(q), out_(out) {}

  /// Also sums up latent vectors as values are: their squares, by element, go there.
  void WatchSums(double* squares) { squares_ = squares; }

  absl::Status Run() {
    const size_t plain = Blocks(op_.plain_size), value = Blocks(op_.value_size);
    key_weights_ = latent_scratch->key_weights.Reserve(plain * op_.rank * kPanel);
    value_weights_ = latent_scratch->value_weights.Reserve(value * op_.rank * kPanel);
    SMELT_RETURN_IF_ERROR(PackWeights(op_, head_, key_weights_, value_weights_));
    keys_ = latent_scratch->keys.Reserve(plain * kLatentBlock * kPanel);
    values_ = latent_scratch->values.Reserve(value * kLatentBlock * kPanel);
    scores_ = latent_scratch->scores.Reserve(kLatentBlock * kPanel);
    float* running = latent_scratch->running.Reserve(2ull * segment_.panels * kPanel);
    maximum_ = running, sum_ = running + static_cast<size_t>(segment_.panels) * kPanel;
    std::fill_n(maximum_, segment_.panels * kPanel, kMasked);
    std::fill_n(sum_, segment_.panels * kPanel, 0.0f);
    if (squares_ != nullptr)
      latent_ =
          latent_scratch->latent.Reserve(static_cast<size_t>(segment_.panels) * op_.rank * kPanel);
    for (uint64_t key = 0; key < cache_.positions; key += kLatentBlock) {
      const uint64_t count = std::min(kLatentBlock, cache_.positions - key);
      cached_ = cache_.keys.Read(0, key, count, latent_scratch->cached);
      MakeBlock(count);
      for (uint32_t p = 0; p < segment_.panels; ++p) AttendBlock(key, p);
    }
    for (uint32_t p = 0; p < segment_.panels; ++p) {
      float* sum = sum_ + static_cast<size_t>(p) * kPanel;
      for (size_t lane = 0; lane < kPanel; ++lane) sum[lane] = 1.0f / sum[lane];
      ScalePanel(sum, op_.value_size, Out(p));
      if (squares_ != nullptr) ScalePanel(sum, op_.rank, Latent(p));
    }
    if (squares_ != nullptr) AddSquares();
    return absl::OkStatus();
  }

 private:
  size_t Stride() const { return op_.rope_size + op_.rank; }
  float* Out(uint32_t p) const {
    const size_t panel = segment_.first_panel + p;
    return out_ + (panel * op_.heads + head_) * op_.value_size * kPanel;
  }

  float* Latent(uint32_t p) const { return latent_ + static_cast<size_t>(p) * op_.rank * kPanel; }

  // Panel after panel, the lanes that are tokens.
  void AddSquares() {
    for (uint32_t p = 0; p < segment_.panels; ++p) {
      const uint32_t tokens = std::min(kPanel, segment_.tokens - p * kPanel);
      for (uint32_t r = 0; r < op_.rank; ++r) {
        const float* at = Latent(p) + static_cast<size_t>(r) * kPanel;
        for (uint32_t lane = 0; lane < tokens; ++lane)
          squares_[r] += static_cast<double>(at[lane]) * at[lane];
      }
    }
  }

  void MakeBlock(uint64_t count) {
    const float* latent = cached_ + op_.rope_size;
    const size_t weights = static_cast<size_t>(op_.rank) * kPanel, made = kLatentBlock * kPanel;
    for (size_t b = 0; b < Blocks(op_.plain_size); ++b) {
      GemmPanel(latent, Stride(), 1, count, key_weights_ + b * weights, op_.rank, keys_ + b * made,
                false);
    }
    for (size_t b = 0; b < Blocks(op_.value_size); ++b) {
      GemmPanel(latent, Stride(), 1, count, value_weights_ + b * weights, op_.rank,
                values_ + b * made, false);
    }
  }

  void AttendBlock(uint64_t key, uint32_t p) {
    const uint64_t first_query = segment_.position + static_cast<uint64_t>(p) * kPanel;
    const uint64_t end =
        std::min<uint64_t>(segment_.position + segment_.tokens, first_query + kPanel);
    if (key >= end) return;
    const uint64_t count = std::min(kLatentBlock, end - key);
    const size_t panel = segment_.first_panel + p, size = op_.plain_size + op_.rope_size;
    const float* q = q_ + (panel * op_.heads + head_) * size * kPanel;
    for (size_t b = 0; b < Blocks(op_.plain_size); ++b) {
      GemmPanel(keys_ + b * kLatentBlock * kPanel, kPanel, 1, count, q + b * kPanel * kPanel,
                std::min<size_t>(kPanel, op_.plain_size - b * kPanel), scores_, b > 0);
    }
    GemmPanel(cached_, Stride(), 1, count, q + static_cast<size_t>(op_.plain_size) * kPanel,
              op_.rope_size, scores_, true);
    alignas(64) float correction[kPanel];
    const SoftmaxArgs args{.scale = op_.scale, .first_key = key, .first_query = first_query};
    SoftmaxBlock(args, count, scores_, maximum_ + static_cast<size_t>(p) * kPanel,
                 sum_ + static_cast<size_t>(p) * kPanel, correction);
    float* out = Out(p);
    if (key > 0) ScalePanel(correction, op_.value_size, out);
    for (size_t b = 0; b < Blocks(op_.value_size); ++b) {
      GemmPanel(values_ + b * kLatentBlock * kPanel, 1, kPanel,
                std::min<size_t>(kPanel, op_.value_size - b * kPanel), scores_, count,
                out + b * kPanel * kPanel, key > 0);
    }
    if (squares_ == nullptr) return;
    float* latent = Latent(p);
    if (key > 0) ScalePanel(correction, op_.rank, latent);
    GemmPanel(cached_ + op_.rope_size, 1, Stride(), op_.rank, scores_, count, latent, key > 0);
  }

  const LatentAttentionOp& op_;
  const Layout::Segment& segment_;
  const SequenceState& cache_;
  const uint64_t head_;
  const float* const q_;
  float* const out_;
  const float* cached_ = nullptr;  // the block's rows
  float *key_weights_ = nullptr, *value_weights_ = nullptr, *keys_ = nullptr, *values_ = nullptr;
  float *scores_ = nullptr, *maximum_ = nullptr, *sum_ = nullptr;
  double* squares_ = nullptr;  // by element of the latent vectors; nullptr: nobody watches
  float* latent_ = nullptr;    // their sums, [panel][element][lane]
};

absl::Status AttendMany(const LatentAttentionOp& op, const Layout& layout, const float* q,
                        const float* k, CpuState& state, float* out, InputSquares* sums) {
  const uint32_t key = op.rope_size + op.rank;
  // Of each sequence and head, so that they are added in one order.
  std::vector<double> squares;
  if (sums != nullptr) squares.resize(layout.segments.size() * op.heads * op.rank);
  for (size_t i = 0; i < layout.segments.size(); ++i)
    SMELT_RETURN_IF_ERROR(state.sequences[i].Extend(layout.segments[i].tokens, 1, key, 0));
  SMELT_RETURN_IF_ERROR(AppendRows(layout, k, state, &SequenceState::keys));
  for (size_t i = 0; i < layout.segments.size(); ++i)
    state.sequences[i].positions += layout.segments[i].tokens;
  const uint64_t tasks = layout.segments.size() * op.heads;
  SMELT_RETURN_IF_ERROR(ParallelFor(tasks, 1, [&](uint64_t first, uint64_t last) {
    for (uint64_t task = first; task < last; ++task) {
      const size_t i = task / op.heads;
      HeadOfMany head(op, layout.segments[i], state.sequences[i], task % op.heads, q, out);
      if (sums != nullptr) head.WatchSums(squares.data() + task * op.rank);
      SMELT_RETURN_IF_ERROR(head.Run());
    }
    return absl::OkStatus();
  }));
  if (sums == nullptr) return absl::OkStatus();
  for (size_t i = 0; i < squares.size(); ++i) sums->sums[i % sums->sums.size()] += squares[i];
  sums->counts[0] += layout.tokens;
  return absl::OkStatus();
}

// The matrices of keys work on the queries, those of values on the sums.
absl::Status AttendFew(const LatentAttentionOp& op, const Layout& layout, const float* q,
                       const float* k, CpuState& state, float* out, Tap* tap) {
  const uint32_t head = op.plain_size + op.rope_size, key = op.rope_size + op.rank;
  const size_t lanes = layout.lanes;
  Array<float> query(layout.Floats(static_cast<size_t>(op.heads) * key));
  Array<float> latent(layout.Floats(static_cast<size_t>(op.heads) * op.rank));
  for (size_t i = 0; i < static_cast<size_t>(layout.panels) * op.heads; ++i) {
    std::copy_n(q + (i * head + op.plain_size) * lanes, op.rope_size * lanes,
                query.data() + i * key * lanes);
  }
  SMELT_RETURN_IF_ERROR(HeadMatMul({.heads = op.heads,
                                    .in_stride = head,
                                    .out_stride = key,
                                    .out_first = op.rope_size,
                                    .matrix = op.k_b},
                                   layout, q, query.data()));
  const AttentionOp attention{.values_in_keys = true,
                              .value_first = op.rope_size,
                              .heads = op.heads,
                              .kv_heads = 1,
                              .key_size = key,
                              .value_size = op.rank,
                              .scale = op.scale};
  SMELT_RETURN_IF_ERROR(Attend(attention, layout, query.data(), k, nullptr, state, latent.data()));
  if (tap != nullptr) {
    SMELT_RETURN_IF_ERROR(WatchHeads(*tap, op.v_b, op.heads, op.rank, layout, latent.data()));
  }
  return HeadMatMul(
      {.heads = op.heads, .in_stride = op.rank, .out_stride = op.value_size, .matrix = op.v_b},
      layout, latent.data(), out);
}

}  // namespace

absl::Status AttendLatent(const LatentAttentionOp& op, const Layout& layout, const float* q,
                          const float* k, CpuState& state, float* out, Tap* tap) {
  const bool many = std::ranges::all_of(
      layout.segments, [&](const Layout::Segment& s) { return MakesKeys(op, layout, s); });
  if (!many) return AttendFew(op, layout, q, k, state, out, tap);
  InputSquares* sums =
      tap == nullptr ? nullptr : tap->Squares(op.v_b.tensor, uint64_t{op.heads} * op.rank, 1);
  return AttendMany(op, layout, q, k, state, out, sums);
}

}  // namespace smelt::cpu
