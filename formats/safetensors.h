// The safetensors format: one file, a directory of shards with an index, and a streaming writer.
// Format: https://huggingface.co/docs/safetensors (u64 header length, JSON header, data without
// holes).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/base/storage.h"

namespace smelt {

/// The longest header that the format allows.
inline constexpr uint64_t kSafetensorsMaxHeader = 100'000'000;

/// The tensors of one file, in the order of its header. Refuses everything that the format forbids:
/// see Validate in safetensors.cc. Memory: a small multiple of the header's length.
absl::StatusOr<Container> OpenSafetensors(const std::string& path);
absl::StatusOr<Container> ReadSafetensors(std::shared_ptr<const Storage> storage);

/// The weights of a model directory: `model.safetensors`, or else the shards that
/// `model.safetensors.index.json` lists, index and shards checked against each other both ways.
/// Shards may be symbolic links (a hub cache), but a path written in the index never leaves the
/// directory. kNotFound when the directory has neither.
absl::StatusOr<Container> OpenSafetensorsDirectory(const std::string& directory);

/// The same for an index (and single file) of another stem, such as "consolidated".
absl::StatusOr<Container> OpenSafetensorsDirectory(const std::string& directory,
                                                   const std::string& stem);

}  // namespace smelt
