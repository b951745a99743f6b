// Phi-1, 1.5 and 2: one layer norm before both halves of a block, biases everywhere.
// Defaults: transformers models/phi/configuration_phi.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kPhi2Architecture = {
    .name = "phi2",
    .norm = NormKind::kLayer,
    .ffn_norm = "",
    .gated = false,
    .activation = Activation::kGeluTanh,
    .parallel_residual = true,
};

namespace {

constexpr std::string_view kPhiNames[] = {"PhiForCausalLM", "PhiModel"};

constexpr auto kPhiHypers = DecoderHypers({.vocab = 51200,
                                           .ffn = 8192,
                                           .heads = 32,
                                           .context = 2048,
                                           .eps = Eps("layer_norm_eps", 1e-5)});

constexpr FixedRule kPhiFixed[] = {{"qk_layernorm", "false"}};

constexpr KeyRule kPhiKeys[] = {
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"block_count", ValueType::kU32, Param::kLayers},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    {"attention.head_count_kv", ValueType::kU32, Param::kKvHeads},
    {"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps},
    {"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
    kFileTypeKey,
    {.key = "tokenizer.ggml.add_bos_token", .type = ValueType::kBool, .constant = 0},
    kRopeKeys,
};

constexpr TensorRule Biased(std::string_view target, std::string_view source, Param rows,
                            Param columns) {
  return {target, source, rows, columns, TensorOp::kCopy, Param::kAlways};
}

constexpr TensorRule kPhiTensors[] = {
    {"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    Biased("output.weight", "lm_head.weight", Param::kVocab, Param::kWidth),
    BiasedNorm("output_norm.weight", "model.final_layernorm.weight"),
    BiasedNorm("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight"),
    Biased("blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Param::kQ,
           Param::kWidth),
    Biased("blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Param::kKv,
           Param::kWidth),
    Biased("blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Param::kKv,
           Param::kWidth),
    Biased("blk.*.attn_output.weight", "model.layers.*.self_attn.dense.weight", Param::kWidth,
           Param::kQ),
    Biased("blk.*.ffn_up.weight", "model.layers.*.mlp.fc1.weight", Param::kFfn, Param::kWidth),
    Biased("blk.*.ffn_down.weight", "model.layers.*.mlp.fc2.weight", Param::kWidth, Param::kFfn),
};

absl::Status DerivePhi(FamilyContext& context) {
  NoteTheta(context);
  if (context.hyper(Param::kFfn) != 4 * context.hyper(Param::kWidth))
    context.differences.push_back("cannot load a feed-forward length other than 4 hidden_size");
  return absl::OkStatus();
}

}  // namespace

const Family kPhi = {
    .names = kPhiNames,
    .model_type = "phi",
    .architecture = kPhi2Architecture,
    .hypers = kPhiHypers,
    .fixed = kPhiFixed,
    .keys = kPhiKeys,
    .tensors = kPhiTensors,
    .llama_cpp =
        "takes 10000 for rope_theta; cannot load a feed-forward length other than 4 hidden_size",
    .rope = {.partial = 0.5},
    .partial_rotary = true,
    .activation = "gelu_new",
    .derive = DerivePhi,
};

}  // namespace smelt
