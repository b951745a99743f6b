#include "infer/vulkan/executor.h"
#include "infer/watch.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

// Of shaders/attention.comp.
constexpr uint32_t kMostKey = 1024, kMostValue = 1024;

struct AttentionPush {
  uint64_t q, keys, values, to, sinks;
  uint32_t queries_per_key, key_size, value_size, key_stride, value_stride, position, count, window,
      causal;
  float scale, softcap;
  uint32_t value_first;
};

}  // namespace

CopyCall Executor::Rows(Slot slot, uint32_t features, size_t sequence,
                        Memory DeviceSequence::*cache) const {
  const Segment& s = batch_.segments[sequence];
  const DeviceSequence& to = state_.sequences[sequence];
  return {{.in_stride = features, .out_stride = features, .count = features},
          At(slot) + Bytes(s.first, features),
          (to.*cache).address() + to.positions * state_.RowBytes(features),
          s.tokens,
          state_.Halves(features)};
}

absl::Status Executor::AppendAll(Slot k, uint32_t key_columns, Slot v, uint32_t value_columns) {
  for (size_t i = 0; i < batch_.segments.size(); ++i) {
    DeviceSequence& sequence = state_.sequences[i];
    const uint32_t tokens = batch_.segments[i].tokens;
    SMELT_RETURN_IF_ERROR(state_.Extend(sequence, tokens, key_columns, value_columns));
    CopyCall values;
    if (value_columns != 0) values = Rows(v, value_columns, i, &DeviceSequence::values);
    SMELT_RETURN_IF_ERROR(kernels_.Copy(Rows(k, key_columns, i, &DeviceSequence::keys), values));
    sequence.positions += tokens;
  }
  return absl::OkStatus();
}

absl::Status Executor::Attend(const AttentionOp& op, uint64_t q, uint64_t to) {
  if (op.key_size > kMostKey || op.value_size > kMostValue) {
    return Error(ErrorCode::kUnsupported, "heads of ", std::max(op.key_size, op.value_size),
                 " values are too large for the device's attention; use --device cpu");
  }
  SMELT_ASSIGN_OR_RETURN(const Range sinks, ValuesAt(device(), op.sinks));
  const uint32_t key_columns = op.kv_heads * op.key_size;
  for (size_t i = 0; i < batch_.segments.size(); ++i) {
    const DeviceSequence& cache = state_.sequences[i];
    AttentionPush push{};
    push.keys = cache.keys.address();
    const uint32_t value_columns = op.values_in_keys ? key_columns : op.kv_heads * op.value_size;
    push.values = op.values_in_keys ? cache.keys.address() : cache.values.address();
    push.value_first = op.values_in_keys ? op.value_first : 0;
    push.sinks = sinks.address;
    push.queries_per_key = op.heads / op.kv_heads;
    push.key_size = op.key_size;
    push.value_size = op.value_size;
    push.key_stride = key_columns;
    push.value_stride = value_columns;
    push.count = static_cast<uint32_t>(cache.positions);
    push.window = static_cast<uint32_t>(std::min<uint64_t>(op.window, UINT32_MAX));
    push.causal = op.causal;
    push.scale = op.scale;
    push.softcap = op.softcap;
    const double looked_at = push.window != 0 ? std::min(push.window, push.count) : push.count;
    const double work = 2 * looked_at * op.heads * (op.key_size + op.value_size);
    SMELT_RETURN_IF_ERROR(ForTokens(batch_.segments[i], work, [&](const Segment& s) {
      push.q = q + Bytes(s.first, uint64_t{op.heads} * op.key_size);
      push.to = to + Bytes(s.first, uint64_t{op.heads} * op.value_size);
      push.position = static_cast<uint32_t>(s.position);
      const uint64_t queries = uint64_t{s.tokens} * op.heads;
      return device().Dispatch(
          Shader("attention", state_.Halves(key_columns), state_.Halves(value_columns)), push,
          {op.heads, s.tokens}, work * s.tokens,
          {.reads = {FloatRange(push.q, queries * op.key_size), RangeOf(cache.keys),
                     RangeOf(cache.values), sinks},
           .writes = {FloatRange(push.to, queries * op.value_size)}});
    }));
  }
  return absl::OkStatus();
}

absl::Status Executor::Do(const AttentionOp& op) {
  if (op.own_keys) {
    SMELT_RETURN_IF_ERROR(AppendAll(op.k, op.kv_heads * op.key_size, op.v,
                                    op.values_in_keys ? 0 : op.kv_heads * op.value_size));
  }
  return Attend(op, At(op.q), At(op.out));
}

absl::Status Executor::WatchQueries(const LatentAttentionOp& op) {
  if (tap_ == nullptr || queries_watched_) return absl::OkStatus();
  queries_watched_ = true;
  const uint32_t head = op.plain_size + op.rope_size;
  SMELT_ASSIGN_OR_RETURN(const std::vector<float> q, Fetch(op.q, op.heads * head));
  return WatchRowsOfHeads(*tap_, op.k_b, op.heads, head, q);
}

// The matrices of keys work on the queries, those of values on the sums.
absl::Status Executor::Do(const LatentAttentionOp& op) {
  const uint32_t head = op.plain_size + op.rope_size, key = op.rope_size + op.rank;
  SMELT_RETURN_IF_ERROR(WatchQueries(op));
  SMELT_RETURN_IF_ERROR(AppendAll(op.k, key, 0, 0));
  SMELT_ASSIGN_OR_RETURN(const uint64_t query,
                         batch_.Of(Temporary::kQuery, uint64_t{batch_.tokens} * op.heads * key));
  SMELT_ASSIGN_OR_RETURN(
      const uint64_t latent,
      batch_.Of(Temporary::kLatent, uint64_t{batch_.tokens} * op.heads * op.rank));
  SMELT_RETURN_IF_ERROR(kernels_.Copy({{.groups = op.heads,
                                        .in_stride = head,
                                        .in_first = op.plain_size,
                                        .out_stride = key,
                                        .count = op.rope_size},
                                       At(op.q),
                                       query,
                                       batch_.tokens}));
  SMELT_RETURN_IF_ERROR(kernels_.Multiply({.matrix = &op.k_b,
                                           .x = At(op.q),
                                           .to = query + op.rope_size * sizeof(float),
                                           .inputs = batch_.tokens,
                                           .in_stride = op.heads * head,
                                           .out_stride = op.heads * key,
                                           .matrices = op.heads,
                                           .in_step = head,
                                           .out_step = key}));
  SMELT_RETURN_IF_ERROR(Attend({.values_in_keys = true,
                                .value_first = op.rope_size,
                                .heads = op.heads,
                                .kv_heads = 1,
                                .key_size = key,
                                .value_size = op.rank,
                                .scale = op.scale},
                               query, latent));
  if (tap_ != nullptr) {
    const uint64_t sums = uint64_t{batch_.tokens} * op.heads * op.rank;
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> rows, Fetch<float>(Temporary::kLatent, sums));
    SMELT_RETURN_IF_ERROR(WatchRowsOfHeads(*tap_, op.v_b, op.heads, op.rank, rows));
  }
  return kernels_.Multiply({.matrix = &op.v_b,
                            .x = latent,
                            .to = At(op.out),
                            .inputs = batch_.tokens,
                            .in_stride = op.heads * op.rank,
                            .out_stride = op.heads * op.value_size,
                            .matrices = op.heads,
                            .in_step = op.rank,
                            .out_step = op.value_size});
}

}  // namespace smelt::vulkan
