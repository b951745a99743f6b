// The families and architectures that exist, each defined in its own file, and what several of them
// share.
#pragma once

#include "lib/model/family.h"

namespace smelt {

extern const Architecture kLlamaArchitecture;

extern const Family kLlama, kMistral, kMixtral;

/// Tensor conditions.
inline bool IsUntied(const FamilyContext& context, uint64_t) { return !context.hyper.flag("tied"); }

/// `sliding_window` of families where every layer has it; `absent`: the class's default, 0 = none.
absl::Status ReadWindowOfAllLayers(FamilyContext& context, uint64_t absent);

}  // namespace smelt
