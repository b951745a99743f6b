// Where a value of a GGUF tensor stands in the published tensor that it came from.
#pragma once

#include <cstdint>
#include <string>

#include "lib/model/model_source.h"

namespace smelt {

/// "row 17, column 6 of model.layers.0.mlp.up_proj.weight, counted from 0"; the row and column of
/// the tensor itself for a GGUF and for recipes that do more than move rows.
std::string SourcePlaceOf(const TensorInfo& tensor, uint64_t row, uint64_t column);

}  // namespace smelt
