// How long a text a model was trained for, said where somebody goes beyond it.
#pragma once

#include <cstdint>

#include "lib/model/model_source.h"
#include "smelt/observer.h"

namespace smelt {

/// Tokens of context that a model was made for: ARCH.context_length, or what its rotary scaling
/// stretches the original context to, whichever is longer. 0: the metadata do not say.
uint64_t TrainedContext(const ModelSource& model);

/// Warns when `tokens`, of one sequence, are more than the model was trained for; whether it did.
bool WarnBeyondTrainedContext(const ModelSource& model, uint64_t tokens, const Observer& observer);

}  // namespace smelt
