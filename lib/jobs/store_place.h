// Where a store is, and which of its models is meant.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "formats/ollama/name.h"

namespace smelt {

/// `folder`, or the default store; kNotFound where there is none, kUsage where it is no store.
absl::StatusOr<std::string> StoreToRead(const std::string& folder);

/// The name of a model that is there, in the store's spelling.
absl::StatusOr<ollama::Name> StoredName(const std::string& store, const std::string& text);

}  // namespace smelt
