// Opening NAME.part: continued where an earlier run of the same plan stopped, or started anew.
#include <algorithm>
#include <mutex>

#include "lib/base/folder.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/fill.h"

namespace smelt {
namespace {

// Records whose tiles are in the part with the right checksum.
absl::StatusOr<std::vector<Journal::Record>> VerifiedTiles(
    const Plan& plan, const AtomicFile& file, const std::vector<Journal::Record>& records) {
  std::vector<Journal::Record> good;
  std::mutex mutex;
  const uint64_t fingerprint = plan.Fingerprint();
  SMELT_RETURN_IF_ERROR(
      ParallelFor(records.size(), 16, [&](uint64_t begin, uint64_t end) -> absl::Status {
        std::vector<std::byte> bytes;
        for (uint64_t i = begin; i < end; ++i) {
          if (records[i].tile >= plan.tiles) continue;
          const Tile tile = plan.TileAt(records[i].tile);
          bytes.resize(tile.bytes + tile.padding);
          SMELT_RETURN_IF_ERROR(file.ReadAt(tile.offset, bytes));
          if (TileHash(fingerprint, bytes) != records[i].hash) continue;
          const std::lock_guard lock(mutex);
          good.push_back(records[i]);
        }
        return absl::OkStatus();
      }));
  std::sort(good.begin(), good.end(), [](const auto& a, const auto& b) { return a.tile < b.tile; });
  good.erase(std::unique(good.begin(), good.end(),
                         [](const auto& a, const auto& b) { return a.tile == b.tile; }),
             good.end());
  return good;
}

absl::Status Continue(const std::string& journal_path, const Plan& plan,
                      const Journal::Content& earlier, PartialOutput& output) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<Journal::Record> good,
                         VerifiedTiles(plan, *output.file, earlier.records));
  for (const Journal::Record& record : good) {
    output.done[record.tile] = true;
    output.done_bytes += plan.TileAt(record.tile).bytes;
  }
  output.resumed = !good.empty();
  // The old journal stays as it is until the new one has every good record: a rename, not a rewrite
  // in place.
  const std::string fresh = journal_path + ".new";
  SMELT_ASSIGN_OR_RETURN(output.journal, Journal::Create(fresh, plan.Fingerprint(), good));
  return output.journal->MoveTo(journal_path);
}

}  // namespace

void PartialOutput::Discard() {
  if (file != nullptr) file->Discard();
  if (journal != nullptr) journal->Remove();
}

absl::StatusOr<PartialOutput> OpenPartialOutput(const std::string& path, const Plan& plan,
                                                bool force, const Observer& observer) {
  const JobScope job(observer);
  SMELT_RETURN_IF_ERROR(CheckOutput(path, force));
  const std::string journal_path = Journal::PathFor(path);
  SMELT_ASSIGN_OR_RETURN(const std::optional<Journal::Content> earlier,
                         Journal::Read(journal_path));
  PartialOutput output;
  output.done.resize(plan.tiles);
  const bool part_exists = NameExists(path + ".part");
  if (earlier && part_exists) {
    if (earlier->fingerprint == plan.Fingerprint()) {
      auto file = AtomicFile::Open(path, plan.file_bytes, force, AtomicFile::Existing::kResume);
      if (file.ok()) {
        output.file = *std::move(file);
        SMELT_RETURN_IF_ERROR(Continue(journal_path, plan, *earlier, output));
        return output;
      }
      if (CodeOf(file.status()) != ErrorCode::kInvalidInput) return file.status();
      output.restarted = "its size is not that of this plan";
    } else {
      output.restarted = "the source, the options or the program's version changed";
    }
  }
  // The journal is made before the part: a part that stands alone is somebody else's.
  const bool ours = earlier.has_value();
  if (!ours && !part_exists) {
    SMELT_ASSIGN_OR_RETURN(output.journal, Journal::Create(journal_path, plan.Fingerprint()));
  }
  auto file =
      AtomicFile::Open(path, plan.file_bytes, force,
                       ours ? AtomicFile::Existing::kReplace : AtomicFile::Existing::kRefuse);
  if (!file.ok()) {
    if (output.journal != nullptr && CodeOf(file.status()) != ErrorCode::kAlreadyExists)
      output.journal->Remove();
    return file.status();
  }
  output.file = *std::move(file);
  if (output.journal == nullptr) {
    SMELT_ASSIGN_OR_RETURN(output.journal, Journal::Create(journal_path, plan.Fingerprint()));
  }
  return output;
}

}  // namespace smelt
