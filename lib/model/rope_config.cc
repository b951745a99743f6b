#include "lib/model/rope_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lib/base/status.h"
#include "lib/model/rope.h"

namespace smelt {
namespace {

// Keys of a rope dictionary that we honour; any other is refused by name. "finetuned" has no
// influence.
constexpr std::string_view kKnownKeys[] = {"rope_type",        "type",
                                           "rope_theta",       "partial_rotary_factor",
                                           "factor",           "original_max_position_embeddings",
                                           "attention_factor", "attn_factor",
                                           "beta_fast",        "beta_slow",
                                           "mscale",           "mscale_all_dim",
                                           "truncate",         "low_freq_factor",
                                           "high_freq_factor", "short_factor",
                                           "long_factor",      "finetuned"};

/// Reads one dictionary; `where` is its key in config.json.
class RopeReader {
 public:
  RopeReader(const Config& config, const JsonValue& value, std::string where,
             const RopeDefaults& defaults, double context)
      : dictionary_(value, Cat(config.name(), ": ", where)),
        config_(config),
        defaults_(defaults),
        context_(context) {}

  absl::StatusOr<RopeConfig> Read() {
    RopeConfig rope;
    SMELT_RETURN_IF_ERROR(ReadType(rope));
    SMELT_RETURN_IF_ERROR(ReadTheta(rope));
    SMELT_RETURN_IF_ERROR(ReadScaling(rope));
    for (const auto& [key, value] : *dictionary_.value().as_object()) {
      if (std::find(std::begin(kKnownKeys), std::end(kKnownKeys), key) == std::end(kKnownKeys)) {
        return dictionary_.Bad(key, "is not known here: ignoring it could change the result");
      }
    }
    return rope;
  }

 private:
  absl::Status ReadType(RopeConfig& rope) {
    SMELT_ASSIGN_OR_RETURN(const auto text, dictionary_.Text("rope_type|type"));
    const std::string type = text.value_or("default");
    if (type == "default") {
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
    } else {
      return Error(ErrorCode::kUnsupported, dictionary_.name(), " has type ", Escape(type),
                   ", expected default, linear, dynamic, yarn, llama3 or longrope");
    }
    return absl::OkStatus();
  }

  absl::Status ReadTheta(RopeConfig& rope) {
    SMELT_ASSIGN_OR_RETURN(const auto inside, dictionary_.Real("rope_theta"));
    SMELT_ASSIGN_OR_RETURN(const auto outside, config_.Real(defaults_.theta_key));
    if (inside && outside && *inside != *outside) {
      return Error(ErrorCode::kInvalidInput, dictionary_.name(), " has rope_theta ", *inside,
                   ", but ", defaults_.theta_key, " beside it is ", *outside);
    }
    rope.theta = inside ? *inside : outside.value_or(defaults_.theta);
    if (rope.theta <= 0) {
      return config_.Bad(defaults_.theta_key,
                         Cat("(rope_theta) is ", rope.theta, ", expected a positive number"));
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

  absl::Status Positive(std::string_view key, double& value) {
    SMELT_ASSIGN_OR_RETURN(const auto number, dictionary_.Real(key));
    if (!number) return dictionary_.Bad(key, "is missing");
    if (*number <= 0)
      return dictionary_.Bad(key, Cat("is ", *number, ", expected a positive number"));
    value = *number;
    return absl::OkStatus();
  }

  absl::Status ReadScaling(RopeConfig& rope) {
    if (rope.type == RopeType::kDefault) return absl::OkStatus();
    rope.has_factor = dictionary_.Has("factor");
    if (rope.type != RopeType::kLongRope || rope.has_factor)
      SMELT_RETURN_IF_ERROR(Positive("factor", rope.factor));
    if (rope.type == RopeType::kLinear || rope.type == RopeType::kDynamic) return absl::OkStatus();
    // The configuration's own (Phi-3) counts before the dictionary's; else the trained context.
    SMELT_ASSIGN_OR_RETURN(const auto outside, config_.Real("original_max_position_embeddings"));
    SMELT_ASSIGN_OR_RETURN(const auto inside, dictionary_.Real("original_max_position_embeddings"));
    rope.original_context = outside                           ? *outside
                            : defaults_.original_context != 0 ? defaults_.original_context
                                                              : inside.value_or(context_);
    if (rope.original_context <= 0)
      return dictionary_.Bad("original_max_position_embeddings", "is not positive");
    if (rope.type == RopeType::kLlama3) return ReadLlama3(rope);
    SMELT_ASSIGN_OR_RETURN(rope.attention_factor, dictionary_.Real("attention_factor|attn_factor"));
    if (rope.attention_factor && *rope.attention_factor <= 0)
      return dictionary_.Bad("attention_factor", "is not positive");
    return rope.type == RopeType::kYarn ? ReadYarn(rope) : ReadLongRope(rope);
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
    for (std::optional<double>* beta : {&rope.beta_fast, &rope.beta_slow}) {
      if (*beta && **beta == 0) *beta = std::nullopt;  // transformers: `or` the default
      if (*beta && **beta < 0) return dictionary_.Bad("beta_fast|beta_slow", "is negative");
    }
    SMELT_ASSIGN_OR_RETURN(const auto truncate, dictionary_.Flag("truncate"));
    rope.truncate = truncate.value_or(true);
    SMELT_ASSIGN_OR_RETURN(const auto mscale, dictionary_.Real("mscale"));
    SMELT_ASSIGN_OR_RETURN(const auto mscale_all, dictionary_.Real("mscale_all_dim"));
    if (!rope.attention_factor && mscale.value_or(0) != 0 && mscale_all.value_or(0) != 0) {
      rope.attention_factor =
          YarnMagnitude(rope.factor, *mscale) / YarnMagnitude(rope.factor, *mscale_all);
    }
    return absl::OkStatus();
  }

  absl::Status ReadLongRope(RopeConfig& rope) {
    SMELT_ASSIGN_OR_RETURN(rope.short_factor, dictionary_.Reals("short_factor"));
    SMELT_ASSIGN_OR_RETURN(rope.long_factor, dictionary_.Reals("long_factor"));
    for (const auto& [key, list] : {std::pair("short_factor", &rope.short_factor),
                                    std::pair("long_factor", &rope.long_factor)}) {
      if (list->empty()) return dictionary_.Bad(key, "is missing");
      for (double value : *list) {
        if (value <= 0)
          return dictionary_.Bad(key, Cat("holds ", value, ", expected positive numbers"));
      }
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
};

const JsonValue kEmpty{JsonValue::Object()};

/// rope_parameters that hold a dictionary per kind of layer.
absl::StatusOr<RopeConfigs> ReadNested(const Config& config, const JsonValue& parameters,
                                       const RopeDefaults& defaults, double context) {
  for (const auto& [key, value] : *parameters.as_object()) {
    if (key != "full_attention" && key != "sliding_attention") {
      return Error(ErrorCode::kUnsupported, config.name(), ": rope_parameters has ", Escape(key),
                   " beside full_attention");
    }
    if (!value.is_object() && !value.is_null())
      return config.Bad("rope_parameters", Cat(Escape(key), " is no object"));
  }
  const JsonValue* full = parameters.FindNonNull("full_attention");
  const JsonValue* window = parameters.FindNonNull("sliding_attention");
  RopeConfigs both;
  SMELT_ASSIGN_OR_RETURN(both.full, RopeReader(config, full ? *full : kEmpty,
                                               "rope_parameters.full_attention", defaults, context)
                                        .Read());
  RopeDefaults local = defaults;
  local.theta = defaults.local_theta != 0 ? defaults.local_theta : defaults.theta;
  local.theta_key = "rope_local_base_freq";
  SMELT_ASSIGN_OR_RETURN(both.window,
                         RopeReader(config, window ? *window : kEmpty,
                                    "rope_parameters.sliding_attention", local, context)
                             .Read());
  // transformers 5.24 looks for `truncate` outside of these dictionaries, where it never is.
  both.full.truncate = both.window.truncate = true;
  return both;
}

absl::StatusOr<RopeConfigs> ReadFlat(const Config& config, const JsonValue& dictionary,
                                     std::string where, const RopeDefaults& defaults,
                                     double context) {
  RopeConfigs both;
  SMELT_ASSIGN_OR_RETURN(
      both.full, RopeReader(config, dictionary, std::move(where), defaults, context).Read());
  both.window = both.full;
  if (defaults.local_theta == 0) return both;
  SMELT_ASSIGN_OR_RETURN(const auto theta, config.Real("rope_local_base_freq"));
  both.window = RopeConfig();  // scaling is of the full layers only
  both.full.truncate = true;   // as in dictionaries by kind of layer
  both.window.theta = theta.value_or(defaults.local_theta);
  both.window.partial = both.full.partial;
  if (both.window.theta <= 0) return config.Bad("rope_local_base_freq", "is not positive");
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
      return config.Bad(key, Cat("is a ", value->KindName(), ", expected an object"));
  }
  const bool nested = parameters != nullptr &&
                      (parameters->Find("full_attention") || parameters->Find("sliding_attention"));
  if (scaling != nullptr && parameters != nullptr) {
    if (nested)
      return config.Bad("rope_scaling",
                        "stands beside rope_parameters: which one counts is not clear");
    SMELT_ASSIGN_OR_RETURN(const RopeConfigs old_style,
                           ReadFlat(config, *scaling, "rope_scaling", defaults, context));
    SMELT_ASSIGN_OR_RETURN(const RopeConfigs new_style,
                           ReadFlat(config, *parameters, "rope_parameters", defaults, context));
    if (!(old_style.full == new_style.full))
      return config.Bad("rope_scaling", "and rope_parameters are both there and disagree");
    return new_style;
  }
  if (nested) return ReadNested(config, *parameters, defaults, context);
  if (parameters != nullptr)
    return ReadFlat(config, *parameters, "rope_parameters", defaults, context);
  if (scaling != nullptr) return ReadFlat(config, *scaling, "rope_scaling", defaults, context);
  if (!defaults.parameters.empty()) {
    SMELT_ASSIGN_OR_RETURN(const JsonValue standard,
                           ParseJsonValue(defaults.parameters, "the family's rope_parameters"));
    return ReadFlat(config, standard, "rope_parameters", defaults, context);
  }
  return ReadFlat(config, kEmpty, "rope_parameters", defaults, context);
}

}  // namespace smelt
