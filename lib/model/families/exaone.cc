// EXAONE 3, 3.5 and Deep: Llamas whose tensors and sizes have names of their own.
// Defaults: transformers models/exaone/configuration_exaone.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kExaoneArchitecture = {.name = "exaone", .rope_freqs = true};

namespace {

constexpr std::string_view kExaoneNames[] = {"ExaoneForCausalLM", "ExaoneModel"};

constexpr HyperRule kExaoneHypers[] = {
    {Param::kLayers, "num_hidden_layers|num_layers", HyperKind::kCount, kRequired, 1, 1 << 16},
    kWidth,
    Vocab(102400),
    Ffn(14336),
    Heads(32),
    KvHeads(Default(8)),
    HeadDim(),
    Context(4096),
    Eps("rms_norm_eps|layer_norm_epsilon", 1e-5),
    Tied(false),
    Flag(Param::kAttentionBias, "attention_bias", false),
    Flag(Param::kMlpBias, "mlp_bias", false),
};

constexpr auto kExaoneKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims});

constexpr TensorRule ExaoneAttention(std::string_view target, std::string_view source, Param rows,
                                     Param columns) {
  return {target, source, rows, columns, TensorOp::kCopy, Param::kAttentionBias};
}
constexpr TensorRule ExaoneMlp(std::string_view target, std::string_view source, Param rows,
                               Param columns) {
  return {target, source, rows, columns, TensorOp::kCopy, Param::kMlpBias};
}

constexpr TensorRule kExaoneTensors[] = {
    {"token_embd.weight", "transformer.wte.weight", Param::kVocab, Param::kWidth},
    {"output_norm.weight", "transformer.ln_f.weight", Param::kWidth},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "transformer.h.*.ln_1.weight", Param::kWidth},
    ExaoneAttention("blk.*.attn_q.weight", "transformer.h.*.attn.attention.q_proj.weight",
                    Param::kQ, Param::kWidth),
    ExaoneAttention("blk.*.attn_k.weight", "transformer.h.*.attn.attention.k_proj.weight",
                    Param::kKv, Param::kWidth),
    ExaoneAttention("blk.*.attn_v.weight", "transformer.h.*.attn.attention.v_proj.weight",
                    Param::kKv, Param::kWidth),
    ExaoneAttention("blk.*.attn_output.weight", "transformer.h.*.attn.attention.out_proj.weight",
                    Param::kWidth, Param::kQ),
    {"blk.*.ffn_norm.weight", "transformer.h.*.ln_2.weight", Param::kWidth},
    ExaoneMlp("blk.*.ffn_gate.weight", "transformer.h.*.mlp.c_fc_0.weight", Param::kFfn,
              Param::kWidth),
    ExaoneMlp("blk.*.ffn_up.weight", "transformer.h.*.mlp.c_fc_1.weight", Param::kFfn,
              Param::kWidth),
    ExaoneMlp("blk.*.ffn_down.weight", "transformer.h.*.mlp.c_proj.weight", Param::kWidth,
              Param::kFfn),
};

absl::Status DeriveExaone(FamilyContext& context) {
  if (context.hyper.flag(Param::kAttentionBias) || context.hyper.flag(Param::kMlpBias))
    context.differences.push_back("cannot load biases");
  return absl::OkStatus();
}

}  // namespace

const Family kExaone = {
    .names = kExaoneNames,
    .model_type = "exaone",
    .architecture = kExaoneArchitecture,
    .hypers = kExaoneHypers,
    .fixed = {},
    .keys = kExaoneKeys,
    .tensors = kExaoneTensors,
    .body = "transformer.",
    .rope = {.theta = 500000},
    .activation_key = "hidden_act|activation_function",
    .derive = DeriveExaone,
};

}  // namespace smelt
