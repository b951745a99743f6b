// What a file, directory or store name holds.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct InspectOptions {
  std::string path;
  bool recipes = false;
};

struct InspectTensor {
  std::string name, type, recipe;
  std::vector<uint64_t>
      shape;  ///< ggml order for models, as published for a plain safetensors file
  uint64_t bytes = 0;
};

struct TypeTotal {
  std::string type;
  uint64_t tensors = 0, elements = 0, bytes = 0;
};

struct InspectResult {
  std::string path, format;  ///< "safetensors", "pytorch", "gguf", "model directory"
  /// Key as stored, value type ("u32"; arrays with their length: "string[49152]"), value as JSON
  /// text. Of arrays the first eight elements are there. Numbers that JSON lacks (NaN) are strings.
  struct Key {
    std::string key, type, json;
  };
  std::vector<Key> metadata;
  std::vector<InspectTensor> tensors;
  std::vector<TypeTotal> totals;
  uint64_t parameters = 0, bytes = 0;
  double bits_per_weight = 0;
};

SMELT_EXPORT absl::StatusOr<InspectResult> Inspect(const InspectOptions& options,
                                                   const Observer& observer = {});

}  // namespace smelt
