// Statistics of what goes into a model's matrices, kept so that a file can be made again bit for
// bit: an importance matrix (importance.h) in GGUF, which may hold second moments besides.
//
// Beside its sums and counts, in the order of the model's layers:
//   moment.0, moment.1, ...     F32, the lower triangles of sums of x x^T: [0][0], [1][0], [1][1]
//   statistics.gathering        what they were gathered from, in one text
//   statistics.model            SHA-256 of weights of the model
//   statistics.asked            tensors whose second moments were asked for
//   statistics.stage_tensors    how many of the file's tensors are each layer's; the last: the
//   head's statistics.moment_tensors   tensors of matrices that have a moment
//   statistics.moment_matrices  for each of these: number of the moment, of the matrix (expert)
//   statistics.moment_tokens    of each moment: inputs that were summed
//   statistics.hashes           of each tensor's sums and counts, and of each moment
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/importance.h"
#include "lib/base/atomic_file.h"
#include "lib/base/storage.h"

namespace smelt {

struct StatisticsOrigin {
  ImportanceOrigin texts{};
  std::string gathering{}, model{};
  std::vector<std::string> asked{};
};

/// The second moment of inputs that some matrices share.
struct MomentEntry {
  std::vector<std::pair<std::string, uint64_t>> matrices{};  ///< tensor, number of the matrix
  uint64_t columns = 0, tokens = 0;
};

/// What is known of one layer, or of the head.
struct StatisticsStage {
  std::vector<ImportanceEntry> squares{};
  std::vector<MomentEntry> moments{};
};

class StatisticsFile {
 public:
  /// Checks all but the values of sums and moments.
  static absl::StatusOr<std::shared_ptr<const StatisticsFile>> Open(const std::string& path);
  static absl::StatusOr<std::shared_ptr<const StatisticsFile>> Read(
      std::shared_ptr<const Storage> storage);

  const std::string& name() const { return storage_->name(); }
  const StatisticsOrigin& origin() const { return origin_; }
  const std::vector<StatisticsStage>& stages() const { return stages_; }

  /// All of an entry's sums, or a moment into [column][column], whose lower triangle is written.
  /// kInvalidInput where a value is not what was written.
  absl::Status ReadSums(size_t stage, size_t entry, std::span<float> out) const;
  absl::Status ReadMoment(size_t stage, size_t moment, float* out) const;

 private:
  class Parser;
  struct Place {
    uint64_t offset = 0;
    std::string hash;
  };

  explicit StatisticsFile(std::shared_ptr<const Storage> storage) : storage_(std::move(storage)) {}
  absl::Status CheckHash(const std::string& hash, const Place& place,
                         const std::string& what) const;

  const std::shared_ptr<const Storage> storage_;
  StatisticsOrigin origin_;
  std::vector<StatisticsStage> stages_;
  std::vector<std::vector<Place>> squares_, moments_;  ///< as in stages_
};

/// A file that grows stage by stage, before it is known which matrices share their inputs.
class StatisticsWriter {
 public:
  /// `most`: stages of which each has at least what will be added. Its file is the largest that can
  /// become of it, and so much room is reserved. What an interrupted run with the same arguments
  /// has left at PATH.part goes.
  static absl::StatusOr<std::unique_ptr<StatisticsWriter>> Open(
      const std::string& path, const StatisticsOrigin& origin,
      const std::vector<StatisticsStage>& most);
  /// Nothing stays unless Finish was successful.
  ~StatisticsWriter();

  /// Bytes that a file of these stages takes.
  static absl::StatusOr<uint64_t> Bytes(const StatisticsOrigin& origin,
                                        const std::vector<StatisticsStage>& stages);

  /// Begins the next stage; then its squares, then its moments ([column][column], the lower
  /// triangle is read).
  void AddStage();
  absl::Status AddSquares(const ImportanceEntry& entry, std::span<const float> sums);
  absl::Status AddMoment(const MomentEntry& entry, const float* sums);

  /// `model`: of the origin, which may be known only now. The file gets its name.
  absl::Status Finish(const std::string& model);

 private:
  explicit StatisticsWriter(StatisticsOrigin origin) : origin_(std::move(origin)) {}
  absl::Status Write(std::span<const std::byte> bytes);
  absl::Status Align();

  StatisticsOrigin origin_;
  std::unique_ptr<AtomicFile> file_;
  std::vector<StatisticsStage> stages_;
  std::vector<std::string> hashes_;
  uint64_t header_bytes_ = 0, at_ = 0;
};

}  // namespace smelt
