// A GGUF file (or all parts of a split one) as a ModelSource.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "formats/gguf.h"
#include "lib/model/model_source.h"

namespace smelt {

/// `name` is what messages call it. Tensors of types without a codec can be listed and copied, but
/// not read as f32.
std::unique_ptr<ModelSource> MakeGgufSource(std::string name, GgufFile file);

/// Opens `path` (the first file of a split one stands for all).
absl::StatusOr<std::unique_ptr<ModelSource>> OpenGgufSource(const std::string& path);

}  // namespace smelt
