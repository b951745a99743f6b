// Adapters that were asked for when a model is opened.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/model/lora.h"
#include "lib/model/lora_merge.h"
#include "lib/model/open.h"

namespace smelt {

bool IsGgufFile(const std::string& path);

/// What the adapters are called, in their order.
std::vector<std::string> AdapterNames(const OpenOptions& options);

/// Says what came of an adapter.
void NoteMerged(const std::string& path, double strength, const LoraMerged& merged,
                std::vector<std::string>& notes);

/// Says which patterns PEFT passes over too, which nobody means.
void NotePatterns(const LoraAdapter& adapter, std::vector<std::string>& notes);

/// Adds to the tensors of an opened model, as a GGUF has them, what adapters are for those:
/// llama.cpp's, and of a base that is a GGUF PEFT's too.
absl::Status AdaptResult(const OpenOptions& options, bool base_is_gguf, OpenedModel& opened);

}  // namespace smelt
