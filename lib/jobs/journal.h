// NAME.part.journal: which tiles of NAME.part are written, so that an interrupted run can be
// resumed.
//
// On disk, little-endian: 8 bytes "SMELTJNL", u64 fingerprint of the plan, then 16 bytes per tile:
// u64 tile number, u64 TileHash of its bytes (padding included). Records are appended in any order;
// a record of a stage has its number + 2^63 and the hash of what was gathered about its inputs;
// a torn last one is ignored, and no record is believed until the bytes in the part have that hash.
// So separate processes could each fill a part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/fd.h"

namespace smelt {

/// Checksum of a tile's bytes, mixed with the plan's fingerprint: a tile of another plan never
/// passes for one of this.
uint64_t TileHash(uint64_t fingerprint, std::span<const std::byte> bytes);

class Journal {
 public:
  struct Record {
    uint64_t tile, hash;
  };
  struct Content {
    uint64_t fingerprint = 0;
    std::vector<Record> records;
  };

  static std::string PathFor(const std::string& output) { return output + ".part.journal"; }

  /// What a journal of an earlier run says; nullopt when there is none. kAlreadyExists when a file
  /// of that name is no journal of ours.
  static absl::StatusOr<std::optional<Content>> Read(const std::string& path);

  /// A new journal with `records` in it; replaces an old one.
  static absl::StatusOr<std::unique_ptr<Journal>> Create(const std::string& path,
                                                         uint64_t fingerprint,
                                                         const std::vector<Record>& records = {});
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Appends; call after the tile's bytes were written. Thread-safe.
  absl::Status Add(uint64_t tile, uint64_t hash);
  /// What was gathered in a stage.
  absl::Status AddStage(uint64_t stage, uint64_t hash) { return Add(kStage | stage, hash); }
  static constexpr uint64_t kStage = uint64_t{1} << 63;

  /// Renames the journal's file, replacing another.
  absl::Status MoveTo(const std::string& path);
  /// Removes the file (the output is committed or rejected).
  void Remove();

 private:
  explicit Journal(std::string path) : path_(std::move(path)) {}

  std::string path_;
  Fd fd_;
  std::mutex mutex_;
};

}  // namespace smelt
