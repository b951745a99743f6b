// Two models compared on one text: figures mean something only when both read the same tokens.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "lib/base/metadata.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/model/model_source.h"
#include "lib/text/gguf/vocabulary_difference.h"
#include "smelt/observer.h"

namespace smelt {

/// kInvalidInput, with the first difference, when the vocabularies of `model` and `reference`
/// differ, or the ids that they give to one of `texts` (which may be none). `allow`: a warning
/// instead, and whatever differs is given the model's ids. Padding of different lengths is a note.
absl::Status CheckSameTokens(const ModelSource& model, const ModelSource& reference,
                             const std::vector<NamedText>& texts, bool allow,
                             const Observer& observer);

}  // namespace smelt
