// A published folder as a ModelSource.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "lib/model/open.h"

namespace smelt {

/// A folder with config.json (or params.json, as Meta and Mistral have it), weights and tokenizer.
absl::StatusOr<OpenedModel> OpenFolder(const std::string& path, const OpenOptions& options);

}  // namespace smelt
