// Rows that GPT-2 and its relatives have in common: names of transformers' "transformer.h", biases
// everywhere.
#pragma once

#include <array>

#include "lib/model/families/rows.h"

namespace smelt {

inline constexpr std::array<TensorRule, 5> kGptEnds = {{
    {"token_embd.weight", "transformer.wte.weight", Param::kVocab, Param::kWidth},
    {"position_embd.weight", "transformer.wpe.weight", Param::kContext, Param::kWidth},
    BiasedNorm("output_norm.weight", "transformer.ln_f.weight"),
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    BiasedNorm("blk.*.attn_norm.weight", "transformer.h.*.ln_1.weight"),
}};

/// `linear`: what mlx_layout.h calls mlx-lm's matrices, which are not turned.
constexpr TensorRule Biased(std::string_view target, std::string_view source,
                            std::string_view linear, Param rows, Param columns, TensorOp op) {
  const TensorRule rule{target, source, rows, columns, op, Param::kAlways};
  return op == TensorOp::kTranspose ? OrMlx(rule, linear, TensorOp::kCopy) : rule;
}

constexpr TensorRule GptQkv(TensorOp op) {
  return Biased("blk.*.attn_qkv.weight", "transformer.h.*.attn.c_attn.weight",
                "transformer.h.*.attn.c_attn.linear.weight", Param::kQkv, Param::kWidth, op);
}

/// What follows queries, keys and values in a block; `op`: how matrices are stored.
constexpr std::array<TensorRule, 4> GptBlock(TensorOp op) {
  return {{
      Biased("blk.*.attn_output.weight", "transformer.h.*.attn.c_proj.weight",
             "transformer.h.*.attn.c_proj.linear.weight", Param::kWidth, Param::kQ, op),
      BiasedNorm("blk.*.ffn_norm.weight", "transformer.h.*.ln_2.weight"),
      Biased("blk.*.ffn_up.weight", "transformer.h.*.mlp.c_fc.weight",
             "transformer.h.*.mlp.c_fc.linear.weight", Param::kFfn, Param::kWidth, op),
      Biased("blk.*.ffn_down.weight", "transformer.h.*.mlp.c_proj.weight",
             "transformer.h.*.mlp.c_proj.linear.weight", Param::kWidth, Param::kFfn, op),
  }};
}

}  // namespace smelt
