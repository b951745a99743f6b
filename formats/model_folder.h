// From the folder that a user names to the one that holds the model, or to the GGUF in it.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace smelt {

struct ModelPlace {
  std::string path;
  std::string note;  ///< what was taken in place of the folder that was named; empty: itself
};

/// The folder or file behind `path`: itself where it is a file or holds a configuration with
/// weights; else the snapshot that a hub cache's refs/main names, the only GGUF (or split GGUF), or
/// the only folder in it that holds a model or an adapter, such as a trainer's last checkpoint.
/// Where several could be meant, kNotFound names them. A folder in which nothing is recognised is
/// returned as it is: its reader says what it lacks.
absl::StatusOr<ModelPlace> LocateModel(const std::string& path);

}  // namespace smelt
