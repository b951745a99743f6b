#include "lib/model/block_reader.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr std::string_view kLayerNorm = "attention.layer_norm_epsilon",
                           kRmsNorm = "attention.layer_norm_rms_epsilon";

}  // namespace

std::string BlockReader::Block(uint64_t layer, std::string_view name) const {
  return Cat("blk.", layer, ".", name);
}

absl::StatusOr<BlockReader> BlockReader::Create(SpecReader& reader,
                                                const Architecture& architecture, ModelSpec& spec) {
  BlockReader blocks(reader, architecture);
  SMELT_RETURN_IF_ERROR(blocks.ReadModelWide(spec));
  return blocks;
}

absl::Status BlockReader::ReadModelWide(ModelSpec& spec) {
  SMELT_ASSIGN_OR_RETURN(blocks_, reader_.Count("block_count"));
  layers_ = blocks_;
  // Every block has tensors: a count beyond them is a lie, noticed before anything is allocated per
  // block.
  if (layers_ > reader_.source().tensors().size()) {
    return reader_.Bad("block_count", Cat("is ", layers_, ", but there are only ",
                                          reader_.source().tensors().size(), " tensors"));
  }
  SMELT_RETURN_IF_ERROR(ReadDraft());
  SMELT_ASSIGN_OR_RETURN(width_, reader_.Count("embedding_length", 1, kMaxWidth));
  SMELT_ASSIGN_OR_RETURN(context_, reader_.Count("context_length"));
  const bool rms = architecture_.norm == NormKind::kRms || architecture_.rms_epsilon_key;
  SMELT_ASSIGN_OR_RETURN(epsilon_, reader_.Real(rms ? kRmsNorm : kLayerNorm, 0, 1e6));
  SMELT_ASSIGN_OR_RETURN(attention_softcap_, reader_.RealOr("attn_logit_softcapping", 0, 0));
  SMELT_ASSIGN_OR_RETURN(spec.logit_softcap, reader_.RealOr("final_logit_softcapping", 0, 0));
  SMELT_RETURN_IF_ERROR(ReadActivation());
  SMELT_RETURN_IF_ERROR(ReadScales(spec));
  reader_.Ignore({"vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "pooling_type",
                  "rope.dimension_sections", "n_deepstack_layers",  // of images
                  kRmsNorm, kLayerNorm});                           // the other kind's
  SMELT_ASSIGN_OR_RETURN(const bool causal, reader_.FlagOr("attention.causal", true));
  if (!causal)
    return reader_.Bad("attention.causal", "is false: this engine only reads left to right");

  const int embedding = reader_.source().Find("token_embd.weight");
  if (embedding < 0) return Error(ErrorCode::kInvalidInput, "tensor token_embd.weight is missing");
  const uint64_t vocabulary = reader_.source().tensors()[embedding].shape.ne[1];
  const std::string why = Cat(reader_.Key("embedding_length"), " is ", width_);
  SMELT_ASSIGN_OR_RETURN(spec.embedding,
                         reader_.Tensor("token_embd.weight", {width_, vocabulary}, why));
  if (vocabulary > (1u << 30))
    return Error(ErrorCode::kInvalidInput, "tensor token_embd.weight has ", vocabulary, " rows");
  if (architecture_.learned_positions) {
    SMELT_ASSIGN_OR_RETURN(
        spec.positions,
        reader_.Tensor("position_embd.weight", {width_, context_},
                       Cat(why, ", ", reader_.Key("context_length"), " is ", context_)));
  }
  SMELT_ASSIGN_OR_RETURN(spec.final_norm,
                         ReadNormNamed(std::string(architecture_.final_norm), width_, why));
  SMELT_ASSIGN_OR_RETURN(spec.output.weight,
                         reader_.TensorIf("output.weight", {width_, vocabulary}, why));
  SMELT_ASSIGN_OR_RETURN(spec.output.bias, reader_.TensorIf("output.bias", {vocabulary}, why));
  if (!spec.output.present()) spec.output.weight = spec.embedding;
  spec.context_length = context_;
  spec.width = static_cast<uint32_t>(width_);
  spec.vocabulary = static_cast<uint32_t>(vocabulary);
  if (architecture_.scaled_embedding) spec.embedding_scale = std::sqrt(static_cast<double>(width_));
  return ReadInputs(spec);
}

/// Blocks that guess further tokens come last and are not run.
absl::Status BlockReader::ReadDraft() {
  constexpr std::string_view kKey = "nextn_predict_layers";
  SMELT_ASSIGN_OR_RETURN(const uint64_t draft, reader_.CountOr(kKey, 0));
  if (draft >= blocks_)
    return reader_.Bad(kKey, Cat("is ", draft, " of ", blocks_, " blocks, which leaves none"));
  layers_ = blocks_ - draft;
  for (uint64_t i = layers_; i < blocks_; ++i) reader_.IgnoreTensors(Block(i, ""));
  return absl::OkStatus();
}

absl::Status BlockReader::ReadInputs(ModelSpec& spec) {
  constexpr std::string_view kKey = "embedding_length_per_layer_input";
  SMELT_ASSIGN_OR_RETURN(inputs_, reader_.CountOr(kKey, 0, 0, kMaxWidth / layers_));
  if (inputs_ == 0) return absl::OkStatus();
  PerLayerInputs& inputs = spec.inputs;
  const uint64_t all = inputs_ * layers_;
  const std::string why = Cat(reader_.Key(kKey), " is ", inputs_);
  inputs.size = static_cast<uint32_t>(inputs_);
  inputs.table_scale = std::sqrt(static_cast<double>(inputs_));
  inputs.scale = std::sqrt(0.5);
  SMELT_ASSIGN_OR_RETURN(
      inputs.table, reader_.Tensor("per_layer_token_embd.weight", {all, spec.vocabulary}, why));
  SMELT_ASSIGN_OR_RETURN(inputs.projection.weight,
                         reader_.Tensor("per_layer_model_proj.weight", {width_, all}, why));
  SMELT_ASSIGN_OR_RETURN(inputs.norm, ReadNormNamed("per_layer_proj_norm", inputs_, why));
  inputs.norm.group = inputs_;
  // The projection is divided by sqrt(width) before it is normalised, of which only this is left.
  inputs.norm.epsilon *= static_cast<double>(width_);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> BlockReader::PerLayer(std::string_view suffix, uint64_t low,
                                                            uint64_t high) {
  SMELT_ASSIGN_OR_RETURN(std::vector<uint64_t> all, reader_.PerLayer(suffix, blocks_, low, high));
  all.resize(layers_);
  return all;
}

absl::StatusOr<std::vector<bool>> BlockReader::Flags(std::string_view suffix,
                                                     const MetadataValue& value) {
  if (!value.is_array() || value.size() != blocks_ || value.element_type() == ValueType::kString) {
    return reader_.Bad(suffix, Cat("has ", value.size(), " values, expected one flag for each of ",
                                   blocks_, " blocks"));
  }
  const auto* flags = value.get_if<std::vector<uint8_t>>();
  std::vector<bool> out;
  for (uint64_t i = 0; i < layers_; ++i)
    out.push_back(flags != nullptr ? (*flags)[i] != 0 : value.IntAt(i).value_or(0) != 0);
  return out;
}

absl::StatusOr<std::vector<bool>> BlockReader::ReadRecurrentLayers() {
  constexpr std::string_view kKey = "attention.recurrent_layers",
                             kInterval = "full_attention_interval";
  SMELT_ASSIGN_OR_RETURN(const uint64_t interval, reader_.CountOr(kInterval, 4, 1));
  if (const MetadataValue* value = reader_.Value(kKey)) return Flags(kKey, *value);
  std::vector<bool> recurrent;
  for (uint64_t i = 0; i < layers_; ++i) recurrent.push_back((i + 1) % interval != 0);
  return recurrent;
}

absl::Status BlockReader::ReadScales(ModelSpec& spec) {
  constexpr double kLeast = 1e-30;
  if (architecture_.residual_scale) {
    SMELT_ASSIGN_OR_RETURN(spec.embedding_scale, reader_.RealOr("embedding_scale", 1, kLeast));
    SMELT_ASSIGN_OR_RETURN(residual_scale_, reader_.RealOr("residual_scale", 1, kLeast));
  }
  if (architecture_.logit_scale == LogitScale::kNone) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const double scale, reader_.RealOr("logit_scale", 1, kLeast));
  spec.logit_scale = architecture_.logit_scale == LogitScale::kDivides ? 1 / scale : scale;
  return absl::OkStatus();
}

absl::Status BlockReader::ReadActivation() {
  static const std::map<std::string, Activation, std::less<>> kNames = {
      {"silu", Activation::kSilu},
      {"gelu", Activation::kGelu},
      {"gelu_tanh", Activation::kGeluTanh},
      {"relu", Activation::kRelu},
      {"relu2", Activation::kRelu2}};
  activation_ = architecture_.activation;
  SMELT_ASSIGN_OR_RETURN(const std::string name, reader_.Own<std::string>("smelt.activation", ""));
  if (const auto it = kNames.find(name); it != kNames.end()) activation_ = it->second;
  return absl::OkStatus();
}

absl::StatusOr<Norm> BlockReader::ReadNormNamed(const std::string& prefix, uint64_t n,
                                                std::string_view why) {
  Norm norm;
  norm.kind = architecture_.norm;
  norm.epsilon = epsilon_;
  if (architecture_.unweighted_norms) return norm;
  const std::string name = reader_.HasTensor(prefix) ? prefix : prefix + ".weight";
  SMELT_ASSIGN_OR_RETURN(norm.weight, reader_.Tensor(name, {n}, why));
  SMELT_ASSIGN_OR_RETURN(norm.bias, reader_.TensorIf(prefix + ".bias", {n}, why));
  return norm;
}

absl::StatusOr<Norm> BlockReader::ReadNorm(uint64_t layer, std::string_view name, uint64_t n) {
  if (name.empty()) return Norm{};
  return ReadNormNamed(Block(layer, name), n, Cat(reader_.Key("block_count"), " is ", layers_));
}

absl::StatusOr<Linear> BlockReader::ReadLinear(uint64_t layer, std::string_view name,
                                               uint64_t inputs, uint64_t outputs,
                                               std::string_view why) {
  Linear linear;
  const std::string prefix = Block(layer, name);
  SMELT_ASSIGN_OR_RETURN(linear.weight, reader_.Tensor(prefix + ".weight", {inputs, outputs}, why));
  SMELT_ASSIGN_OR_RETURN(linear.bias, reader_.TensorIf(prefix + ".bias", {outputs}, why));
  return linear;
}

absl::StatusOr<Linear> BlockReader::ReadExpertLinear(uint64_t layer, std::string_view name,
                                                     uint64_t inputs, uint64_t outputs) {
  Linear linear;
  const std::string prefix = Block(layer, name);
  const std::string why = Cat(reader_.Key("expert_count"), " is ", experts_);
  SMELT_ASSIGN_OR_RETURN(linear.weight,
                         reader_.Tensor(prefix + ".weight", {inputs, outputs, experts_}, why));
  SMELT_ASSIGN_OR_RETURN(linear.bias, reader_.TensorIf(prefix + ".bias", {outputs, experts_}, why));
  return linear;
}

absl::Status BlockReader::PrepareAttention() {
  SMELT_ASSIGN_OR_RETURN(heads_, PerLayer("attention.head_count", 1, 1 << 20));
  kv_heads_ = heads_;
  if (reader_.Has("attention.head_count_kv")) {
    const uint64_t least =
        architecture_.read_blocks != nullptr ? 0 : 1;  // hybrids: 0 where a block has no attention
    SMELT_ASSIGN_OR_RETURN(kv_heads_, PerLayer("attention.head_count_kv", least, 1 << 20));
  }
  for (uint64_t i = 0; i < layers_; ++i) {
    if (kv_heads_[i] != 0 && heads_[i] % kv_heads_[i] != 0) {
      return reader_.Bad(
          "attention.head_count_kv",
          Cat("is ", kv_heads_[i], ", which does not divide the ", heads_[i], " heads"));
    }
  }
  SMELT_RETURN_IF_ERROR(ReadHeadSizes());
  const bool by_width =
      architecture_.layers_scaled_by_width != 0 && layers_ == architecture_.layers_scaled_by_width;
  const double divisor = by_width ? static_cast<double>(width_) / heads_[0] : key_size_;
  SMELT_ASSIGN_OR_RETURN(scale_, reader_.RealOr("attention.scale", 0, 0));
  if (scale_ == 0) scale_ = architecture_.attention_scale;
  if (scale_ == 0) scale_ = 1 / std::sqrt(divisor);
  if (architecture_.clamped_qkv) {
    SMELT_ASSIGN_OR_RETURN(clamp_, reader_.RealOr("attention.clamp_kqv", 0, 0));
  }
  SMELT_ASSIGN_OR_RETURN(scale_by_layer_,
                         reader_.Own<bool>("smelt.attention.scale_by_layer", false));
  SMELT_RETURN_IF_ERROR(ReadWindows());
  SMELT_RETURN_IF_ERROR(ReadRotatedLayers());
  SMELT_RETURN_IF_ERROR(ReadSharedKeys());
  return ReadRope();
}

absl::Status BlockReader::ReadHeadSizes() {
  constexpr uint64_t kMost = 1 << 16;
  if (!reader_.Has("attention.key_length") && width_ % heads_[0] != 0) {
    return reader_.Bad("attention.head_count",
                       Cat("is ", heads_[0], ", which does not divide embedding_length ", width_));
  }
  const uint64_t usual = width_ / heads_[0];
  SMELT_ASSIGN_OR_RETURN(key_size_, reader_.CountOr("attention.key_length", usual, 1, kMost));
  SMELT_ASSIGN_OR_RETURN(value_size_, reader_.CountOr("attention.value_length", usual, 1, kMost));
  SMELT_ASSIGN_OR_RETURN(key_size_window_,
                         reader_.CountOr("attention.key_length_swa", key_size_, 1, kMost));
  SMELT_ASSIGN_OR_RETURN(value_size_window_,
                         reader_.CountOr("attention.value_length_swa", value_size_, 1, kMost));
  return absl::OkStatus();
}

/// The last layers attend to the keys of the last one of their kind before them.
absl::Status BlockReader::ReadSharedKeys() {
  constexpr std::string_view kKey = "attention.shared_kv_layers";
  SMELT_ASSIGN_OR_RETURN(const uint64_t shared, reader_.CountOr(kKey, 0, 0, layers_));
  keys_of_.assign(layers_, -1);
  for (uint64_t i = layers_ - shared; i < layers_; ++i) {
    uint64_t from = layers_ - shared;
    while (from > 0 && windowed_[from - 1] != windowed_[i]) --from;
    if (from == 0 || kv_heads_[from - 1] != kv_heads_[i]) {
      return reader_.Bad(
          kKey, Cat("is ", shared, ", but no layer before block ", i, " has keys of its kind"));
    }
    keys_of_[i] = static_cast<int>(from - 1);
  }
  return absl::OkStatus();
}

absl::Status BlockReader::ReadRotatedLayers() {
  for (uint64_t i = 0; i < layers_; ++i)
    rotated_.push_back(architecture_.Rotates(i, window_ != 0, windowed_[i]));
  if (architecture_.rope_switch) {
    SMELT_ASSIGN_OR_RETURN(const bool rotates, reader_.FlagOr("rope.scaling.finetuned", true));
    if (!rotates) rotated_.assign(layers_, false);
    // llama.cpp's converter writes these of a hybrid class even where no layer is a hybrid's.
    reader_.Ignore({"ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.inner_size",
                    "ssm.time_step_rank"});
  }
  SMELT_ASSIGN_OR_RETURN(
      const std::vector<uint8_t> flags,
      reader_.OwnList<std::vector<uint8_t>>("smelt.attention.rotated_layers", {.layers = layers_}));
  for (uint64_t i = 0; i < flags.size(); ++i) rotated_[i] = flags[i] != 0;
  return absl::OkStatus();
}

absl::Status BlockReader::ReadWindows() {
  SMELT_ASSIGN_OR_RETURN(window_, reader_.CountOr("attention.sliding_window", 0));
  windowed_.assign(layers_, window_ != 0);
  const MetadataValue* pattern = reader_.Value("attention.sliding_window_pattern");
  if (pattern != nullptr && pattern->is_array()) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<bool> flags,
                           Flags("attention.sliding_window_pattern", *pattern));
    for (uint64_t i = 0; i < layers_; ++i) windowed_[i] = window_ != 0 && flags[i];
    return absl::OkStatus();
  }
  SMELT_ASSIGN_OR_RETURN(const uint64_t period, reader_.CountOr("attention.sliding_window_pattern",
                                                                architecture_.window_period));
  if (period == 0) return absl::OkStatus();
  for (uint64_t i = 0; i < layers_; ++i) windowed_[i] = window_ != 0 && i % period < period - 1;
  return absl::OkStatus();
}

absl::Status BlockReader::ReadYarn(RopeParameters& rope) {
  rope.scaling = RopeScaling::kYarn;
  SMELT_ASSIGN_OR_RETURN(rope.original_context,
                         reader_.RealOr("rope.scaling.original_context_length", context_, 1));
  SMELT_ASSIGN_OR_RETURN(rope.beta_fast, reader_.RealOr("rope.scaling.yarn_beta_fast", 32, 1e-6));
  SMELT_ASSIGN_OR_RETURN(rope.beta_slow, reader_.RealOr("rope.scaling.yarn_beta_slow", 1, 1e-6));
  SMELT_ASSIGN_OR_RETURN(rope.truncate,
                         reader_.Own<bool>("smelt.rope.scaling.yarn_truncate", true));
  SMELT_ASSIGN_OR_RETURN(const double extrapolation,
                         reader_.RealOr("rope.scaling.yarn_ext_factor", 1, -1));
  if (extrapolation != 1)
    return reader_.Bad("rope.scaling.yarn_ext_factor", "is not 1: only full YaRN is supported");
  if (rope.base == 1) return reader_.Bad("rope.freq_base", "is 1, for which YaRN is undefined");
  // Where mscale_all_dim is given, the magnitude is that of mscale (1 here) over that of it.
  if (architecture_.yarn_log_unit != 0) {
    SMELT_ASSIGN_OR_RETURN(const double multiplier,
                           reader_.RealOr("rope.scaling.yarn_log_multiplier", 0, 0));
    yarn_log_ = multiplier / architecture_.yarn_log_unit;
  }
  // The published attention factor replaces YaRN's own; rope.scaling.attn_factor multiplies it.
  yarn_magnitude_ = YarnMagnitude(rope.factor, yarn_log_);
  const bool keeps_length = architecture_.yarn_scales_scores && yarn_log_ != 0;
  const double own = keeps_length ? 1 : YarnMagnitude(rope.factor) / yarn_magnitude_;
  SMELT_ASSIGN_OR_RETURN(const double published,
                         reader_.RealOr("rope.scaling.yarn_attn_factor", own, 0));
  SMELT_ASSIGN_OR_RETURN(const double extra,
                         reader_.RealOr("rope.scaling.attn_factor", published / own, 0));
  rope.magnitude = own * extra;
  return absl::OkStatus();
}

/// Tensors where readers of the architecture know them, else keys of our own.
absl::Status BlockReader::ReadRopeFactors(RopeParameters& rope) {
  const uint64_t dims = rope.dims;
  const std::string why = Cat(reader_.Key("rope.dimension_count"), " is ", dims);
  const auto factors = [&](std::string_view name) -> absl::StatusOr<std::vector<float>> {
    SMELT_ASSIGN_OR_RETURN(const TensorRef tensor, reader_.TensorIf(name, {dims / 2}, why));
    if (tensor == kNoTensor) return std::vector<float>();
    SMELT_ASSIGN_OR_RETURN(std::vector<float> values, reader_.Values(tensor));
    if (std::any_of(values.begin(), values.end(), [](float v) { return v <= 0; })) {
      return Error(ErrorCode::kInvalidInput, "tensor ", name, " has a value that is not positive");
    }
    return values;
  };
  SMELT_ASSIGN_OR_RETURN(rope.factors, factors("rope_freqs.weight"));
  if (rope.factors.empty()) {
    SMELT_ASSIGN_OR_RETURN(rope.factors, factors("rope_factors_short.weight"));
  }
  if (rope.factors.empty()) {
    SMELT_ASSIGN_OR_RETURN(rope.factors, reader_.OwnList<std::vector<float>>(
                                             "smelt.rope.factors", {.rotary_pairs = dims / 2}));
  }
  SMELT_ASSIGN_OR_RETURN(rope.long_factors, factors("rope_factors_long.weight"));
  if (rope.long_factors.empty()) {
    SMELT_ASSIGN_OR_RETURN(
        rope.long_factors,
        reader_.OwnList<std::vector<float>>("smelt.rope.factors_long", {.rotary_pairs = dims / 2}));
  }
  return absl::OkStatus();
}

absl::Status BlockReader::ReadRope() {
  if (architecture_.rope == RopeStyle::kNone) {
    reader_.Ignore({"rope.dimension_count", "rope.freq_base"});
    return absl::OkStatus();
  }
  RopeParameters rope;
  rope.style = architecture_.rope;
  SMELT_ASSIGN_OR_RETURN(const uint64_t dims,
                         reader_.CountOr("rope.dimension_count", key_size_, 1, 1 << 16));
  if (dims % 2 != 0 || dims > key_size_) {
    return reader_.Bad(
        "rope.dimension_count",
        Cat("is ", dims, ", expected an even number up to the head size ", key_size_));
  }
  rope.dims = static_cast<uint32_t>(dims);
  SMELT_ASSIGN_OR_RETURN(rope.base,
                         reader_.RealOr("rope.freq_base", architecture_.rope_base, 1e-6));
  const double other =
      architecture_.rope_base_window != 0 ? architecture_.rope_base_window : rope.base;
  SMELT_ASSIGN_OR_RETURN(const double window_base,
                         reader_.RealOr("rope.freq_base_swa", other, 1e-6));
  SMELT_ASSIGN_OR_RETURN(rope.factor, reader_.RealOr("rope.scaling.factor", 1, 0));
  if (reader_.Has("rope.scale_linear")) {
    SMELT_ASSIGN_OR_RETURN(rope.factor, reader_.RealOr("rope.scale_linear", 1, 0));
  }
  if (rope.factor == 0) rope.factor = 1;  // as llama.cpp reads it
  const bool factor_only = rope.factor != 1;
  SMELT_ASSIGN_OR_RETURN(const std::string type,
                         reader_.TextOr("rope.scaling.type", factor_only ? "linear" : "none"));
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (type == "yarn") {
    SMELT_RETURN_IF_ERROR(ReadYarn(rope));
  } else if (type != "none" && type != "longrope") {
    return reader_.Bad("rope.scaling.type",
                       Cat("is ", Escape(type), ", expected none, linear, yarn or longrope"));
  }
  SMELT_RETURN_IF_ERROR(ReadRopeFactors(rope));
  if (rope.scaling != RopeScaling::kYarn) {
    SMELT_ASSIGN_OR_RETURN(rope.magnitude, reader_.RealOr("rope.scaling.attn_factor", 1, 0));
    SMELT_ASSIGN_OR_RETURN(rope.long_from,
                           reader_.CountOr("rope.scaling.original_context_length", context_, 1));
    SMELT_ASSIGN_OR_RETURN(rope.long_magnitude,
                           reader_.Own<float>("smelt.rope.attn_factor_long", 0));
  }
  SMELT_ASSIGN_OR_RETURN(rope.dynamic_factor, reader_.Own<float>("smelt.rope.dynamic_factor", 0));
  if (rope.dynamic_factor != 0 && dims < 4)
    return BadOwnKey("smelt.rope.dynamic_factor", "needs 4 rotary dimensions at least");
  if (architecture_.temperature) {
    SMELT_ASSIGN_OR_RETURN(temperature_, reader_.RealOr("attention.temperature_scale", 0, 0));
    SMELT_ASSIGN_OR_RETURN(temperature_length_,
                           reader_.CountOr("attention.temperature_length",
                                           static_cast<uint64_t>(rope.original_context)));
    if (temperature_ != 0 && temperature_length_ == 0) {
      return reader_.Bad("attention.temperature_scale",
                         "needs rope.scaling.original_context_length");
    }
  }
  rope.dynamic_from = context_;
  rope_ = MakeRope(rope);
  if (!architecture_.rope_scales_windows) {
    RopeParameters plain;
    plain.style = rope.style;
    SMELT_ASSIGN_OR_RETURN(
        const uint64_t window_dims,
        reader_.CountOr("rope.dimension_count_swa", std::min(dims, key_size_window_), 2, 1 << 16));
    if (window_dims % 2 != 0 || window_dims > key_size_window_) {
      return reader_.Bad("rope.dimension_count_swa",
                         Cat("is ", window_dims, ", expected an even number up to the head size ",
                             key_size_window_));
    }
    plain.dims = static_cast<uint32_t>(window_dims);
    SMELT_ASSIGN_OR_RETURN(plain.factors,
                           reader_.OwnList<std::vector<float>>("smelt.rope.factors_swa",
                                                               {.rotary_pairs = window_dims / 2}));
    SMELT_ASSIGN_OR_RETURN(plain.magnitude, reader_.Own<float>("smelt.rope.attn_factor_swa", 1));
    rope = plain;
  }
  rope.base = window_base;
  rope_window_ = MakeRope(rope);
  return absl::OkStatus();
}

absl::Status BlockReader::ReadQkv(uint64_t layer, Attention& attention) {
  const uint64_t key_size = KeySize(layer), value_size = ValueSize(layer);
  const uint64_t q = heads_[layer] * (key_size + (architecture_.gated_attention ? value_size : 0)),
                 k = kv_heads_[layer] * key_size, v = kv_heads_[layer] * value_size;
  const std::string why =
      Cat(reader_.Key("embedding_length"), " ", width_, ", attention.head_count ", heads_[layer],
          ", head_count_kv ", kv_heads_[layer], ", key_length ", key_size, ", value_length ",
          value_size);
  if (architecture_.fused_qkv || reader_.HasTensor(Block(layer, "attn_qkv.weight"))) {
    SMELT_ASSIGN_OR_RETURN(const Linear fused,
                           ReadLinear(layer, "attn_qkv", width_, q + k + v, why));
    attention.q = attention.k = attention.v = fused;
    attention.q.rows = q;
    attention.k.first_row = q;
    attention.k.rows = k;
    attention.v.first_row = q + k;
    attention.v.rows = v;
  } else {
    SMELT_ASSIGN_OR_RETURN(attention.q, ReadLinear(layer, "attn_q", width_, q, why));
    if (attention.keys_of < 0) {
      SMELT_ASSIGN_OR_RETURN(attention.k, ReadLinear(layer, "attn_k", width_, k, why));
      attention.v = attention.k;
      // Values without a matrix of their own are the keys.
      if (!architecture_.value_norm || k != v || reader_.HasTensor(Block(layer, "attn_v.weight"))) {
        SMELT_ASSIGN_OR_RETURN(attention.v, ReadLinear(layer, "attn_v", width_, v, why));
      }
    } else {
      for (const std::string_view unused : {"attn_k.", "attn_v.", "attn_k_norm."})
        reader_.IgnoreTensors(Block(layer, unused));
    }
  }
  SMELT_ASSIGN_OR_RETURN(attention.output,
                         ReadLinear(layer, "attn_output", heads_[layer] * value_size, width_, why));
  if (architecture_.value_norm)
    attention.v_norm = {.kind = NormKind::kRms, .epsilon = epsilon_, .group = value_size};
  return ReadQkNorms(layer, attention);
}

absl::Status BlockReader::ReadQkNorms(uint64_t layer, Attention& attention) {
  const std::string first = Block(layer, "attn_q_norm.weight");
  const bool absent = architecture_.qk_norm_optional && !reader_.HasTensor(first);
  if (architecture_.qk_norm == QkNorm::kNone || absent) return absl::OkStatus();
  const uint64_t size = KeySize(layer);
  if (architecture_.qk_norm == QkNorm::kEachHead) {
    const std::string why = Cat(reader_.Key("attention.head_count"), " is ", heads_[layer]);
    Norm norm{.kind = architecture_.norm, .epsilon = epsilon_, .group = size};
    SMELT_ASSIGN_OR_RETURN(norm.weight, reader_.Tensor(first, {size, heads_[layer]}, why));
    attention.q_norm = norm;
    SMELT_ASSIGN_OR_RETURN(norm.weight, reader_.Tensor(Block(layer, "attn_k_norm.weight"),
                                                       {size, kv_heads_[layer]}, why));
    attention.k_norm = norm;
    return absl::OkStatus();
  }
  const bool per_head = architecture_.qk_norm == QkNorm::kPerHead;
  SMELT_ASSIGN_OR_RETURN(attention.q_norm,
                         ReadNorm(layer, "attn_q_norm", per_head ? size : heads_[layer] * size));
  if (attention.keys_of < 0) {
    SMELT_ASSIGN_OR_RETURN(attention.k_norm, ReadNorm(layer, "attn_k_norm",
                                                      per_head ? size : kv_heads_[layer] * size));
  }
  if (per_head) attention.q_norm.group = attention.k_norm.group = size;
  return absl::OkStatus();
}

absl::StatusOr<Attention> BlockReader::ReadAttention(uint64_t layer) {
  Attention attention;
  attention.heads = static_cast<uint32_t>(heads_[layer]);
  attention.kv_heads = static_cast<uint32_t>(kv_heads_[layer]);
  attention.key_size = static_cast<uint32_t>(KeySize(layer));
  attention.value_size = static_cast<uint32_t>(ValueSize(layer));
  attention.gated = architecture_.gated_attention;
  attention.keys_of = keys_of_[layer];
  attention.scale = scale_by_layer_ ? scale_ / static_cast<double>(layer + 1) : scale_;
  attention.softcap = attention_softcap_;
  attention.clamp = clamp_;
  attention.window = windowed_[layer] ? window_ : 0;
  if (rotated_[layer]) attention.rope = windowed_[layer] ? rope_window_ : rope_;
  attention.temperature = temperature_;
  attention.temperature_length = std::max<uint64_t>(temperature_length_, 1);
  attention.norm_after_rope = architecture_.norm_after_rope;
  SMELT_RETURN_IF_ERROR(ReadQkv(layer, attention));
  if (architecture_.sinks) {
    SMELT_ASSIGN_OR_RETURN(
        attention.sinks,
        reader_.Tensor(Block(layer, "attn_sinks.weight"), {heads_[layer]},
                       Cat(reader_.Key("attention.head_count"), " is ", heads_[layer])));
  }
  return attention;
}

}  // namespace smelt
