// From tokenizer.ggml.* and smelt.tokenizer.* to a spec.
#pragma once

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// `vocabulary` is what the same metadata's common keys say. Where a key is missing, what llama.cpp
/// takes for it counts. kUnsupported names models and pre-tokenizers that we do not know.
absl::StatusOr<PipelineSpec> ReadSpec(const Metadata& metadata, const GgufVocabulary& vocabulary);

}  // namespace smelt
