// Which family a config.json means.
#pragma once

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "lib/model/family.h"

namespace smelt {

/// The families whose models are published with a config.json.
std::span<const Family* const> KnownFamilies();

struct ChosenFamily {
  const Family* family = nullptr;
  std::string note;  ///< what `architectures` says that was looked through; empty: nothing
};

/// By `architectures`, or by `model_type` where there are none or where they name what a training
/// wraps around a model (FSDPLlamaForCausalLM, PeftModelForCausalLM). Errors name the nearest known
/// classes.
absl::StatusOr<ChosenFamily> ChooseFamily(const Config& config);

}  // namespace smelt
