// Mixers that attend.
#include <vector>

#include "infer/lowerer.h"
#include "lib/base/status.h"

namespace smelt {

absl::Status Lowerer::Mixer(const LayerSpec& layer, const Attention& a) {
  const uint32_t q_features = a.heads * a.key_size, k_features = a.kv_heads * a.key_size;
  const uint32_t v_features = a.kv_heads * a.value_size, out_features = a.heads * a.value_size;
  Slot mixed = 0;
  SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, out_features, mixed));
  const bool own_keys = a.keys_of < 0;
  const Slot q = NewSlot(q_features), k = NewSlot(own_keys ? k_features : 0),
             v = NewSlot(own_keys ? v_features : 0);
  Slot gate = 0;
  if (a.gated) {
    gate = NewSlot(out_features);
    SMELT_RETURN_IF_ERROR(
        MultiplySplit(a.q, in, a.heads, {{q, 0, a.key_size}, {gate, 0, a.value_size}}));
  } else {
    SMELT_RETURN_IF_ERROR(Multiply(a.q, in, q));
  }
  if (own_keys) SMELT_RETURN_IF_ERROR(KeysAndValues(a, in, k, v));
  const auto normalize = [&]() -> absl::Status {
    if (a.q_norm.present()) SMELT_RETURN_IF_ERROR(AddNorm(a.q_norm, q, q, q_features, false));
    if (own_keys && a.k_norm.present())
      SMELT_RETURN_IF_ERROR(AddNorm(a.k_norm, k, k, k_features, false));
    return absl::OkStatus();
  };
  if (!a.norm_after_rope) SMELT_RETURN_IF_ERROR(normalize());
  if (a.clamp != 0) {
    for (const Slot x : own_keys ? std::vector<Slot>{q, k, v} : std::vector<Slot>{q}) {
      graph_.ops.push_back(ClampOp{
          .x = x, .features = graph_.slots[x].features, .limit = static_cast<float>(a.clamp)});
    }
  }
  if (a.rope.style != RopeStyle::kNone) {
    graph_.ops.push_back(RopeOp{.q = q,
                                .k = k,
                                .rope = a.rope,
                                .heads = a.heads,
                                .kv_heads = own_keys ? a.kv_heads : 0,
                                .head_size = a.key_size});
  }
  if (a.norm_after_rope) SMELT_RETURN_IF_ERROR(normalize());
  AddTemperature(q, q_features, a.temperature, a.temperature_length);
  AttentionOp op{.q = q,
                 .k = k,
                 .v = v,
                 .out = mixed,
                 .heads = a.heads,
                 .kv_heads = a.kv_heads,
                 .key_size = a.key_size,
                 .value_size = a.value_size,
                 .scale = static_cast<float>(a.scale),
                 .softcap = static_cast<float>(a.softcap),
                 .window = a.window,
                 .causal = a.causal,
                 .own_keys = own_keys};
  SMELT_ASSIGN_OR_RETURN(op.sinks, Values(a.sinks));
  graph_.ops.push_back(std::move(op));
  graph_.state_per_token = own_keys ? k_features + v_features : 0;
  if (a.gated) {
    graph_.ops.push_back(GateOp{
        .x = mixed, .z = gate, .features = out_features, .activation = Activation::kSigmoid});
  }
  return AddToStream(a.output, mixed, layer.post_mixer_norm);
}

absl::Status Lowerer::KeysAndValues(const Attention& a, Slot in, Slot k, Slot v) {
  const uint32_t features = a.kv_heads * a.value_size;
  SMELT_RETURN_IF_ERROR(Multiply(a.k, in, k));
  Slot value = v;
  if (a.v.weight == a.k.weight && a.v.first_row == a.k.first_row && a.v.rows == a.k.rows) {
    value = k;
  } else {
    SMELT_RETURN_IF_ERROR(Multiply(a.v, in, v));
  }
  if (a.v_norm.present()) return AddNorm(a.v_norm, value, v, features, false);
  if (value != v) {
    graph_.ops.push_back(CopyOp{
        .in = value, .out = v, .in_stride = features, .out_stride = features, .count = features});
  }
  return absl::OkStatus();
}

absl::Status Lowerer::Mixer(const LayerSpec& layer, const LatentAttention& a) {
  const uint32_t head = a.plain_size + a.rope_size, key = a.rope_size + a.rank;
  Slot mixed = 0;
  SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, a.heads * a.value_size, mixed));
  const Slot q = NewSlot(a.heads * head), k = NewSlot(key);
  const uint64_t start = top_;
  SMELT_RETURN_IF_ERROR(LatentKey(a, in, k));
  top_ = start;
  SMELT_RETURN_IF_ERROR(LatentQuery(a, in, q));
  graph_.ops.push_back(RopeOp{.q = q,
                              .k = k,
                              .rope = a.rope,
                              .heads = a.heads,
                              .kv_heads = 1,
                              .head_size = head,
                              .q_first = a.plain_size,
                              .k_head_size = key});
  AddTemperature(q, a.heads * head, a.temperature, a.temperature_length);
  LatentAttentionOp op{.q = q,
                       .k = k,
                       .out = mixed,
                       .heads = a.heads,
                       .rank = a.rank,
                       .plain_size = a.plain_size,
                       .rope_size = a.rope_size,
                       .value_size = a.value_size,
                       .scale = static_cast<float>(a.scale)};
  SMELT_ASSIGN_OR_RETURN(op.k_b, LowerInPlace(a.k_b));
  SMELT_ASSIGN_OR_RETURN(op.v_b, LowerInPlace(a.v_b));
  graph_.ops.push_back(std::move(op));
  graph_.state_per_token = key;
  return AddToStream(a.output, mixed, layer.post_mixer_norm);
}

absl::Status Lowerer::LatentKey(const LatentAttention& a, Slot in, Slot k) {
  const uint32_t key = a.rope_size + a.rank;
  const Slot latent = NewSlot(a.rank), rotated = NewSlot(a.rope_size);
  SMELT_RETURN_IF_ERROR(Multiply(Part(a.kv_a, 0, a.rank), in, latent));
  SMELT_RETURN_IF_ERROR(AddNorm(a.kv_a_norm, latent, latent, a.rank, false));
  SMELT_RETURN_IF_ERROR(Multiply(Part(a.kv_a, a.rank, a.rope_size), in, rotated));
  graph_.ops.push_back(CopyOp{
      .in = rotated, .out = k, .in_stride = a.rope_size, .out_stride = key, .count = a.rope_size});
  graph_.ops.push_back(CopyOp{.in = latent,
                              .out = k,
                              .in_stride = a.rank,
                              .out_stride = key,
                              .out_first = a.rope_size,
                              .count = a.rank});
  return absl::OkStatus();
}

absl::Status Lowerer::LatentQuery(const LatentAttention& a, Slot in, Slot q) {
  if (!a.q_a.present()) return Multiply(a.q, in, q);
  const uint32_t rank = static_cast<uint32_t>(Shape(a.q_a.weight).ne[1]);
  const Slot low = NewSlot(rank);
  SMELT_RETURN_IF_ERROR(Multiply(a.q_a, in, low));
  SMELT_RETURN_IF_ERROR(AddNorm(a.q_a_norm, low, low, rank, false));
  return Multiply(a.q, low, q);
}

void Lowerer::AddTemperature(Slot x, uint32_t features, double temperature, uint64_t length) {
  if (temperature == 0) return;
  graph_.ops.push_back(
      TemperatureOp{.x = x, .features = features, .temperature = temperature, .length = length});
}

}  // namespace smelt
