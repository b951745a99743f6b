// Importance matrices: how large the inputs of every weight matrix were on some text, column by
// column. Files as llama-imatrix writes them: GGUF, or the older .dat.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/storage.h"
#include "lib/base/text_hash.h"

namespace smelt {

/// What is known of one weight tensor, of each of its experts' matrices (of 1 where there are
/// none): for every column the sum of the squares of its inputs, over so many rows of inputs. What
/// a tensor stacks otherwise, for heads, is one matrix with the columns of all.
struct ImportanceEntry {
  std::string name;             ///< of the tensor: "blk.0.attn_q.weight"
  uint64_t columns = 0;         ///< of a row; of heads, and in a .dat, of all matrices together
  std::vector<float> counts{};  ///< of every matrix: rows of inputs, whole numbers

  uint64_t matrices() const { return counts.size(); }
  uint64_t values() const { return columns * counts.size(); }  ///< checked when it was read
};

/// Where the figures come from.
struct ImportanceOrigin {
  std::vector<std::string> datasets{};  ///< text files
  uint32_t chunks = 0;
  uint32_t chunk_size = 0;  ///< tokens; 0: not known
};

class ImportanceFile {
 public:
  /// Everything is checked, values too: none is negative or no number, every tensor is there once
  /// and has both its sums and its counts. Memory stays within a small multiple of what the file
  /// has besides sums.
  static absl::StatusOr<std::shared_ptr<const ImportanceFile>> Open(const std::string& path);
  static absl::StatusOr<std::shared_ptr<const ImportanceFile>> Read(
      std::shared_ptr<const Storage> storage);

  const std::string& name() const { return storage_->name(); }
  uint64_t bytes() const { return storage_->size(); }
  const std::string& sha256() const { return sha256_; }
  /// A .dat: its values are means times a number of chunks, the count of its entries, and it does
  /// not tell the matrices of a tensor apart.
  bool legacy() const { return legacy_; }
  const ImportanceOrigin& origin() const { return origin_; }
  const std::vector<ImportanceEntry>& entries() const { return entries_; }  ///< sorted by name
  /// Number of a tensor's entry, or -1.
  int Find(std::string_view tensor) const;

  /// Whether the entry has a value for each column of so many matrices.
  bool Fits(size_t entry, uint64_t columns, uint64_t matrices) const;
  /// Mean squares of the inputs of one matrix's columns, of a tensor that the entry fits. Where no
  /// input was ever seen, all are 0.
  absl::Status ReadImportance(size_t entry, uint64_t matrix, std::span<float> out) const;
  /// The values as they are stored, from one on.
  absl::Status ReadSums(size_t entry, uint64_t first, std::span<float> out) const;

 private:
  explicit ImportanceFile(std::shared_ptr<const Storage> storage) : storage_(std::move(storage)) {}
  absl::Status ReadGgufEntries();
  absl::Status ReadLegacyEntries();
  absl::Status CheckValues() const;
  absl::Status Hash();

  const std::shared_ptr<const Storage> storage_;
  std::string sha256_;
  bool legacy_ = false;
  ImportanceOrigin origin_;
  std::vector<ImportanceEntry> entries_;
  std::vector<uint64_t> offsets_;  ///< of every entry's values in the storage
  TextMap<std::string, int> index_;
};

/// Fills in the sums of entry `entry`, all of its matrices.
using ImportanceSums = std::function<absl::Status(size_t entry, std::span<float> out)>;

/// Writes `entries`, sorted by name, as a GGUF, or as a .dat where `path` ends so. The same
/// arguments give the same bytes. Of a .dat: means instead of sums, 1 where no input was ever seen.
absl::Status WriteImportance(const std::string& path, const ImportanceOrigin& origin,
                             const std::vector<ImportanceEntry>& entries,
                             const ImportanceSums& sums, bool force);

}  // namespace smelt
