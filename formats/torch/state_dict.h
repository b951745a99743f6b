// The tensors of an unpickled checkpoint: where its state dict is, and where each tensor lies.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "formats/torch/pickle.h"

namespace smelt {

/// Where a checkpoint keeps the bytes of its storages.
class StorageTable {
 public:
  virtual ~StorageTable() = default;
  /// The bytes of the storage that a pickle calls `key`; kInvalidInput with a sentence that
  /// continues `tensor "x": ` when there is none.
  virtual absl::StatusOr<std::shared_ptr<const Storage>> Find(std::string_view key) = 0;
};

/// Element type and number of a storage's persistent id; kUnsupported for types that hold no
/// weights.
struct StorageClaim {
  std::string_view key;
  std::optional<RawType> dtype;  ///< absent: untyped, or no type of ours
  bool untyped = false;
  uint64_t elements = 0;  ///< bytes, if untyped
  std::string_view class_name;
};
/// Sentences as of StorageTable::Find.
absl::StatusOr<StorageClaim> ReadStorageClaim(const Pickle& pickle, ValueId storage);

/// The state dict's tensors in its order: the pickle's root, or what it holds under state_dict,
/// model_state_dict, model or module (a note says what was left aside); nested dicts give names
/// joined by dots, wrappers' prefixes (module., _orig_mod., a doubled model.) are removed. Every
/// tensor's sizes, strides and offset were checked against its storage. Names are unique. The
/// container's `files` are left to the caller.
absl::StatusOr<Container> ReadStateDict(const Pickle& pickle, std::string_view file,
                                        StorageTable& storages);

}  // namespace smelt
