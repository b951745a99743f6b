// Deflated archive members, inflated once into unlinked temporary files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/storage.h"

namespace smelt {

/// What the archive's directory promises of a deflated member.
struct DeflatedMember {
  std::string name;  ///< for messages and as the result's name
  uint64_t offset = 0, compressed_size = 0, size = 0;
  uint32_t crc32 = 0;
};

/// Inflates a raw deflate stream of `archive` into a temporary file that has no name and goes with
/// the storage. Fails when the stream does not give exactly `size` bytes from exactly
/// `compressed_size` bytes with that checksum; never writes more than `size` bytes. kNoSpace when
/// the folder for temporary files (TMPDIR, else /var/tmp) is full.
absl::StatusOr<std::shared_ptr<Storage>> InflateToTemporary(const Storage& archive,
                                                            const DeflatedMember& member);

/// The same into memory, for small members; `size` must have been found acceptable before.
absl::StatusOr<std::string> InflateToMemory(const Storage& archive, const DeflatedMember& member);

/// The most that deflate can make of `compressed_size` bytes: 258 bytes from two bits.
bool CanInflateTo(uint64_t compressed_size, uint64_t size);

}  // namespace smelt
