// Zip archives as PyTorch and Python write them, read strictly: what two readers could understand
// differently is refused. Format: PKWARE's APPNOTE.TXT 6.3.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/storage.h"
#include "lib/base/text_hash.h"

namespace smelt {

struct ZipMember {
  std::string name;  ///< relative, without "..", unique in the archive
  uint64_t size = 0, compressed_size = 0;
  uint32_t crc32 = 0;
  bool deflated = false;
  uint64_t header_offset = 0;  ///< of the local header
  uint64_t data_offset = 0;    ///< of the (compressed) bytes
};

/// A validated archive. Members and their headers fill the file from its first byte to the central
/// directory without holes or overlaps, local headers say what the directory says, the end record
/// is the last thing in the file. Encrypted, split and commented archives, other methods than
/// stored and deflated, duplicate, absolute and climbing names are refused.
class ZipArchive {
 public:
  /// Reads the directory and every local header; memory: a small multiple of the directory.
  static absl::StatusOr<ZipArchive> Open(std::shared_ptr<Storage> file);

  ZipArchive(ZipArchive&&) = default;
  ZipArchive& operator=(ZipArchive&&) = default;

  const std::vector<ZipMember>& members() const { return members_; }  ///< in directory order
  const ZipMember* Find(std::string_view name) const;

  /// A member's bytes: in place if stored, else inflated once (checked against size and CRC-32)
  /// into an unlinked temporary file that lives as long as the storage.
  absl::StatusOr<std::shared_ptr<Storage>> OpenMember(const ZipMember& member) const;

  /// A small member whole, its CRC-32 checked (unless every member's is zero: PyTorch's
  /// set_crc32_options(False) writes archives without); refuses more than `limit` bytes.
  absl::StatusOr<std::string> ReadMember(const ZipMember& member, uint64_t limit) const;

 private:
  ZipArchive() = default;
  std::string NameOf(const ZipMember& member) const;

  std::shared_ptr<Storage> file_;
  bool has_checksums_ = false;
  std::vector<ZipMember> members_;
  TextMap<std::string_view, size_t> index_;  // views into members_
};

/// Whether the bytes begin like a zip archive.
bool LooksLikeZip(std::string_view start);

}  // namespace smelt
