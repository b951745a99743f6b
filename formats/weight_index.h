// Weights in one file, or in shards under an index ("NAME.index.json") that says which tensor is in
// which; the same for every container format.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "formats/container.h"

namespace smelt {

/// What differs between the formats of shards.
struct ShardFormat {
  absl::StatusOr<Container> (*open)(const std::string& path) = nullptr;
  /// The index's total_size is the sum of the tensors' bytes (not so where tensors share storages).
  bool sizes_add_up = true;
};

/// The shards of an index, checked against it both ways: every listed tensor is in its shard, every
/// tensor of a shard is listed for it. Shards may be symbolic links (a hub cache), but a path
/// written in the index never leaves the directory.
absl::StatusOr<Container> OpenShards(const std::string& directory, const std::string& index_path,
                                     const ShardFormat& format);

/// DIRECTORY/SINGLE if it is there, else the shards of DIRECTORY/SINGLE.index.json; kNotFound when
/// there is neither.
absl::StatusOr<Container> OpenWholeOrShards(const std::string& directory, const std::string& single,
                                            const ShardFormat& format);

/// Whether something of this name is there, a broken symbolic link included.
bool FileExists(const std::string& path);

}  // namespace smelt
