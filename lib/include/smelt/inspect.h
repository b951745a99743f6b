// What a file, directory or store name holds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct InspectResult;

struct InspectOptions {
  std::string path;
  bool recipes = false;
  /// Called with what can be shown of a PyTorch archive that is refused, before Inspect returns its
  /// error.
  std::function<void(const InspectResult&)> on_refused = {};
};

struct InspectTensor {
  std::string name = {};
  std::string type = {};  ///< "BF16"; of quantized checkpoints "GPTQ, 4 bits, groups of 128"
  std::string recipe = {};
  std::vector<uint64_t> shape =
      {};              ///< ggml order for models, as published for a plain safetensors file
  uint64_t bytes = 0;  ///< of quantized checkpoints those of the codes, without their scales
  // Of PyTorch archives: where its elements lie; several tensors may share a storage.
  std::string storage = {};           ///< "archive/data/0"; empty for other formats
  uint64_t offset = 0;                ///< bytes from the storage's begin to the first element
  std::vector<int64_t> strides = {};  ///< in elements; empty where row-major
};

/// A storage of a PyTorch archive that tensors lie in.
struct InspectStorage {
  std::string name;
  uint64_t bytes = 0, tensors = 0;
};

/// A function or class that a PyTorch archive names and that is not given to it.
struct InspectRefusal {
  std::string name;       ///< "posix.system"
  std::string operation;  ///< of the pickle: "GLOBAL"
  uint64_t offset = 0;    ///< byte of that operation in its pickle
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
  std::vector<InspectStorage> storages;  ///< in the order of the tensors
  std::vector<InspectRefusal> refused;   ///< the first hundred
  std::vector<TypeTotal> totals;
  uint64_t parameters = 0, bytes = 0;
  double bits_per_weight = 0;
};

SMELT_EXPORT absl::StatusOr<InspectResult> Inspect(const InspectOptions& options,
                                                   const Observer& observer = {});

}  // namespace smelt
