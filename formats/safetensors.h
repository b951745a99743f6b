// The safetensors format: one file.
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

}  // namespace smelt
