// Folders that hold an adapter (LoRA and its relatives) in place of a model.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace smelt {

/// Whether a folder holds an adapter as PEFT saves it, and no whole weights.
bool HoldsOnlyAdapter(const std::string& folder);

/// Whether a folder holds an adapter as mlx-lm saves it.
bool IsMlxAdapter(const std::string& folder);

/// Refuses a folder whose only weights are an adapter's, naming its kind and its base model. Where
/// whole weights lie beside an adapter, a note says that it is not applied.
absl::Status CheckNoAdapter(const std::string& folder, std::vector<std::string>& notes);

}  // namespace smelt
