#include "lib/model/latent_reader.h"

#include <cmath>

#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<LatentReader> LatentReader::Create(SpecReader& reader, BlockReader& blocks,
                                                  const Architecture& architecture) {
  LatentReader latent(reader, blocks);
  constexpr uint64_t kMax = 1 << 16;
  SMELT_ASSIGN_OR_RETURN(latent.rank_, reader.Count("attention.kv_lora_rank", 1, kMax));
  SMELT_ASSIGN_OR_RETURN(latent.q_rank_, reader.CountOr("attention.q_lora_rank", 0, 0, kMax));
  if (!reader.Has("attention.key_length_mla")) {
    return Error(ErrorCode::kUnsupported, reader.Key("attention.key_length_mla"),
                 " is missing: this file is of an older kind, with attn_kv_b in one piece; convert "
                 "the published model anew");
  }
  SMELT_ASSIGN_OR_RETURN(latent.key_size_, reader.Count("attention.key_length_mla", 1, kMax));
  SMELT_ASSIGN_OR_RETURN(latent.value_size_, reader.Count("attention.value_length_mla", 1, kMax));
  const uint64_t rotated = blocks.rope().dims;
  if (latent.key_size_ <= rotated) {
    return reader.Bad("attention.key_length_mla",
                      Cat("is ", latent.key_size_, ", which leaves nothing beside the ", rotated,
                          " rotary dimensions"));
  }
  const double magnitude = architecture.yarn_scales_scores ? blocks.yarn_magnitude() : 1;
  const double scale = magnitude * magnitude / std::sqrt(static_cast<double>(latent.key_size_));
  SMELT_ASSIGN_OR_RETURN(latent.scale_, reader.RealOr("attention.scale", scale, 0));
  SMELT_ASSIGN_OR_RETURN(latent.epsilon_, reader.Own<float>("smelt.attention.latent_norm_epsilon",
                                                            static_cast<float>(blocks.epsilon())));
  return latent;
}

absl::StatusOr<LatentAttention> LatentReader::Read(uint64_t layer) {
  LatentAttention a;
  const uint64_t heads = blocks_.heads(layer), width = blocks_.width();
  a.rope = blocks_.rope();
  a.heads = static_cast<uint32_t>(heads);
  a.rank = static_cast<uint32_t>(rank_);
  a.rope_size = a.rope.dims;
  a.plain_size = static_cast<uint32_t>(key_size_ - a.rope_size);
  a.value_size = static_cast<uint32_t>(value_size_);
  a.scale = scale_;
  a.temperature = blocks_.temperature();
  a.temperature_length = blocks_.temperature_length();
  const std::string why =
      Cat(reader_.Key("attention.head_count"), " is ", heads, ", kv_lora_rank ", rank_,
          ", q_lora_rank ", q_rank_, ", key_length_mla ", key_size_, ", value_length_mla ",
          value_size_, ", rope.dimension_count ", a.rope_size);
  const auto linear = [&](std::string_view name, uint64_t inputs, uint64_t outputs) {
    return blocks_.ReadLinear(layer, name, inputs, outputs, why);
  };
  if (q_rank_ != 0) {
    SMELT_ASSIGN_OR_RETURN(a.q_a, linear("attn_q_a", width, q_rank_));
    SMELT_ASSIGN_OR_RETURN(a.q_a_norm, blocks_.ReadNorm(layer, "attn_q_a_norm", q_rank_));
    a.q_a_norm.epsilon = epsilon_;
    SMELT_ASSIGN_OR_RETURN(a.q, linear("attn_q_b", q_rank_, heads * key_size_));
  } else {
    SMELT_ASSIGN_OR_RETURN(a.q, linear("attn_q", width, heads * key_size_));
  }
  SMELT_ASSIGN_OR_RETURN(a.kv_a, linear("attn_kv_a_mqa", width, rank_ + a.rope_size));
  SMELT_ASSIGN_OR_RETURN(a.kv_a_norm, blocks_.ReadNorm(layer, "attn_kv_a_norm", rank_));
  a.kv_a_norm.epsilon = epsilon_;
  SMELT_ASSIGN_OR_RETURN(a.k_b.weight, reader_.Tensor(blocks_.Block(layer, "attn_k_b.weight"),
                                                      {a.plain_size, rank_, heads}, why));
  SMELT_ASSIGN_OR_RETURN(a.v_b.weight, reader_.Tensor(blocks_.Block(layer, "attn_v_b.weight"),
                                                      {rank_, value_size_, heads}, why));
  SMELT_ASSIGN_OR_RETURN(a.output, linear("attn_output", heads * value_size_, width));
  return a;
}

}  // namespace smelt
