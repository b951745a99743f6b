// Mamba, Falcon-Mamba and Mamba-2 (Codestral-Mamba among them).
// Defaults: transformers models/{mamba,falcon_mamba,mamba2}/configuration_*.py.
#include <cmath>
#include <limits>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/families/families.h"
#include "lib/model/ssm_reader.h"

namespace smelt {
namespace {

absl::Status ReadMambaBlocks(SpecReader& reader, const Architecture& architecture,
                             ModelSpec& spec) {
  const bool grouped = architecture.name == kMamba2Architecture.name;
  SMELT_ASSIGN_OR_RETURN(BlockReader blocks, BlockReader::Create(reader, architecture, spec));
  reader.Ignore({"attention.head_count", "feed_forward_length"});
  SMELT_ASSIGN_OR_RETURN(SsmReader ssm, SsmReader::Create(reader, blocks, grouped));
  for (uint64_t i = 0; i < blocks.layers(); ++i) {
    LayerSpec layer;
    SMELT_ASSIGN_OR_RETURN(layer.mixer_norm,
                           blocks.ReadNorm(i, architecture.mixer_norm, blocks.width()));
    if (grouped) {
      SMELT_ASSIGN_OR_RETURN(layer.mixer, ssm.ReadMamba2(i));
    } else {
      SMELT_ASSIGN_OR_RETURN(layer.mixer, ssm.ReadMamba1(i, false));
    }
    spec.layers.push_back(std::move(layer));
  }
  return absl::OkStatus();
}

}  // namespace

const Architecture kMambaArchitecture = {
    .name = "mamba", .ffn_norm = "", .rope = RopeStyle::kNone, .read_blocks = ReadMambaBlocks};
const Architecture kMamba2Architecture = {
    .name = "mamba2", .ffn_norm = "", .rope = RopeStyle::kNone, .read_blocks = ReadMambaBlocks};

namespace {

constexpr std::string_view kMambaNames[] = {"MambaForCausalLM", "MambaLMHeadModel", "MambaModel"};
constexpr std::string_view kFalconNames[] = {"FalconMambaForCausalLM", "FalconMambaModel"};
constexpr std::string_view kMamba2Names[] = {"Mamba2ForCausalLM", "Mamba2Model"};

constexpr HyperRule kStateLayers{
    Param::kLayers, "num_hidden_layers|n_layer", HyperKind::kCount, kRequired, 1, 1 << 16};
constexpr HyperRule kStateWidth{Param::kWidth, "hidden_size|d_model"};
constexpr HyperRule kEps{Param::kEps, "layer_norm_epsilon", HyperKind::kReal, Default(1e-5), 0,
                         1e3};
constexpr HyperRule kConvKernel{Param::kConv, "conv_kernel", HyperKind::kCount, Default(4), 1,
                                1 << 10};

constexpr auto kMambaHypers = std::to_array<HyperRule>({
    kStateLayers,
    kStateWidth,
    Vocab(50280),
    kEps,
    kConvKernel,
    {Param::kState, "state_size", HyperKind::kCount, Default(16), 1, 1 << 16},
    {Param::kExpand, "expand", HyperKind::kCount, kAbsent, 1, 1 << 10},
    {Param::kGivenInner, "intermediate_size|d_inner", HyperKind::kCount, kAbsent},
    Tied(true),
    Flag(Param::kBias, "use_bias", false),
    Flag(Param::kConvBias, "use_conv_bias", true),
});

constexpr auto kFalconHypers = Table<HyperRule>(
    kMambaHypers,
    HyperRule{Param::kMixerEps, "mixer_rms_eps", HyperKind::kReal, Default(1e-6), 0, 1e3});

constexpr HyperRule kMamba2Hypers[] = {
    kStateLayers,
    kStateWidth,
    Vocab(32768),
    kEps,
    kConvKernel,
    {Param::kState, "state_size", HyperKind::kCount, Default(128), 1, 1 << 16},
    {Param::kSsmHeads, "num_heads", HyperKind::kCount, Default(128), 1, 1 << 20},
    {Param::kSsmHeadSize, "head_dim", HyperKind::kCount, Default(64), 1, 1 << 16},
    {Param::kGroups, "n_groups", HyperKind::kCount, Default(8), 1, 1 << 16},
    {Param::kExpand, "expand", HyperKind::kCount, Default(2), 1, 1 << 10},
    Tied(false),
    Flag(Param::kBias, "use_bias", false),
    Flag(Param::kConvBias, "use_conv_bias", true),
};

// The kernel's activation, and the norm that there is.
constexpr FixedRule kMambaFixed[] = {{"hidden_act", "\"silu\"|\"swish\""}, {"rms_norm", "true"}};

constexpr std::array<KeyRule, 11> kStateKeys = {{
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kNone, 0},
    {"attention.head_count", ValueType::kU32, Param::kNone, 0},
    {"block_count", ValueType::kU32, Param::kLayers},
    {"ssm.conv_kernel", ValueType::kU32, Param::kConv},
    {"ssm.inner_size", ValueType::kU32, Param::kInner},
    {"ssm.state_size", ValueType::kU32, Param::kState},
    {"ssm.time_step_rank", ValueType::kU32, Param::kRank},
    {"ssm.group_count", ValueType::kU32, Param::kGroups},
    {"attention.layer_norm_rms_epsilon", ValueType::kF32, Param::kEps},
}};
constexpr auto kMambaKeys = Table<KeyRule>(
    kStateKeys, KeyRule{"ssm.dt_b_c_rms", ValueType::kBool, Param::kNone, 0}, kFileTypeKey);
constexpr auto kFalconKeys = Table<KeyRule>(
    kStateKeys, KeyRule{"ssm.dt_b_c_rms", ValueType::kBool, Param::kNone, 1}, kFileTypeKey);
constexpr auto kMamba2ModelKeys = Table<KeyRule>(kStateKeys, kFileTypeKey);

constexpr TensorRule kMambaTensors[] = {
    {"token_embd.weight", "backbone.embeddings.weight|backbone.embedding.weight", Param::kVocab,
     Param::kWidth},
    {"output_norm.weight", "backbone.norm_f.weight", Param::kWidth, Param::kNone},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "backbone.layers.*.norm.weight", Param::kWidth, Param::kNone},
    {"blk.*.ssm_in.weight", "backbone.layers.*.mixer.in_proj.weight", Param::kTwoInner,
     Param::kWidth, TensorOp::kCopy, Param::kBias},
    {"blk.*.ssm_conv1d.weight", "backbone.layers.*.mixer.conv1d.weight", Param::kInner,
     Param::kConv, TensorOp::kConv, Param::kConvBias},
    {"blk.*.ssm_x.weight", "backbone.layers.*.mixer.x_proj.weight", Param::kXRows, Param::kInner},
    {"blk.*.ssm_dt.weight", "backbone.layers.*.mixer.dt_proj.weight", Param::kInner, Param::kRank,
     TensorOp::kCopy, Param::kAlways},
    {"blk.*.ssm_a", "backbone.layers.*.mixer.A_log", Param::kInner, Param::kState,
     TensorOp::kNegativeExp},
    {"blk.*.ssm_d", "backbone.layers.*.mixer.D", Param::kInner, Param::kNone},
    {"blk.*.ssm_out.weight", "backbone.layers.*.mixer.out_proj.weight", Param::kWidth,
     Param::kInner, TensorOp::kCopy, Param::kBias},
};

constexpr auto kMamba2Tensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "backbone.embeddings.weight|backbone.embedding.weight",
               Param::kVocab, Param::kWidth},
    TensorRule{"output_norm.weight", "backbone.norm_f.weight", Param::kWidth, Param::kNone},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    TensorRule{"blk.*.attn_norm.weight", "backbone.layers.*.norm.weight", Param::kWidth,
               Param::kNone},
    kMamba2Mixer, kMamba2Norm);

void DeriveCommon(FamilyContext& context) {
  Hyper& h = context.hyper;
  h.Set(Param::kContext, 1048576);  // as llama.cpp's converter writes: there is no limit
  if (h.flag(Param::kBias)) context.differences.push_back("cannot load biases of the projections");
  if (h(Param::kInner) != 2 * h(Param::kWidth))
    context.differences.push_back("cannot load an inner size other than twice the width");
}

absl::Status DeriveFrom(FamilyContext& context, uint64_t inner) {
  Hyper& h = context.hyper;
  SMELT_ASSIGN_OR_RETURN(const uint64_t rank, ReadTimeStepRank(context, "time_step_rank"));
  h.Set(Param::kInner, static_cast<double>(inner));
  h.Set(Param::kTwoInner, 2.0 * static_cast<double>(inner));
  h.Set(Param::kRank, static_cast<double>(rank));
  h.Set(Param::kXRows, static_cast<double>(rank + 2 * h(Param::kState)));
  DeriveCommon(context);
  return absl::OkStatus();
}

absl::Status DeriveMamba(FamilyContext& context) {
  const Hyper& h = context.hyper;
  uint64_t inner = h.Has(Param::kGivenInner) ? h(Param::kGivenInner) : 2 * h(Param::kWidth);
  if (h.Has(Param::kExpand)) {
    inner = h(Param::kExpand) * h(Param::kWidth);
    if (h.Has(Param::kGivenInner) && h(Param::kGivenInner) != inner) {
      return context.config.Bad(
          "intermediate_size|d_inner",
          Cat("is ", h(Param::kGivenInner), ", but expand x hidden_size is ", inner));
    }
  }
  return DeriveFrom(context, inner);
}

/// Its published configurations state another `expand` than their inner size has.
absl::Status DeriveFalcon(FamilyContext& context) {
  const Hyper& h = context.hyper;
  const uint64_t expand = h.Has(Param::kExpand) ? h(Param::kExpand) : 2;
  SMELT_RETURN_IF_ERROR(DeriveFrom(
      context, h.Has(Param::kGivenInner) ? h(Param::kGivenInner) : expand * h(Param::kWidth)));
  if (h.real(Param::kMixerEps) == h.real(Param::kEps)) return absl::OkStatus();
  WriteOwn<float>(context.extra, "smelt.ssm.dt_b_c_epsilon",
                  static_cast<float>(h.real(Param::kMixerEps)));
  context.differences.push_back(Cat("takes ", h.real(Param::kEps), " for mixer_rms_eps ",
                                    h.real(Param::kMixerEps), " in the norms of dt, B and C"));
  return absl::OkStatus();
}

/// A number of `time_step_limit`; infinity also as {"__float__": "Infinity"}.
std::optional<double> LimitOf(const JsonValue& value) {
  if (const JsonValue* text = value.Find("__float__");
      text != nullptr && text->as_string() != nullptr) {
    if (*text->as_string() == "Infinity") return std::numeric_limits<double>::infinity();
    return std::nullopt;
  }
  const std::optional<double> number = value.as_double();
  return number && !std::isnan(*number) ? number : std::nullopt;
}

absl::Status DeriveMamba2Model(FamilyContext& context) {
  const Hyper& h = context.hyper;
  SMELT_RETURN_IF_ERROR(DeriveMamba2(context, h(Param::kExpand) * h(Param::kWidth), "num_heads",
                                     "head_dim", "n_groups"));
  DeriveCommon(context);
  return ReadTimeStepLimit(context);
}

}  // namespace

absl::Status ReadTimeStepLimit(FamilyContext& context) {
  const JsonValue* limit = context.config.Find("time_step_limit");
  if (limit == nullptr) return absl::OkStatus();
  const JsonValue::Array* pair = limit->as_array();
  if (pair == nullptr || pair->size() != 2)
    return context.config.Bad("time_step_limit", "is no list of two numbers");
  const auto low = LimitOf((*pair)[0]), high = LimitOf((*pair)[1]);
  const bool held = low && high && CheckedFloat(*low) &&
                    (std::isinf(*high) || CheckedFloat(*high));  // a GGUF keeps them in f32
  if (!held || !(*low <= *high) || *low < 0) {
    return context.config.Bad("time_step_limit", "is no range of numbers that are not negative");
  }
  if (*low > 0) WriteOwn<float>(context.extra, "smelt.ssm.time_step_min", static_cast<float>(*low));
  if (std::isfinite(*high))
    WriteOwn<float>(context.extra, "smelt.ssm.time_step_max", static_cast<float>(*high));
  if (*low > 0 || std::isfinite(*high))
    context.differences.push_back("ignores the limits of the time step");
  return absl::OkStatus();
}

absl::Status ReadMambaHeadSize(FamilyContext& context) {
  const JsonValue* value = context.config.Find("mamba_d_head");
  if (value != nullptr && value->as_string() != nullptr && *value->as_string() == "auto")
    return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const auto size, context.config.Count("mamba_d_head", 1, 1 << 16));
  if (size) context.hyper.Set(Param::kSsmHeadSize, static_cast<double>(*size));
  return absl::OkStatus();
}

absl::Status DeriveMamba2(FamilyContext& context, uint64_t inner, std::string_view heads_key,
                          std::string_view head_size_key, std::string_view groups_key) {
  Hyper& h = context.hyper;
  const uint64_t heads = h(Param::kSsmHeads), groups = h(Param::kGroups);
  if (inner % heads != 0) {
    return context.config.Bad(heads_key,
                              Cat("is ", heads, ", which does not divide the inner size ", inner));
  }
  if (h.Has(Param::kSsmHeadSize) && inner != heads * h(Param::kSsmHeadSize)) {
    return context.config.Bad(heads_key,
                              Cat("x ", head_size_key, " is ", heads * h(Param::kSsmHeadSize),
                                  ", but the inner size (expand x hidden_size) is ", inner));
  }
  if (heads % groups != 0) {
    return context.config.Bad(groups_key,
                              Cat("is ", groups, ", which does not divide the ", heads, " heads"));
  }
  const uint64_t channels = inner + 2 * groups * h(Param::kState);
  h.Set(Param::kInner, static_cast<double>(inner));
  h.Set(Param::kRank, static_cast<double>(heads));
  h.Set(Param::kChannels, static_cast<double>(channels));
  h.Set(Param::kInRows, static_cast<double>(inner + channels + heads));
  h.Set(Param::kGroupSize, static_cast<double>(inner / groups));
  return absl::OkStatus();
}

const std::span<const TensorRule> kMamba2TensorRules = kMamba2Tensors;
const std::span<const KeyRule> kMamba2KeyRules = kMamba2ModelKeys;

const Family kMamba = {
    .names = kMambaNames,
    .model_type = "mamba",
    .architecture = kMambaArchitecture,
    .hypers = kMambaHypers,
    .fixed = kMambaFixed,
    .keys = kMambaKeys,
    .tensors = kMambaTensors,
    .body = "backbone.",
    .rotary = false,
    .activation_key = "",
    .derive = DeriveMamba,
};

const Family kFalconMamba = {
    .names = kFalconNames,
    .model_type = "falcon_mamba",
    .architecture = kMambaArchitecture,
    .hypers = kFalconHypers,
    .fixed = kMambaFixed,
    .keys = kFalconKeys,
    .tensors = kMambaTensors,
    .body = "backbone.",
    .rotary = false,
    .activation_key = "",
    .derive = DeriveFalcon,
};

const Family kMamba2 = {
    .names = kMamba2Names,
    .model_type = "mamba2",
    .architecture = kMamba2Architecture,
    .hypers = kMamba2Hypers,
    .fixed = kMambaFixed,
    .keys = kMamba2ModelKeys,
    .tensors = kMamba2Tensors,
    .body = "backbone.",
    .rotary = false,
    .activation_key = "",
    .derive = DeriveMamba2Model,
};

}  // namespace smelt
