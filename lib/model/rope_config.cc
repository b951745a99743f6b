#include "lib/model/rope_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lib/base/checked.h"
#include "lib/base/status.h"
#include "lib/model/rope.h"

namespace smelt {
namespace {

// Keys of a rope dictionary that we honour; any other is refused by name. "finetuned" and
// "max_position_embeddings" have no influence.
constexpr std::string_view kKnownKeys[] = {"rope_type",
                                           "type",
                                           "rope_theta",
                                           "partial_rotary_factor",
                                           "factor",
                                           "original_max_position_embeddings",
                                           "max_position_embeddings",
                                           "attention_factor",
                                           "attn_factor",
                                           "beta_fast",
                                           "beta_slow",
                                           "mscale",
                                           "mscale_all_dim",
                                           "truncate",
                                           "low_freq_factor",
                                           "high_freq_factor",
                                           "short_factor",
                                           "long_factor",
                                           "finetuned",
                                           "alpha",
                                           "mrope_section",
                                           "mrope_interleaved",
                                           "short_mscale",
                                           "long_mscale",
                                           "llama_4_scaling_beta"};

/// Reads one dictionary; `where` is its key in config.json.
class RopeReader {
 public:
  RopeReader(const Config& config, const JsonValue& value, std::string where,
             const RopeDefaults& defaults, double context, bool by_class = false)
      : dictionary_(value, Cat(config.name(), ": ", where)),
        config_(config),
        defaults_(defaults),
        context_(context),
        by_class_(by_class) {}

  absl::StatusOr<RopeConfig> Read(std::string& warning) {
    RopeConfig rope;
    SMELT_RETURN_IF_ERROR(ReadType(rope));
    SMELT_RETURN_IF_ERROR(ReadTheta(rope));
    SMELT_RETURN_IF_ERROR(ReadScaling(rope));
    SMELT_RETURN_IF_ERROR(ReadExtras(rope));
    for (const auto& [key, value] : *dictionary_.value().as_object()) {
      if (std::find(std::begin(kKnownKeys), std::end(kKnownKeys), key) == std::end(kKnownKeys)) {
        return dictionary_.Bad(key, "is not known here: ignoring it could change the result");
      }
    }
    if (warning.empty()) warning = WithoutEffect();
    return rope;
  }

 private:
  /// A sentence that names keys whose values the type does not use; empty where there are none.
  std::string WithoutEffect() const {
    std::string keys;
    for (const std::string& key : dictionary_.Unread()) {
      const JsonValue* value = dictionary_.value().FindNonNull(key);
      const bool scales = value != nullptr && key != "finetuned" && value->as_double() != 1.0 &&
                          !key.ends_with("max_position_embeddings");
      if (scales) keys += Cat(keys.empty() ? "" : ", ", key);
    }
    if (keys.empty()) return "";
    const JsonValue* type = dictionary_.Find("rope_type|type");
    return Cat(dictionary_.name(), " has ",
               type == nullptr ? std::string("no rope_type")
                               : Cat("rope_type ", Escape(type->ToText(), 40)),
               ", so that ", keys, " has no effect, here as in transformers",
               type == nullptr ? "; add the rope_type if the model was trained with it" : "");
  }

  absl::Status ReadType(RopeConfig& rope) {
    SMELT_ASSIGN_OR_RETURN(const auto text, dictionary_.Text("rope_type|type"));
    const std::string type = text.value_or("default");
    if (type == "default" || (type == "mrope" && has_sections())) {
      rope.type = RopeType::kDefault;
    } else if (type == "linear") {
      rope.type = RopeType::kLinear;
    } else if (type == "dynamic") {
      rope.type = RopeType::kDynamic;
    } else if (type == "longrope" || type == "su" ||
               (type == "yarn" && defaults_.yarn_means_longrope)) {
      rope.type = RopeType::kLongRope;
    } else if (type == "yarn") {
      rope.type = RopeType::kYarn;
    } else if (type == "llama3") {
      rope.type = RopeType::kLlama3;
    } else if (type == "proportional" && defaults_.proportional) {
      rope.type = RopeType::kProportional;
    } else {
      return Error(ErrorCode::kUnsupported, dictionary_.name(), " has type ", Escape(type),
                   ", expected default, linear, dynamic, yarn, llama3 or longrope");
    }
    return absl::OkStatus();
  }

  absl::Status ReadTheta(RopeConfig& rope) {
    SMELT_ASSIGN_OR_RETURN(const auto inside, dictionary_.Real("rope_theta"));
    SMELT_ASSIGN_OR_RETURN(auto outside, config_.Real(defaults_.theta_key));
    if (by_class_) outside = std::nullopt;  // the class's dictionary is whole
    // null is not the same as absent: transformers then has no base.
    if (dictionary_.IsNull("rope_theta"))
      return dictionary_.Bad("rope_theta", "is null, expected a positive number, or no such key");
    if (!inside && config_.IsNull(defaults_.theta_key)) {
      return config_.Bad(defaults_.theta_key,
                         "is null, expected a positive number, or no such key");
    }
    if (inside && outside && *inside != *outside) {
      return Error(ErrorCode::kInvalidInput, dictionary_.name(), " has rope_theta ", *inside,
                   ", but ", defaults_.theta_key, " beside it is ", *outside);
    }
    if (rope.type == RopeType::kProportional && !inside && !outside)
      return dictionary_.Bad("rope_theta", "is missing, which the type proportional needs");
    rope.theta = inside ? *inside : outside.value_or(defaults_.theta);
    if (rope.theta <= 0 || rope.theta > 1e30) {  // a GGUF keeps it in f32
      return config_.Bad(defaults_.theta_key, Cat("(rope_theta) is ", rope.theta,
                                                  ", expected a positive number below 1e30"));
    }
    if (const bool inside_null = dictionary_.IsNull("partial_rotary_factor");
        defaults_.partial != 1 && (inside_null || (!dictionary_.Has("partial_rotary_factor") &&
                                                   config_.IsNull(defaults_.partial_key)))) {
      return (inside_null ? dictionary_ : config_)
          .Bad(inside_null ? "partial_rotary_factor" : defaults_.partial_key,
               "is null, expected more than 0 and at most 1, or no such key");
    }
    SMELT_ASSIGN_OR_RETURN(const auto partial, dictionary_.Real("partial_rotary_factor"));
    SMELT_ASSIGN_OR_RETURN(const auto partial_outside, config_.Real(defaults_.partial_key));
    rope.partial = partial ? *partial : partial_outside.value_or(defaults_.partial);
    if (rope.partial <= 0 || rope.partial > 1) {
      return config_.Bad(defaults_.partial_key,
                         Cat("is ", rope.partial, ", expected more than 0 and at most 1"));
    }
    return absl::OkStatus();
  }

  /// What only some families have; elsewhere a value is refused.
  absl::Status ReadExtras(RopeConfig& rope) {
    const auto refuse = [&](std::string_view key, bool known) -> absl::Status {
      if (known || !dictionary_.Has(key)) return absl::OkStatus();
      return dictionary_.Bad(key, "is there, which this family does not know");
    };
    SMELT_RETURN_IF_ERROR(refuse("mrope_section", has_sections()));
    SMELT_RETURN_IF_ERROR(refuse("llama_4_scaling_beta", defaults_.temperature));
    SMELT_RETURN_IF_ERROR(refuse("alpha", defaults_.alpha_stretches));
    SMELT_RETURN_IF_ERROR(refuse("short_mscale", defaults_.magnitudes));
    SMELT_RETURN_IF_ERROR(refuse("long_mscale", defaults_.magnitudes));
    if (has_sections()) SMELT_RETURN_IF_ERROR(ReadSections(rope));
    SMELT_ASSIGN_OR_RETURN(rope.temperature_scale, dictionary_.Real("llama_4_scaling_beta"));
    if (defaults_.temperature && !rope.temperature_scale)
      return dictionary_.Bad("llama_4_scaling_beta", "is missing, which this family needs");
    if (rope.temperature_scale && rope.original_context == 0)
      SMELT_RETURN_IF_ERROR(Positive("original_max_position_embeddings", rope.original_context));
    return absl::OkStatus();
  }

  bool has_sections() const { return defaults_.sections[0] != 0; }

  absl::Status ReadSections(RopeConfig& rope) {
    dictionary_.Find("mrope_interleaved");  // text has one position stream
    SMELT_ASSIGN_OR_RETURN(rope.sections, dictionary_.Reals("mrope_section"));
    if (dictionary_.Has("mrope_section")) return absl::OkStatus();
    if (dictionary_.IsNull("mrope_section"))
      return dictionary_.Bad("mrope_section", "is null, expected three counts of pairs");
    rope.sections.assign(defaults_.sections.begin(), defaults_.sections.end());
    return absl::OkStatus();
  }

  absl::Status Positive(std::string_view key, double& value) {
    SMELT_ASSIGN_OR_RETURN(const auto number, dictionary_.Real(key));
    if (!number) return dictionary_.Bad(key, "is missing");
    if (CheckedFloat(*number).value_or(0) <= 0)  // a GGUF keeps it in f32
      return dictionary_.Bad(key, Cat("is ", *number, ", expected a positive number below 1e38"));
    value = *number;
    return absl::OkStatus();
  }

  absl::Status ReadScaling(RopeConfig& rope) {
    if (rope.type == RopeType::kDefault) return absl::OkStatus();
    rope.has_factor = dictionary_.Has("factor");
    const bool optional = rope.type == RopeType::kLongRope || rope.type == RopeType::kProportional;
    if (!optional || rope.has_factor) SMELT_RETURN_IF_ERROR(Positive("factor", rope.factor));
    if (rope.type == RopeType::kDynamic && defaults_.alpha_stretches && dictionary_.Has("alpha")) {
      for (std::string_view key : {"factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow"})
        dictionary_.Find(key);  // of no effect
      return Positive("alpha", rope.alpha);
    }
    if (rope.type == RopeType::kLinear || rope.type == RopeType::kDynamic ||
        rope.type == RopeType::kProportional)
      return absl::OkStatus();
    // The configuration's own (Phi-3) counts before the dictionary's, but Phi-3.5-MoE's class knows
    // only the latter; else the trained context.
    if (defaults_.original_context != 0 && config_.IsNull("original_max_position_embeddings")) {
      return config_.Bad("original_max_position_embeddings",
                         "is null, expected a count of positions, or no such key");
    }
    if (dictionary_.IsNull("original_max_position_embeddings")) {
      return dictionary_.Bad("original_max_position_embeddings",
                             "is null, expected a count of positions, or no such key");
    }
    SMELT_ASSIGN_OR_RETURN(const auto outside, config_.Real("original_max_position_embeddings"));
    SMELT_ASSIGN_OR_RETURN(const auto inside, dictionary_.Real("original_max_position_embeddings"));
    rope.original_context = defaults_.magnitudes && inside    ? *inside
                            : outside                         ? *outside
                            : defaults_.original_context != 0 ? defaults_.original_context
                                                              : inside.value_or(context_);
    if (CheckedInteger<uint32_t>(rope.original_context).value_or(0) == 0) {
      return dictionary_.Bad("original_max_position_embeddings",
                             Cat("is ", rope.original_context,
                                 ", expected a count of positions from 1 to 4294967295"));
    }
    if (rope.type == RopeType::kLlama3) return ReadLlama3(rope);
    SMELT_ASSIGN_OR_RETURN(rope.attention_factor, dictionary_.Real("attention_factor"));
    if (rope.type == RopeType::kYarn) {
      SMELT_RETURN_IF_ERROR(ReadYarn(rope));
    } else {
      SMELT_RETURN_IF_ERROR(ReadLongRope(rope));
    }
    if (rope.attention_factor && CheckedFloat(*rope.attention_factor).value_or(0) <= 0) {
      return dictionary_.Bad(
          "attention_factor",
          Cat("(given or computed) is ", *rope.attention_factor, ", expected a positive number"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadLlama3(RopeConfig& rope) {
    SMELT_RETURN_IF_ERROR(Positive("low_freq_factor", rope.low_freq_factor));
    SMELT_RETURN_IF_ERROR(Positive("high_freq_factor", rope.high_freq_factor));
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      return dictionary_.Bad("high_freq_factor",
                             Cat("is ", rope.high_freq_factor,
                                 ", expected more than low_freq_factor ", rope.low_freq_factor));
    }
    return absl::OkStatus();
  }

  absl::Status ReadYarn(RopeConfig& rope) {
    SMELT_ASSIGN_OR_RETURN(rope.beta_fast, dictionary_.Real("beta_fast"));
    SMELT_ASSIGN_OR_RETURN(rope.beta_slow, dictionary_.Real("beta_slow"));
    for (const auto& [key, beta] :
         {std::pair("beta_fast", &rope.beta_fast), std::pair("beta_slow", &rope.beta_slow)}) {
      if (*beta && **beta == 0) *beta = std::nullopt;  // transformers: `or` the default
      if (*beta && CheckedFloat(**beta).value_or(-1) < 0) {
        return dictionary_.Bad(key, Cat("is ", **beta, ", expected a positive number"));
      }
    }
    SMELT_ASSIGN_OR_RETURN(const auto truncate, dictionary_.Flag("truncate"));
    rope.truncate = truncate.value_or(true);
    SMELT_ASSIGN_OR_RETURN(const auto mscale, dictionary_.Real("mscale"));
    SMELT_ASSIGN_OR_RETURN(const auto mscale_all, dictionary_.Real("mscale_all_dim"));
    if (mscale_all.value_or(0) == 0) return absl::OkStatus();
    rope.mscale_all_dim = mscale_all;
    if (rope.attention_factor) return absl::OkStatus();
    // Only of both there is a ratio; alone mscale_all_dim leaves YaRN's own magnitude.
    const bool both = mscale.value_or(0) != 0;
    rope.attention_factor =
        both ? YarnMagnitude(rope.factor, *mscale) / YarnMagnitude(rope.factor, *mscale_all)
             : YarnMagnitude(rope.factor);
    if (both && *mscale == 1) rope.log_multiplier = mscale_all;
    return absl::OkStatus();
  }

  absl::Status ReadLongRope(RopeConfig& rope) {
    SMELT_ASSIGN_OR_RETURN(rope.short_factor, dictionary_.Reals("short_factor"));
    SMELT_ASSIGN_OR_RETURN(rope.long_factor, dictionary_.Reals("long_factor"));
    for (const auto& [key, list] : {std::pair("short_factor", &rope.short_factor),
                                    std::pair("long_factor", &rope.long_factor)}) {
      if (list->empty()) return dictionary_.Bad(key, "is missing");
      for (double value : *list) {
        if (CheckedFloat(value).value_or(0) <= 0)
          return dictionary_.Bad(key, Cat("holds ", value, ", expected positive numbers"));
      }
    }
    if (defaults_.magnitudes) {
      double short_magnitude = 0, long_magnitude = 0;
      SMELT_RETURN_IF_ERROR(Positive("short_mscale", short_magnitude));
      SMELT_RETURN_IF_ERROR(Positive("long_mscale", long_magnitude));
      rope.attention_factor = short_magnitude;
      rope.long_attention_factor = long_magnitude;
      return absl::OkStatus();
    }
    const double factor = rope.has_factor ? rope.factor : context_ / rope.original_context;
    if (!rope.attention_factor) {
      rope.attention_factor =
          factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(rope.original_context));
    }
    return absl::OkStatus();
  }

  Config dictionary_;
  const Config& config_;
  const RopeDefaults& defaults_;
  const double context_;
  const bool by_class_;
};

const JsonValue kEmpty{JsonValue::Object()};

constexpr std::string_view kRopeKinds[] = {"full_attention", "sliding_attention"};

bool IsKind(std::string_view key) {
  return std::find(std::begin(kRopeKinds), std::end(kRopeKinds), key) != std::end(kRopeKinds);
}

/// The members of `base` with those of `over` on top.
JsonValue Merged(const JsonValue& base, const JsonValue& over) {
  JsonValue::Object members = *base.as_object();
  for (const auto& added : *over.as_object()) {
    std::erase_if(members, [&](const auto& member) { return member.first == added.first; });
    members.push_back(added);
  }
  return JsonValue(std::move(members));
}

/// Of a family with rotations of its own in the layers with a window: `rope_parameters` has a
/// dictionary per kind of layer, `rope_scaling` is of those without. Gemma 3's class does not look
/// at what else rope_parameters holds, a whole flat dictionary included.
absl::StatusOr<RopeConfigs> ReadByKind(const Config& config, const JsonValue* parameters,
                                       const JsonValue* scaling, const RopeDefaults& defaults,
                                       double context) {
  RopeConfigs both;
  JsonValue standard = kEmpty;
  if (parameters == nullptr && scaling == nullptr && !defaults.parameters.empty()) {
    SMELT_ASSIGN_OR_RETURN(standard,
                           ParseJsonValue(defaults.parameters, "the family's rope_parameters"));
  }
  if (parameters == nullptr) parameters = &standard;
  for (const auto& [key, value] : *parameters->as_object()) {
    if (!IsKind(key)) {
      both.note =
          "rope_parameters counts only what it has under full_attention and sliding_attention, "
          "here as in transformers; the rest has no effect";
    } else if (!value.is_object() && !value.is_null()) {
      return config.Bad("rope_parameters", Cat(Escape(key), " is no object"));
    }
  }
  const JsonValue* full = parameters->FindNonNull("full_attention");
  const JsonValue* window = parameters->FindNonNull("sliding_attention");
  if (defaults.proportional && full == nullptr && scaling == nullptr)
    return config.Bad("rope_parameters", "has no full_attention");
  if (scaling != nullptr && full == nullptr && !parameters->as_object()->empty()) {
    return config.Bad("rope_scaling",
                      "stands beside rope_parameters without full_attention: which one counts is "
                      "not clear");
  }
  const JsonValue merged = Merged(full ? *full : kEmpty, scaling ? *scaling : kEmpty);
  SMELT_ASSIGN_OR_RETURN(
      both.full,
      RopeReader(config, merged, full ? "rope_parameters.full_attention" : "rope_scaling", defaults,
                 context)
          .Read(both.warning));
  RopeDefaults local = defaults;
  local.theta = defaults.local_theta;
  local.theta_key = "rope_local_base_freq";
  SMELT_ASSIGN_OR_RETURN(both.window,
                         RopeReader(config, window ? *window : kEmpty,
                                    "rope_parameters.sliding_attention", local, context)
                             .Read(both.warning));
  // transformers 5.24 looks for `truncate` outside of these dictionaries, where it never is.
  both.full.truncate = both.window.truncate = true;
  return both;
}

absl::StatusOr<RopeConfigs> ReadFlat(const Config& config, const JsonValue& dictionary,
                                     std::string where, const RopeDefaults& defaults,
                                     double context, bool by_class = false) {
  for (std::string_view kind : kRopeKinds) {
    if (dictionary.Find(kind) != nullptr) {
      return config.Bad(where,
                        Cat("has ", kind, ", but this family has one rotation for all layers"));
    }
  }
  RopeConfigs both;
  SMELT_ASSIGN_OR_RETURN(
      both.full, RopeReader(config, dictionary, std::move(where), defaults, context, by_class)
                     .Read(both.warning));
  both.window = both.full;
  return both;
}

}  // namespace

absl::StatusOr<RopeConfigs> ReadRopeConfigs(const Config& config, const RopeDefaults& defaults,
                                            double context) {
  const JsonValue* parameters = config.Find("rope_parameters");
  const JsonValue* scaling = config.Find("rope_scaling");
  for (const auto& [key, value] :
       {std::pair("rope_parameters", parameters), std::pair("rope_scaling", scaling)}) {
    if (value != nullptr && !value->is_object())
      return config.Bad(key, Cat("is of type ", value->KindName(), ", expected an object"));
  }
  if (defaults.local_theta != 0) return ReadByKind(config, parameters, scaling, defaults, context);
  if (scaling != nullptr && parameters != nullptr) {
    SMELT_ASSIGN_OR_RETURN(const RopeConfigs old_style,
                           ReadFlat(config, *scaling, "rope_scaling", defaults, context));
    SMELT_ASSIGN_OR_RETURN(const RopeConfigs new_style,
                           ReadFlat(config, *parameters, "rope_parameters", defaults, context));
    if (!(old_style.full == new_style.full))
      return config.Bad("rope_scaling", "and rope_parameters are both there and disagree");
    return new_style;
  }
  if (parameters != nullptr)
    return ReadFlat(config, *parameters, "rope_parameters", defaults, context);
  if (scaling != nullptr) return ReadFlat(config, *scaling, "rope_scaling", defaults, context);
  if (!defaults.parameters.empty()) {
    SMELT_ASSIGN_OR_RETURN(const JsonValue standard,
                           ParseJsonValue(defaults.parameters, "the family's rope_parameters"));
    return ReadFlat(config, standard, "rope_parameters", defaults, context, true);
  }
  return ReadFlat(config, kEmpty, "rope_parameters", defaults, context);
}

}  // namespace smelt
