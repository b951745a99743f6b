// A vocabulary as written against the tokenizer that it was written from.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/metadata.h"
#include "lib/text/spec/pipeline_spec.h"
#include "lib/text/tokenizer.h"

namespace smelt {

/// Reads `metadata` back, compares what it says with the spec that was `written` (where it is
/// given), and encodes text in many scripts, code, whitespace, numbers and the special tokens with
/// both tokenizers. An error shows the first difference. Takes well under a second.
absl::Status CheckVocabulary(const Tokenizer& published, const Metadata& metadata,
                             const PipelineSpec* written = nullptr);

/// Text in many scripts, code, whitespace and numbers, on which tokenizers are compared.
std::vector<std::string> ProbeTexts();

}  // namespace smelt
