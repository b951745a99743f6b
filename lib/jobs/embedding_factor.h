// Rounding with feedback for the token embedding, whose rows are looked up: what is small is not
// the error of a product with it but what the error does to those that read it.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "lib/jobs/plan.h"
#include "lib/model/layer_spec.h"
#include "lib/model/model_source.h"
#include "quant/input_factor.h"

namespace smelt {

/// Whether the plan rounds the embedding with a factor: at --effort best where it is quantized and
/// not the output matrix too, for which that counts more.
bool RoundsEmbedding(const ModelSpec& spec, const Plan& plan);

/// Of what reads the embedding first (infer/stream_readers.h); nothing where nobody does.
absl::StatusOr<std::optional<InputFactor>> EmbeddingFactor(const ModelSource& source,
                                                           const ModelSpec& spec);

}  // namespace smelt
