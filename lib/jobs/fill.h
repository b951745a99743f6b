// Writes the tensors of planned outputs: row tiles read, encoded and written at their final
// offsets, in parallel, in any order, with memory bounded by the tiles in flight.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/atomic_file.h"
#include "lib/jobs/anonymous_memory.h"
#include "lib/jobs/hashed_output.h"
#include "lib/jobs/journal.h"
#include "lib/jobs/plan.h"
#include "lib/model/model_source.h"
#include "quant/input_factor.h"
#include "smelt/observer.h"

namespace smelt {

/// An output being written: NAME.part of each of its files, a journal beside each, and what an
/// earlier run left in them.
struct PartialOutput {
  std::vector<std::unique_ptr<AtomicFile>> files;  ///< as Plan::files
  std::vector<std::unique_ptr<Journal>> journals;
  std::unique_ptr<HashedOutput> hash;         ///< where that of the only file is wanted
  std::vector<bool> done;                     ///< by tile number
  std::map<uint64_t, uint64_t> stage_hashes;  ///< of what was gathered, by stage
  uint64_t done_bytes = 0;
  std::string restarted;  ///< why an earlier run's part was not continued; empty when there was
                          ///< none, or it was
  bool resumed = false;
  std::vector<size_t> fresh;  ///< files that this run has made

  std::vector<std::string> part_paths() const;

  /// The files get `names` together (see CommitTogether), and the journals go.
  absl::Status CommitAs(std::span<const std::string> names, bool force);
  /// The same in two steps: as long as the journals are there, a later run can take the files back.
  absl::Status NameFiles(std::span<const std::string> names, bool force);
  void RemoveJournals();

  /// Neither parts nor journals stay.
  void Discard();
  /// What an earlier run left stays, what this one made does not.
  void DiscardFresh();
};

/// Opens NAME.part for each file of `plan`. A part and journal of the same plan are continued:
/// every tile that the journal lists is read back and kept when its checksum is right. `force`:
/// replace a finished output. `others_unfinished`: the caller holds the parts of other outputs of
/// the same run, which have no names yet; one that a killed run gave its name, and whose journal is
/// still there, becomes a part again. Errors: see AtomicFile::Open; nothing that was made for this
/// stays then.
absl::StatusOr<PartialOutput> OpenPartialOutput(std::span<const std::string> names,
                                                const Plan& plan, bool force,
                                                const Observer& observer,
                                                bool others_unfinished = false);

struct FillTarget {
  const Plan* plan = nullptr;
  PartialOutput* output = nullptr;
};

/// One of the matrices (experts) of a source's tensor.
struct SourceMatrix {
  size_t tensor = 0;  ///< index in ModelSource::tensors()
  uint64_t matrix = 0;
};

/// What the walk itself has gathered: fills in the importance of one matrix' columns, or leaves
/// zeros where it knows nothing; gives the factor of their second moment, or nullptr.
using GatheredStatistics = std::function<const InputFactor*(
    const PlannedTensor& tensor, uint64_t matrix, std::span<float> importance)>;

/// Fills plans of one source from one read, some tensors after the other. Fails with tensor, row
/// and column of the first value that is not finite, in the source or (a scale or value beyond f16)
/// in the output. kCancelled when the observer says so.
class Filler {
 public:
  virtual ~Filler() = default;
  /// Writes the headers. Everything outlives the filler.
  static absl::StatusOr<std::unique_ptr<Filler>> Open(std::span<const FillTarget> targets,
                                                      const ModelSource& source,
                                                      const Observer& observer, MemoryPeak& peak);
  /// Some of the source's matrices, in any order, into each output that has them. Where nothing is
  /// gathered, the importance is that of the plan's own file, or there is none.
  virtual absl::Status Encode(std::span<const SourceMatrix> matrices,
                              const GatheredStatistics& gathered) = 0;
  /// The same for all matrices of some of the source's tensors.
  virtual absl::Status Encode(std::span<const size_t> tensors) = 0;
};

/// All tensors at once.
absl::Status Fill(std::span<const FillTarget> targets, const ModelSource& source,
                  const Observer& observer, MemoryPeak& peak);

}  // namespace smelt
