// Which family a config.json means.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "lib/model/family.h"

namespace smelt {

/// The families whose models are published with a config.json.
std::span<const Family* const> KnownFamilies();

/// By `architectures`, or by `model_type` where there are none. Errors name the nearest known
/// classes.
absl::StatusOr<const Family*> ChooseFamily(const Config& config);

}  // namespace smelt
