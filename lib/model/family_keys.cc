// From hyperparameters to GGUF keys.
#include <algorithm>
#include <cmath>

#include "lib/base/checked.h"
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/family.h"
#include "lib/model/rope.h"

namespace smelt {
namespace {

void Generate(FamilyContext& context, std::string_view name, std::vector<float> values) {
  RecipeTensor tensor;
  tensor.name = name;
  tensor.shape.ne[0] = values.size();
  tensor.shape.dims = 1;
  tensor.recipe.leaves.push_back(ConstantLeaf{std::move(values)});
  context.generated.push_back(std::move(tensor));
}

absl::Status CheckLongRopeFactors(const FamilyContext& context) {
  const RopeConfig& rope = context.rope.full;
  const size_t pairs = context.hyper(Param::kRopeDims) / 2;
  for (const auto& [key, list] : {std::pair("short_factor", &rope.short_factor),
                                  std::pair("long_factor", &rope.long_factor)}) {
    if (list->size() != pairs) {
      return context.config.Bad(key, Cat("(longrope) has ", list->size(), " numbers, expected ",
                                         pairs, ", half of the rotary dimensions"));
    }
  }
  return absl::OkStatus();
}

class KeyWriter {
 public:
  KeyWriter(FamilyContext& context, Metadata& out)
      : context_(context),
        family_(context.family),
        out_(out),
        prefix_(Cat(family_.architecture.name, ".")) {}

  absl::Status Write() {
    for (const KeyRule& rule : family_.keys) {
      if (rule.key == kRopeKeys.key) {
        SMELT_RETURN_IF_ERROR(WriteRope());
      } else if (rule.key == kWindowKeys.key) {
        WriteWindow();
      } else if (rule.key == kKvHeadsKey.key) {
        SMELT_RETURN_IF_ERROR(WriteByLayer("attention.head_count_kv", rule, context_.kv_heads));
      } else if (rule.key == kFfnLengthsKey.key) {
        SMELT_RETURN_IF_ERROR(WriteByLayer("feed_forward_length", rule, context_.ffn));
      } else if (rule.key == kWindowFlagsKey.key) {
        Set("attention.sliding_window_pattern",
            MetadataValue::BoolArray(
                std::vector<uint8_t>(context_.windowed.begin(), context_.windowed.end())));
      } else if (rule.key == kRecurrentKey.key) {
        Set("attention.recurrent_layers",
            MetadataValue::BoolArray(
                std::vector<uint8_t>(context_.recurrent.begin(), context_.recurrent.end())));
      } else if (rule.key == kFileTypeKey.key) {
        out_.Set("general.file_type", uint32_t{0});
      } else if (rule.param != Param::kNone && !context_.hyper.Has(rule.param)) {
        continue;
      } else if (!rule.text.empty()) {
        if (out_.Find(Cat(prefix_, rule.key)) == nullptr) Set(rule.key, std::string(rule.text));
      } else {
        SMELT_RETURN_IF_ERROR(WriteNumber(rule));
      }
    }
    NoteHeadSize();
    WriteActivation();
    WriteRotated();
    for (const Metadata::Entry& entry : context_.extra.entries()) out_.Set(entry.key, entry.value);
    return absl::OkStatus();
  }

 private:
  void Set(std::string_view suffix, MetadataValue value) {
    const bool whole = suffix.starts_with("tokenizer.");
    out_.Set(whole ? std::string(suffix) : Cat(prefix_, suffix), std::move(value));
  }

  absl::Status WriteByLayer(std::string_view key, KeyRule rule, const std::vector<int32_t>& all) {
    if (!all.empty()) {
      Set(key, all);
      return absl::OkStatus();
    }
    rule.key = key;
    return WriteNumber(rule);
  }

  absl::Status WriteNumber(const KeyRule& rule) {
    const double value = rule.constant.value_or(context_.hyper.real(rule.param));
    const std::optional<float> real = CheckedFloat(value);
    const std::optional<uint32_t> count = CheckedInteger<uint32_t>(value);
    if (rule.type == ValueType::kBool) {
      Set(rule.key, value != 0);
    } else if (rule.type == ValueType::kF32 && real) {
      Set(rule.key, *real);
    } else if (rule.type == ValueType::kU32 && count) {
      Set(rule.key, *count);
    } else {
      return Error(ErrorCode::kUnsupported, context_.config.name(), ": ", ConfigKeyOf(rule.param),
                   " gives ", value, ", which the GGUF key ", prefix_, rule.key, " cannot hold (",
                   rule.type == ValueType::kF32 ? "an f32" : "an integer up to 4294967295", ")");
    }
    return absl::OkStatus();
  }

  /// What the configuration calls a hyperparameter; ours where it is computed.
  std::string ConfigKeyOf(Param param) const {
    for (const HyperRule& rule : family_.hypers) {
      if (rule.param == param) return context_.config.KeyOf(rule.config);
    }
    return std::string(TextOf(param));
  }

  /// Architectures whose keys name a head size only where config.json does have llama.cpp compute
  /// shapes without it.
  void NoteHeadSize() {
    const Hyper& h = context_.hyper;
    const bool assumed = std::ranges::any_of(
        family_.keys, [](const KeyRule& rule) { return rule.param == Param::kGivenHeadDim; });
    if (assumed && h(Param::kHeadDim) * h(Param::kHeads) != h(Param::kWidth)) {
      context_.differences.push_back(
          "cannot load heads of a size other than hidden_size / num_attention_heads of this "
          "architecture");
    }
  }

  absl::Status WriteRope() {
    const RopeConfig& rope = context_.rope.full;
    const RopeConfig& window = context_.rope.window;
    const bool tells_apart = family_.rope.local_theta != 0;
    switch (rope.type) {
      case RopeType::kDefault:
        break;
      case RopeType::kLinear:
        Set("rope.scaling.type", "linear");
        Set("rope.scaling.factor", static_cast<float>(rope.factor));
        break;
      case RopeType::kDynamic:
        SMELT_RETURN_IF_ERROR(WriteDynamic(rope));
        break;
      case RopeType::kYarn:
        WriteYarn(rope);
        break;
      case RopeType::kLlama3:
        WriteLlama3(rope);
        break;
      case RopeType::kLongRope:
        SMELT_RETURN_IF_ERROR(WriteLongRope(rope));
        break;
      case RopeType::kProportional:
        WriteProportional(rope);
        break;
    }
    if (!rope.sections.empty()) SMELT_RETURN_IF_ERROR(WriteSections(rope));
    Set("rope.freq_base", static_cast<float>(rope.theta));
    if (!tells_apart) return absl::OkStatus();
    Set("rope.freq_base_swa", static_cast<float>(window.theta));
    return WriteWindowScaling(window);
  }

  /// M-RoPE's: three of pictures share the pairs that turn, a fourth is of other readers.
  absl::Status WriteSections(const RopeConfig& rope) {
    std::vector<int32_t> sections;
    double pairs = 0;
    for (double section : rope.sections) {
      pairs += section;
      sections.push_back(CheckedInteger<int32_t>(section).value_or(0));
    }
    const uint64_t turning = context_.hyper(Param::kRopeDims) / 2;
    const bool add_up = pairs == static_cast<double>(turning);
    if (sections.size() != 3 || (!add_up && !context_.family.rope.interleaved)) {
      return context_.config.Bad("mrope_section",
                                 Cat("(of the class where it is not given) has ", sections.size(),
                                     " sections of ", pairs, " pairs, expected 3 of ", turning));
    }
    sections.resize(4);
    Set("rope.dimension_sections", std::move(sections));
    return absl::OkStatus();
  }

  /// Pairs that do not turn have a divisor that stills them.
  void WriteProportional(const RopeConfig& rope) {
    constexpr float kStill = 1e30f;
    const uint64_t dims = context_.hyper(Param::kRopeDims);
    const double turning = std::floor(rope.partial * static_cast<double>(dims) / 2);
    std::vector<float> factors;
    for (uint64_t i = 0; i < dims / 2; ++i) {
      factors.push_back(static_cast<double>(i) < turning ? static_cast<float>(rope.factor)
                                                         : kStill);
    }
    Generate(context_, "rope_freqs.weight", std::move(factors));
  }

  absl::Status WriteDynamic(const RopeConfig& rope) {
    if (context_.hyper(Param::kRopeDims) < 4)
      return context_.config.Bad("head_dim", "leaves nothing for dynamic rope scaling to stretch");
    WriteOwn<float>(context_.extra, "smelt.rope.dynamic_factor", static_cast<float>(rope.factor));
    context_.differences.push_back(Cat("does not stretch the rotation (dynamic scaling) beyond ",
                                       context_.hyper(Param::kContext), " positions"));
    return absl::OkStatus();
  }

  /// Scaling of the layers with a window only: no reader but ours knows such a thing. Any kind is
  /// one divisor a frequency and a magnitude.
  absl::Status WriteWindowScaling(const RopeConfig& window) {
    if (window.type == RopeType::kDefault) return absl::OkStatus();
    if (window.type == RopeType::kLongRope || window.type == RopeType::kDynamic ||
        window.type == RopeType::kProportional) {
      return context_.config.Bad("rope_parameters",
                                 "scales the layers with a window in a way that is not supported");
    }
    RopeParameters parameters;
    parameters.dims = static_cast<uint32_t>(context_.hyper(
        context_.hyper.Has(Param::kWindowRopeDims) ? Param::kWindowRopeDims : Param::kRopeDims));
    parameters.base = window.theta;
    parameters.factor = window.factor;
    const std::vector<double> plain = MakeRope(parameters).frequency;
    if (window.type == RopeType::kLlama3) {
      parameters.factors = Factors(window);
    } else if (window.type == RopeType::kLinear) {
      parameters.scaling = RopeScaling::kLinear;
    } else {
      parameters.scaling = RopeScaling::kYarn;
      parameters.original_context = window.original_context;
      parameters.beta_fast = window.beta_fast.value_or(parameters.beta_fast);
      parameters.beta_slow = window.beta_slow.value_or(parameters.beta_slow);
      parameters.truncate = window.truncate;
      const double magnitude = window.attention_factor.value_or(YarnMagnitude(window.factor));
      WriteOwn<float>(context_.extra, "smelt.rope.attn_factor_swa", static_cast<float>(magnitude));
    }
    const std::vector<double> scaled = MakeRope(parameters).frequency;
    std::vector<float> factors;
    for (size_t j = 0; j < plain.size(); ++j)
      factors.push_back(static_cast<float>(plain[j] / scaled[j]));
    WriteOwn<std::vector<float>>(context_.extra, "smelt.rope.factors_swa", std::move(factors));
    context_.differences.push_back("does not scale the rotation in the layers with a window");
    return absl::OkStatus();
  }

  void WriteYarn(const RopeConfig& rope) {
    Set("rope.scaling.type", "yarn");
    Set("rope.scaling.factor", static_cast<float>(rope.factor));
    Set("rope.scaling.original_context_length",
        CheckedInteger<uint32_t>(rope.original_context).value_or(0));
    const Architecture& architecture = family_.architecture;
    const bool keeps_length = architecture.yarn_scales_scores && rope.mscale_all_dim;
    const bool by_key = architecture.yarn_scales_scores
                            ? keeps_length && rope.attention_factor == 1.0
                            : rope.log_multiplier && architecture.yarn_log_unit != 0;
    if (rope.attention_factor && !by_key) {
      Set("rope.scaling.yarn_attn_factor", static_cast<float>(*rope.attention_factor));
      // llama.cpp multiplies YaRN's own magnitude by attn_factor.
      const double own = keeps_length ? 1 : YarnMagnitude(rope.factor);
      const auto more = static_cast<float>(*rope.attention_factor / own);
      if (more != 1) Set("rope.scaling.attn_factor", more);
    }
    if (rope.beta_fast) Set("rope.scaling.yarn_beta_fast", static_cast<float>(*rope.beta_fast));
    if (rope.beta_slow) Set("rope.scaling.yarn_beta_slow", static_cast<float>(*rope.beta_slow));
    if (!rope.truncate) {
      WriteOwn<bool>(context_.extra, "smelt.rope.scaling.yarn_truncate", false);
      context_.differences.push_back("rounds YaRN's correction range (truncate is false here)");
    }
  }

  std::vector<float> Factors(const RopeConfig& rope) const {
    return Llama3Factors(static_cast<uint32_t>(context_.hyper(Param::kRopeDims)), rope.theta,
                         rope.factor, rope.low_freq_factor, rope.high_freq_factor,
                         rope.original_context);
  }

  void WriteLlama3(const RopeConfig& rope) {
    if (family_.architecture.rope_freqs) {
      Generate(context_, "rope_freqs.weight", Factors(rope));
      return;
    }
    WriteOwn<std::vector<float>>(context_.extra, "smelt.rope.factors", Factors(rope));
    context_.differences.push_back("does not scale the rotation (llama3) of this architecture");
  }

  absl::Status WriteLongRope(const RopeConfig& rope) {
    Set("rope.scaling.type", "longrope");
    Set("rope.scaling.attn_factor", static_cast<float>(*rope.attention_factor));
    Set("rope.scaling.original_context_length",
        CheckedInteger<uint32_t>(rope.original_context).value_or(0));
    if (family_.architecture.rope_freqs) return AddLongRopeFactors(context_);
    SMELT_RETURN_IF_ERROR(CheckLongRopeFactors(context_));
    const auto floats = [](const std::vector<double>& values) {
      return std::vector<float>(values.begin(), values.end());
    };
    WriteOwn<std::vector<float>>(context_.extra, "smelt.rope.factors", floats(rope.short_factor));
    WriteOwn<std::vector<float>>(context_.extra, "smelt.rope.factors_long",
                                 floats(rope.long_factor));
    context_.differences.push_back("does not scale the rotation (longrope) of this architecture");
    return absl::OkStatus();
  }

  static bool IsPeriodic(const std::vector<bool>& windowed, uint64_t period) {
    for (uint64_t i = 0; i < windowed.size(); ++i) {
      if (windowed[i] != (i % period < period - 1)) return false;
    }
    return true;
  }

  void WriteWindow() {
    const std::vector<bool>& windowed = context_.windowed;
    const uint64_t window = context_.hyper(Param::kWindow);
    const uint32_t usual = family_.architecture.window_period;
    const bool any = std::find(windowed.begin(), windowed.end(), true) != windowed.end();
    if (!any && usual == 0) return;
    if (!any) {
      context_.differences.push_back(
          "cannot run a model of this architecture without any layer that has a window");
    }
    Set("attention.sliding_window", static_cast<uint32_t>(window));
    const bool all =
        std::find(windowed.begin(), windowed.end(), false) == windowed.end() && !windowed.empty();
    const bool as_usual = usual == 0 ? all : IsPeriodic(windowed, usual);
    if (family_.lists_windows && any) {
      Set("attention.sliding_window_pattern",
          MetadataValue::BoolArray(std::vector<uint8_t>(windowed.begin(), windowed.end())));
    } else if (!as_usual) {
      uint64_t period = 1;
      while (period <= windowed.size() && !IsPeriodic(windowed, period)) ++period;
      if (period <= windowed.size() || all) {
        Set("attention.sliding_window_pattern", static_cast<uint32_t>(period));
      } else {
        Set("attention.sliding_window_pattern",
            MetadataValue::BoolArray(std::vector<uint8_t>(windowed.begin(), windowed.end())));
        if (family_.llama_cpp_windows) {
          context_.differences.push_back(
              Cat("assumes a global layer after every ", usual - 1,
                  " with a window in builds that do not read a list of windows"));
        }
      }
    }
    if (any && !family_.llama_cpp_windows) {
      context_.differences.push_back(Cat("ignores the sliding window of ", window, " positions"));
    }
  }

  /// Layers without rotation, where readers of the architecture assume others.
  void WriteRotated() {
    const std::vector<bool>& rotated = context_.rotated;
    const Architecture& architecture = family_.architecture;
    if (rotated.empty()) return;
    const std::vector<bool>& windowed = context_.windowed;
    const bool any = std::ranges::find(windowed, true) != windowed.end();
    bool as_usual = true;
    for (uint64_t i = 0; i < rotated.size(); ++i)
      as_usual &= rotated[i] == architecture.Rotates(i, any, any && windowed[i]);
    if (as_usual) return;
    WriteOwn<std::vector<uint8_t>>(context_.extra, "smelt.attention.rotated_layers",
                                   std::vector<uint8_t>(rotated.begin(), rotated.end()));
    context_.differences.push_back(
        architecture.unrotated_period != 0
            ? Cat("rotates every layer but each ", architecture.unrotated_period, "th")
            : std::string(architecture.rotates_windows_only ? "rotates the layers with a window"
                                                            : "rotates every layer"));
  }

  void WriteActivation() {
    static constexpr std::pair<Activation, std::string_view> kNames[] = {
        {Activation::kSilu, "silu"},
        {Activation::kGelu, "gelu"},
        {Activation::kGeluTanh, "gelu_tanh"},
        {Activation::kRelu, "relu"},
        {Activation::kRelu2, "relu2"}};
    if (context_.activation.empty()) return;
    for (const auto& [activation, name] : kNames) {
      if (activation != family_.architecture.activation || name == context_.activation) continue;
      WriteOwn<std::string>(context_.extra, "smelt.activation", context_.activation);
      context_.differences.push_back(
          Cat("uses ", name, " in the feed-forward part, not ", context_.activation));
    }
  }

  FamilyContext& context_;
  const Family& family_;
  Metadata& out_;
  const std::string prefix_;
};

}  // namespace

absl::Status AddLongRopeFactors(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(CheckLongRopeFactors(context));
  context.differences.push_back(
      "chooses long or short rotation factors (longrope) by its context size, not by how long the "
      "text is");
  const RopeConfig& rope = context.rope.full;
  Generate(context, "rope_factors_long.weight",
           std::vector<float>(rope.long_factor.begin(), rope.long_factor.end()));
  Generate(context, "rope_factors_short.weight",
           std::vector<float>(rope.short_factor.begin(), rope.short_factor.end()));
  return absl::OkStatus();
}

absl::Status WriteKeys(FamilyContext& context, Metadata& keys) {
  return KeyWriter(context, keys).Write();
}

}  // namespace smelt
