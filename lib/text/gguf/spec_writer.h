// From a spec to tokenizer.ggml.*.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/sentencepiece.h"
#include "lib/base/metadata.h"
#include "lib/text/pipeline.h"

namespace smelt {

/// What decides about the keys besides the spec.
struct SpecWriteOptions {
  uint64_t rows = 0;                           ///< as VocabularyOptions
  std::string pre;                             ///< --pre NAME
  std::vector<AddedToken> declared;            ///< by files beside the spec's own
  const SentencePieceModel* pieces = nullptr;  ///< beside a tokenizer.json that has the same tokens
  bool zero_scores = false;                    ///< of a byte-level vocabulary
  bool lists_merges = false;                   ///< as "gemma4", where that can say the spec
};

/// tokenizer.ggml.model, pre, tokens, scores, token_type, and what only this kind has; merges go
/// to `after`. Gives the spec that these keys say, but for the tokens around a text, which other
/// keys have. kUnsupported where keys cannot say what the spec does.
absl::StatusOr<PipelineSpec> WriteSpec(const Pipeline& pipeline, const SpecWriteOptions& options,
                                       Metadata& out, Metadata& after);

}  // namespace smelt
