// gpt-oss: attention sinks, alternating windows, clamped gated experts with biases, YaRN.
// Defaults: transformers models/gpt_oss/configuration_gpt_oss.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kGptOssArchitecture = {
    .name = "gpt-oss",
    .ffn_norm = "post_attention_norm",
    .window_period = 2,
    .sinks = true,
    .clamped_experts = true,
    .gating = Experts::Gating::kSoftmaxOfTopK,
    .normalize_experts = false,
};

namespace {

constexpr std::string_view kGptOssNames[] = {"GptOssForCausalLM", "GptOssModel"};

constexpr HyperRule kGptOssHypers[] = {
    kLayers,
    kWidth,
    Vocab(201088),
    Ffn(2880),
    Heads(64),
    KvHeads(Default(8)),
    HeadDim(Default(64)),
    Context(131072),
    RmsEps(1e-5),
    Tied(false),
    Flag(Param::kAttentionBias, "attention_bias", true),
    NumExperts(128),
    ExpertsUsed(4),
    Window(Default(128)),
};

// Constants of the experts' activation, which the kernel has.
constexpr FixedRule kGptOssFixed[] = {{"swiglu_alpha", "1.702"}, {"swiglu_limit", "7.0|7"}};

constexpr auto kGptOssKeys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kHeadDim), kFileTypeKey, kWindowKeys,
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kFfn});

// As published, in MXFP4, inputs are columns.
constexpr std::string_view kGateUpBlocks = "model.layers.*.mlp.experts.gate_up_proj_blocks";

constexpr auto kGptOssTensors = Table<TensorRule>(
    kEnds, kOutputOfTied, kAttentionNorm,
    AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    TensorRule{"blk.*.attn_sinks.weight", "model.layers.*.self_attn.sinks", Param::kHeads,
               Param::kNone},
    TensorRule{"blk.*.post_attention_norm.weight", "model.layers.*.post_attention_layernorm.weight",
               Param::kWidth, Param::kNone},
    TensorRule{"blk.*.ffn_gate_inp.weight", "model.layers.*.mlp.router.weight", Param::kExperts,
               Param::kWidth, TensorOp::kCopy, Param::kAlways},
    OrMlx(OrFused({"blk.*.ffn_gate_exps.weight", "model.layers.*.mlp.experts.gate_up_proj",
                   Param::kFfn, Param::kWidth, TensorOp::kEvenExperts},
                  kGateUpBlocks, TensorOp::kEvenExpertRows),
          "model.layers.*.mlp.experts.gate_proj.weight", TensorOp::kStackedExperts),
    OrMlx(OrFused({"blk.*.ffn_up_exps.weight", "model.layers.*.mlp.experts.gate_up_proj",
                   Param::kFfn, Param::kWidth, TensorOp::kOddExperts},
                  kGateUpBlocks, TensorOp::kOddExpertRows),
          "model.layers.*.mlp.experts.up_proj.weight", TensorOp::kStackedExperts),
    OrMlx(OrFused({"blk.*.ffn_down_exps.weight", "model.layers.*.mlp.experts.down_proj",
                   Param::kWidth, Param::kFfn, TensorOp::kTransposedExperts},
                  "model.layers.*.mlp.experts.down_proj_blocks", TensorOp::kStackedExperts),
          "model.layers.*.mlp.experts.down_proj.weight", TensorOp::kStackedExperts),
    OrMlx({"blk.*.ffn_gate_exps.bias", "model.layers.*.mlp.experts.gate_up_proj_bias", Param::kFfn,
           Param::kNone, TensorOp::kEvenBias},
          "model.layers.*.mlp.experts.gate_proj.bias", TensorOp::kExpertBias),
    OrMlx({"blk.*.ffn_up_exps.bias", "model.layers.*.mlp.experts.gate_up_proj_bias", Param::kFfn,
           Param::kNone, TensorOp::kOddBias},
          "model.layers.*.mlp.experts.up_proj.bias", TensorOp::kExpertBias),
    OrMlx({"blk.*.ffn_down_exps.bias", "model.layers.*.mlp.experts.down_proj_bias", Param::kWidth,
           Param::kNone, TensorOp::kExpertBias},
          "model.layers.*.mlp.experts.down_proj.bias", TensorOp::kExpertBias));

absl::Status DeriveGptOss(FamilyContext& context) {
  if (!context.hyper.flag(Param::kAttentionBias))
    context.differences.push_back("cannot load this architecture without attention biases");
  return absl::OkStatus();
}

bool IsGptOssWindowed(const Hyper&, uint64_t layer) { return layer % 2 == 0; }

}  // namespace

const Family kGptOss = {
    .names = kGptOssNames,
    .model_type = "gpt_oss",
    .architecture = kGptOssArchitecture,
    .hypers = kGptOssHypers,
    .fixed = kGptOssFixed,
    .keys = kGptOssKeys,
    .tensors = kGptOssTensors,
    .checked = "drawn",
    .llama_cpp = "rounds YaRN's correction range where truncate is false",
    .rope =
        {.theta = 150000,
         .parameters =
             R"({"rope_type":"yarn","factor":32.0,"beta_fast":32.0,"beta_slow":1.0,"truncate":false,)"
             R"("original_max_position_embeddings":4096})"},
    .activation_key = "",
    .windowed = IsGptOssWindowed,
    .llama_cpp_windows = true,
    .derive = DeriveGptOss,
};

}  // namespace smelt
