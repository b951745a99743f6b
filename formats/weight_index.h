// An index ("NAME.index.json") that says which tensor is in which shard, and files joined without
// one; the same for every container format.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "formats/weight_sets.h"

namespace smelt {

/// What differs between the formats of shards.
struct ShardFormat {
  absl::StatusOr<Container> (*open)(const std::string& path) = nullptr;
  /// The index's total_size is the sum of the tensors' bytes (not so where tensors share storages).
  bool sizes_add_up = true;
};

struct WeightIndex {
  std::vector<std::pair<std::string, std::string>> weight_map;  ///< tensor, shard; as written
  bool has_weight_map = false;
  std::optional<uint64_t> total_size;

  std::vector<std::string> Shards() const;  ///< sorted, each once
  /// How many tensors it lists besides those of `container`, if it lists all of these (in whatever
  /// shard); else nullopt. Heads and computed buffers are left out of account on both sides.
  std::optional<size_t> ListsBesides(const Container& container) const;
};

/// Shards are plain file names: whatever an index says never leads out of its directory.
absl::StatusOr<WeightIndex> ReadWeightIndex(const std::string& path);

/// The shards of an index, checked against it both ways: every listed tensor is in its shard, every
/// tensor of a shard is listed for it; an output head and computed buffers may be in one only (a
/// note). Shards may be symbolic links (a hub cache). `beside`: files that by their names belong to
/// the shards and that the index does not list; what they hold is read where no shard has it (a
/// note says which they are either way).
absl::StatusOr<Container> OpenShards(const std::string& directory, const std::string& index_path,
                                     const WeightIndex& index, const ShardFormat& format,
                                     const std::vector<std::string>& beside = {});

/// The files of a set without an index as one container. kNotFound when the set misses parts,
/// kInvalidInput when two of its files hold the same tensor.
absl::StatusOr<Container> OpenParts(const std::string& directory, const WeightSet& set,
                                    const ShardFormat& format);

}  // namespace smelt
