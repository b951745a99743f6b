// Edits of metadata (resolved ones) whose keys belong to the tokenizer.
#pragma once

#include "absl/status/status.h"
#include "lib/base/metadata.h"
#include "smelt/metadata_edits.h"
#include "smelt/observer.h"

namespace smelt {

/// A warning when `edits` change what ids texts get, what ids mean, or where generated text ends:
/// the edit may mend a wrong vocabulary, but no check of the weights can tell. A vocabulary that
/// cannot be used afterwards is an error where somebody is going to use it (`must_work`), else a
/// warning too.
absl::Status CheckVocabularyEdits(const Metadata& source, const MetadataEdits& edits,
                                  bool must_work, const Observer& observer);

/// kInternal unless `written` holds the tokenizer's keys of `source`, edited so and nothing else.
absl::Status CheckWrittenVocabulary(const Metadata& source, const MetadataEdits& edits,
                                    const Metadata& written);

}  // namespace smelt
