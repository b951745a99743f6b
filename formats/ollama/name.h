// Names of models in an Ollama store: [scheme://][host/][namespace/]model[:tag].
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace smelt::ollama {

/// The parts as written; empty ones are absent until WithDefaults.
struct Name {
  std::string host, space, model, tag;

  /// Absent parts filled in: registry.ollama.ai, library, latest.
  Name WithDefaults() const;
  /// All parts present and made of the characters and lengths that Ollama allows. Such a name
  /// cannot leave the store.
  bool valid() const;
  /// As lists show it: host and namespace left out when they are the defaults.
  std::string Short() const;
  /// Below `manifests/`: "registry.ollama.ai/library/llama3/latest".
  std::string ManifestPath() const;

  friend bool operator==(const Name&, const Name&) = default;
};

/// Splits a text into parts; valid() judges them. The empty part beside a separator makes the name
/// invalid.
Name SplitName(std::string_view text);

/// A valid name with all parts, or kUsage with what is wrong.
absl::StatusOr<Name> ParseName(std::string_view text);

/// The name of a file below `manifests/`; not valid() unless there are exactly four valid levels.
Name NameOfManifest(std::string_view relative_path);

/// model_type of a configuration: a number of parameters as "134.52M", "8.0B", "19K".
std::string ParameterText(uint64_t parameters);

}  // namespace smelt::ollama
