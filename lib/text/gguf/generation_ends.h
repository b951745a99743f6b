// Ids at which a generated text ends, in a GGUF's keys.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/metadata.h"

namespace smelt {

/// Adds the ids that readers of the vocabulary in `out` would not end a text at by its other keys
/// and by what its tokens look like: as eos, eot and eom where these keys are free, else under
/// smelt.tokenizer.end_token_ids, of which `notes` say that llama.cpp does not know them.
absl::Status WriteGenerationEnds(std::span<const int64_t> ids, Metadata& out,
                                 std::vector<std::string>& notes);

}  // namespace smelt
