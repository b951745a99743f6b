// Ids for evaluation and generation: from text with the model's tokenizer, or from a JSON list.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/model_source.h"
#include "lib/text/tokenizer.h"
#include "smelt/observer.h"

namespace smelt {

/// A text as llama-perplexity reads it: as ReadText does, less one newline at the end.
absl::StatusOr<std::string> ReadEvaluationText(const std::string& path,
                                               const Observer& observer = {});

/// The tokenizer in the source's metadata (tokenizer.ggml.*); the error names the model.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerOf(const ModelSource& source);

/// Ids of a text for perplexity: tokenized once as a whole, the model's beginning token in front
/// where it adds one, texts of special tokens taken as text.
absl::StatusOr<std::vector<int32_t>> EvaluationIds(const Tokenizer& tokenizer,
                                                   std::string_view text);

/// A JSON list of ids, each below `vocabulary` (0: unknown, unchecked).
absl::StatusOr<std::vector<int32_t>> ReadIdsFile(const std::string& path, uint64_t vocabulary);

/// Rows of the embedding; 0 when the model has none under the usual name.
uint64_t VocabularyRows(const ModelSource& source);

}  // namespace smelt
