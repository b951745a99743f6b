// A GGUF file (or all parts of a split one) as a ModelSource.
#pragma once

#include <memory>
#include <string>

#include "formats/gguf.h"
#include "lib/model/model_source.h"

namespace smelt {

/// `name` is what messages call it. Tensors of types without a codec can be listed and copied, but
/// not read as f32.
std::unique_ptr<ModelSource> MakeGgufSource(std::string name, GgufFile file);

}  // namespace smelt
