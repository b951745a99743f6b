// The tokenizer that a GGUF's keys describe, from what was read of them.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/spec/pipeline_spec.h"
#include "lib/text/tokenizer.h"

namespace smelt {

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufTokenizer(const GgufVocabulary& vocabulary,
                                                             PipelineSpec spec);

}  // namespace smelt
