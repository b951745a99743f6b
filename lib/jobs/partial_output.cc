// Opening the parts of an output: continued where an earlier run of the same plan stopped, or
// started anew.
#include <algorithm>
#include <functional>
#include <mutex>
#include <span>

#include "lib/base/folder.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/fill.h"

namespace smelt {
namespace {

// Reads bytes at an offset of one file.
using ReadBytes = std::function<absl::Status(uint64_t, std::span<std::byte>)>;

/// One run of OpenPartialOutput.
class Opener {
 public:
  Opener(std::span<const std::string> names, const Plan& plan, bool force, bool others_unfinished,
         PartialOutput& output)
      : names_(names),
        plan_(plan),
        fingerprint_(plan.Fingerprint()),
        force_(force),
        others_unfinished_(others_unfinished),
        output_(output) {}

  // After an error nothing stays that this run has made; what an earlier run left does.
  absl::Status Run() {
    absl::Status status;
    for (size_t i = 0; i < names_.size() && status.ok(); ++i) status = OpenOne(i);
    if (!status.ok()) output_.DiscardFresh();
    return status;
  }

 private:
  absl::Status OpenOne(size_t i) {
    const std::string journal_path = Journal::PathFor(names_[i]);
    SMELT_ASSIGN_OR_RETURN(const std::optional<Journal::Content> earlier,
                           Journal::Read(journal_path));
    if (earlier && (i > 0 || others_unfinished_))
      SMELT_RETURN_IF_ERROR(TakeBackFinished(i, *earlier));
    SMELT_RETURN_IF_ERROR(CheckOutput(names_[i], force_));
    const bool part_exists = NameExists(names_[i] + ".part");
    if (earlier && part_exists) {
      if (earlier->fingerprint == fingerprint_) {
        auto file = Open(i, AtomicFile::Existing::kResume);
        if (file.ok()) {
          output_.files.push_back(*std::move(file));
          return Continue(i, journal_path, *earlier);
        }
        if (CodeOf(file.status()) != ErrorCode::kInvalidInput) return file.status();
        output_.restarted = "its size is not that of this plan";
      } else {
        output_.restarted = "the source, the options or the program's version changed";
      }
    }
    return Start(i, journal_path, earlier.has_value(), part_exists);
  }

  absl::StatusOr<std::unique_ptr<AtomicFile>> Open(size_t i, AtomicFile::Existing existing) const {
    auto file = AtomicFile::Open(names_[i], plan_.files[i].bytes, force_, existing);
    if (file.ok()) (*file)->BelongsTo(plan_.file_bytes);
    return file;
  }

  absl::Status Start(size_t i, const std::string& journal_path, bool ours, bool part_exists) {
    // The journal is made before the part: a part that stands alone is somebody else's.
    std::unique_ptr<Journal> journal;
    if (!ours && !part_exists) {
      SMELT_ASSIGN_OR_RETURN(journal, Journal::Create(journal_path, fingerprint_));
    }
    auto file = Open(i, ours ? AtomicFile::Existing::kReplace : AtomicFile::Existing::kRefuse);
    if (!file.ok()) {
      if (journal != nullptr && CodeOf(file.status()) != ErrorCode::kAlreadyExists)
        journal->Remove();
      return file.status();
    }
    if (journal == nullptr) {
      auto made = Journal::Create(journal_path, fingerprint_);
      if (!made.ok()) (*file)->Discard();
      if (!made.ok()) return made.status();
      journal = *std::move(made);
    }
    output_.files.push_back(*std::move(file));
    output_.journals.push_back(std::move(journal));
    output_.fresh.push_back(i);
    return absl::OkStatus();
  }

  absl::Status Continue(size_t i, const std::string& journal_path,
                        const Journal::Content& earlier) {
    const AtomicFile& file = *output_.files[i];
    SMELT_ASSIGN_OR_RETURN(
        std::vector<Journal::Record> good,
        Verified(plan_.files[i], earlier.records, [&](uint64_t offset, std::span<std::byte> out) {
          return file.ReadAt(offset, out);
        }));
    for (const Journal::Record& record : good) {
      output_.done[record.tile] = true;
      output_.done_bytes += plan_.TileAt(record.tile).bytes;
    }
    output_.resumed |= !good.empty();
    if (i == 0) KeepStages(earlier.records, good);
    // The old journal stays as it is until the new one has every good record: a rename, not a
    // rewrite in place.
    const std::string fresh = journal_path + ".new";
    SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal,
                           Journal::Create(fresh, fingerprint_, good));
    SMELT_RETURN_IF_ERROR(journal->MoveTo(journal_path));
    output_.journals.push_back(std::move(journal));
    return absl::OkStatus();
  }

  // The first journal has the hashes of what was gathered.
  void KeepStages(const std::vector<Journal::Record>& earlier, std::vector<Journal::Record>& kept) {
    for (const Journal::Record& record : earlier) {
      if ((record.tile & Journal::kStage) == 0) continue;
      if (output_.stage_hashes.emplace(record.tile & ~Journal::kStage, record.hash).second)
        kept.push_back(record);
    }
  }

  // A run that was killed while it gave the files their names left the later ones finished: they
  // become parts again, so that all go on together. The first file's part is locked already (or
  // that of another output, for the first file), and its name is the last to be given: where that
  // is there, the output is whole.
  absl::Status TakeBackFinished(size_t i, const Journal::Content& earlier) const {
    const PlannedFile& file = plan_.files[i];
    if (earlier.fingerprint != fingerprint_ || (i > 0 && NameExists(names_[0])) ||
        NameExists(names_[i] + ".part"))
      return absl::OkStatus();
    const auto finished = OpenFile(names_[i]);
    if (!finished.ok() || (*finished)->size() != file.bytes) return absl::OkStatus();
    const ReadBytes read = [&](uint64_t offset, std::span<std::byte> out) {
      return (*finished)->ReadAt(offset, out);
    };
    SMELT_ASSIGN_OR_RETURN(const std::vector<Journal::Record> good,
                           Verified(file, earlier.records, read));
    return good.size() == file.tiles ? TakeBack(names_[i]) : absl::OkStatus();
  }

  // Records whose tiles are in the file with the right checksum, once each and in order.
  absl::StatusOr<std::vector<Journal::Record>> Verified(const PlannedFile& file,
                                                        const std::vector<Journal::Record>& records,
                                                        const ReadBytes& read) const {
    std::vector<Journal::Record> good;
    std::mutex mutex;
    SMELT_RETURN_IF_ERROR(
        ParallelFor(records.size(), 16, [&](uint64_t begin, uint64_t end) -> absl::Status {
          std::vector<std::byte> bytes;
          for (uint64_t i = begin; i < end; ++i) {
            const uint64_t number = records[i].tile;
            if (number < file.first_tile || number - file.first_tile >= file.tiles) continue;
            const Tile tile = plan_.TileAt(number);
            bytes.resize(tile.bytes + tile.padding);
            SMELT_RETURN_IF_ERROR(read(tile.offset, bytes));
            if (TileHash(fingerprint_, bytes) != records[i].hash) continue;
            const std::lock_guard lock(mutex);
            good.push_back(records[i]);
          }
          return absl::OkStatus();
        }));
    std::sort(good.begin(), good.end(),
              [](const auto& a, const auto& b) { return a.tile < b.tile; });
    good.erase(std::unique(good.begin(), good.end(),
                           [](const auto& a, const auto& b) { return a.tile == b.tile; }),
               good.end());
    return good;
  }

  const std::span<const std::string> names_;
  const Plan& plan_;
  const uint64_t fingerprint_;
  const bool force_, others_unfinished_;
  PartialOutput& output_;
};

}  // namespace

absl::Status PartialOutput::CommitAs(std::span<const std::string> names, bool force) {
  SMELT_RETURN_IF_ERROR(NameFiles(names, force));
  RemoveJournals();
  return absl::OkStatus();
}

absl::Status PartialOutput::NameFiles(std::span<const std::string> names, bool force) {
  return CommitTogether(files, names, force);
}

void PartialOutput::RemoveJournals() {
  for (const auto& journal : journals) journal->Remove();
}

void PartialOutput::Discard() {
  for (const auto& file : files) file->Discard();
  RemoveJournals();
}

void PartialOutput::DiscardFresh() {
  for (const size_t i : fresh) {
    files[i]->Discard();
    journals[i]->Remove();
  }
}

std::vector<std::string> PartialOutput::part_paths() const {
  std::vector<std::string> paths;
  for (const auto& file : files) paths.push_back(file->part_path());
  return paths;
}

absl::StatusOr<PartialOutput> OpenPartialOutput(std::span<const std::string> names,
                                                const Plan& plan, bool force,
                                                const Observer& observer, bool others_unfinished) {
  const JobScope job(observer);
  PartialOutput output;
  output.done.resize(plan.tiles);
  SMELT_RETURN_IF_ERROR(Opener(names, plan, force, others_unfinished, output).Run());
  return output;
}

}  // namespace smelt
