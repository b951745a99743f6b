// What a store holds against what it should hold: prune and verify.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"
#include "formats/ollama/store.h"
#include "formats/ollama/store_writer.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/system_error.h"
#include "lib/jobs/store_place.h"
#include "smelt/store.h"

namespace smelt {
namespace {

/// Ollama's own grace period: what is younger may be on its way to a manifest.
constexpr time_t kGraceSeconds = 3600;
constexpr std::string_view kQuarantine = "smelt-quarantine";

/// A blob as the manifests want it.
struct Wanted {
  uint64_t size = 0;
  std::vector<std::string> names;
};

/// Blobs by file name, of the models `names`.
struct Wants {
  std::map<std::string, Wanted> blobs;
  uint64_t models = 0;
  std::vector<StoreProblem> problems;  ///< manifests that cannot be read
};

Wants WantsOf(const std::string& store, const std::vector<ollama::Name>& names) {
  Wants wants;
  for (const ollama::Name& name : names) {
    const absl::StatusOr<ollama::Manifest> manifest = ollama::LoadManifest(store, name);
    if (!manifest.ok()) {
      wants.problems.push_back({.kind = StoreProblem::Kind::kBadManifest,
                                .path = ollama::ManifestFile(store, name),
                                .what = std::string(manifest.status().message()),
                                .names = {name.Short()}});
      continue;
    }
    ++wants.models;
    const auto want = [&](const ollama::Layer& layer) {
      if (layer.digest.empty()) return;
      Wanted& wanted = wants.blobs[ollama::BlobName(layer.digest)];
      wanted.size = layer.size;
      if (std::ranges::find(wanted.names, name.Short()) == wanted.names.end())
        wanted.names.push_back(name.Short());
    };
    for (const ollama::Layer& layer : manifest->layers) want(layer);
    want(manifest->config);
  }
  return wants;
}

/// Regular files and links in blobs/, sorted.
absl::StatusOr<std::vector<std::string>> BlobsIn(const std::string& store) {
  std::vector<std::string> out;
  absl::StatusOr<std::vector<std::string>> names = ListFolder(Cat(store, "/blobs"));
  if (CodeOf(names.status()) == ErrorCode::kNotFound) return out;
  if (!names.ok()) return names.status();
  for (std::string& name : *names) {
    if (!IsFolder(Cat(store, "/blobs/", name))) out.push_back(std::move(name));
  }
  std::ranges::sort(out);
  return out;
}

absl::StatusOr<PruneResult> Prune(const std::string& store, bool dry_run) {
  const ollama::Manifests manifests = ollama::ListManifests(store);
  if (!manifests.unreadable.empty()) {
    return Error(ErrorCode::kIo, std::string(manifests.unreadable.front().message()),
                 ": nothing is pruned while it is unknown which blobs are needed");
  }
  const Wants wants = WantsOf(store, manifests.names);
  std::vector<std::string> bad = manifests.strays;
  for (const StoreProblem& problem : wants.problems) bad.push_back(problem.path);
  if (!bad.empty()) {
    return Error(ErrorCode::kInvalidInput, Escape(bad.front()), ": no manifest that can be read",
                 bad.size() == 1 ? "" : Cat(" (and ", bad.size() - 1, " more)"),
                 ": nothing is pruned while it is unknown which blobs it needs; move it away, or "
                 "pull or import the model again");
  }
  PruneResult result;
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> blobs, BlobsIn(store));
  for (const std::string& name : blobs) {
    const std::string path = Cat(store, "/blobs/", name);
    struct stat info;
    if (wants.blobs.contains(name) || lstat(path.c_str(), &info) != 0) continue;
    if (time(nullptr) - info.st_mtime < kGraceSeconds) continue;
    if (!dry_run) {
      if (unlink(path.c_str()) != 0) return SystemError(path, "cannot be removed", errno);
      // Ollama's cache of the blob's keys.
      unlink(Cat(store, "/metadata/", name, ".json").c_str());
    }
    result.files.push_back(path);
    result.bytes += S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0;
  }
  return result;
}

/// What lies where manifests do and is none: Ollama asks for it with each list.
StoreProblem StrayManifest(const std::string& path) {
  const bool dangling = NameExists(path) && !Exists(path);
  return {.kind = StoreProblem::Kind::kBadManifest,
          .path = path,
          .what = Cat(Escape(path),
                      dangling ? ": a link that leads nowhere: with it Ollama lists no model at all"
                               : ": no manifest, among manifests: with it Ollama prunes nothing",
                      "; move it away"),
          .names = {}};
}

class Verifier {
 public:
  Verifier(std::string store, const VerifyOptions& options, const Observer& observer)
      : options_(options), observer_(observer) {
    result_.store = std::move(store);
  }

  absl::StatusOr<VerifyResult> Run() {
    std::vector<ollama::Name> names;
    std::vector<StoreProblem> strays;
    if (options_.names.empty()) {
      ollama::Manifests manifests = ollama::ListManifests(store());
      if (!manifests.unreadable.empty()) return manifests.unreadable.front();
      names = std::move(manifests.names);
      for (const std::string& stray : manifests.strays) strays.push_back(StrayManifest(stray));
    }
    for (const std::string& text : options_.names) {
      SMELT_ASSIGN_OR_RETURN(ollama::Name name, StoredName(store(), text));
      names.push_back(std::move(name));
    }
    const Wants wants = WantsOf(store(), names);
    result_.models = wants.models;
    result_.problems = wants.problems;
    std::ranges::move(strays, std::back_inserter(result_.problems));
    for (const auto& [blob, wanted] : wants.blobs) total_ += wanted.size;
    for (const auto& [blob, wanted] : wants.blobs) SMELT_RETURN_IF_ERROR(Check(blob, wanted));
    if (options_.names.empty()) {
      SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> blobs, BlobsIn(store()));
      for (const std::string& name : blobs) {
        if (!wants.blobs.contains(name)) result_.orphans.push_back(Cat(store(), "/blobs/", name));
      }
    }
    SMELT_RETURN_IF_ERROR(Mend(wants));
    return std::move(result_);
  }

 private:
  const std::string& store() const { return result_.store; }

  absl::Status Check(const std::string& blob, const Wanted& wanted) {
    SMELT_RETURN_IF_ERROR(GoOn());
    const std::string path = Cat(store(), "/blobs/", blob);
    const auto problem = [&](StoreProblem::Kind kind, std::string what) {
      result_.problems.push_back(
          {.kind = kind, .path = path, .what = std::move(what), .names = wanted.names});
      return absl::OkStatus();
    };
    struct stat info;
    if (stat(path.c_str(), &info) != 0) {
      return problem(StoreProblem::Kind::kMissing, Cat(Escape(path), ": missing"));
    }
    if (!S_ISREG(info.st_mode) || static_cast<uint64_t>(info.st_size) != wanted.size) {
      return problem(StoreProblem::Kind::kWrongSize,
                     Cat(Escape(path), ": ", static_cast<uint64_t>(info.st_size),
                         " bytes instead of ", wanted.size));
    }
    const uint64_t before = result_.bytes;
    SMELT_ASSIGN_OR_RETURN(
        const std::string hex, ollama::HashOf(path, [&](uint64_t done, uint64_t) {
          observer_.Report(
              {.phase = "verifying", .done = before + done, .total = total_, .unit = "bytes"});
          return absl::OkStatus();
        }));
    ++result_.blobs;
    result_.bytes += wanted.size;
    if (blob != Cat("sha256-", hex)) {
      return problem(StoreProblem::Kind::kDamaged,
                     Cat(Escape(path), ": damaged: its SHA-256 is ", hex.substr(0, 12), "..."));
    }
    return absl::OkStatus();
  }

  /// Content for missing and damaged blobs from the files that were named; what is still damaged
  /// goes to the quarantine.
  absl::Status Mend(const Wants& wants) {
    for (const std::string& file : options_.repair_from) SMELT_RETURN_IF_ERROR(TakeFrom(file));
    if (!options_.quarantine) return absl::OkStatus();
    for (StoreProblem& problem : result_.problems) {
      const bool there = problem.kind == StoreProblem::Kind::kWrongSize ||
                         problem.kind == StoreProblem::Kind::kDamaged;
      if (!there || problem.repaired) continue;
      const std::string folder = Cat(store(), "/", kQuarantine);
      const std::string name = problem.path.substr(problem.path.rfind('/') + 1);
      if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST)
        return SystemError(folder, "this folder cannot be made", errno);
      if (rename(problem.path.c_str(), Cat(folder, "/", name).c_str()) != 0)
        return SystemError(problem.path, "cannot be moved to the quarantine", errno);
      problem.quarantined = true;
    }
    return absl::OkStatus();
  }

  absl::Status TakeFrom(const std::string& file) {
    struct stat info;
    if (stat(file.c_str(), &info) != 0) return SystemError(file, "cannot be examined", errno);
    const auto fits = [&](const StoreProblem& problem) {
      return !problem.repaired && problem.kind != StoreProblem::Kind::kBadManifest;
    };
    if (std::ranges::none_of(result_.problems, fits)) return absl::OkStatus();
    SMELT_ASSIGN_OR_RETURN(const std::string hex, ollama::HashOf(file, nullptr));
    for (StoreProblem& problem : result_.problems) {
      if (!fits(problem) || !problem.path.ends_with(Cat("sha256-", hex))) continue;
      SMELT_ASSIGN_OR_RETURN(ollama::StoreWriter writer, ollama::StoreWriter::Open(store()));
      SMELT_RETURN_IF_ERROR(writer.AddFile(file, nullptr).status());
      problem.repaired = true;
    }
    return absl::OkStatus();
  }

  const VerifyOptions& options_;
  const Observer& observer_;
  VerifyResult result_;
  uint64_t total_ = 0;
};

}  // namespace

bool VerifyResult::sound() const { return std::ranges::all_of(problems, &StoreProblem::repaired); }

absl::StatusOr<PruneResult> PruneStore(const std::string& folder, bool dry_run) try {
  SMELT_ASSIGN_OR_RETURN(const std::string store, StoreToRead(folder));
  return Prune(store, dry_run);
} catch (...) {
  return CaughtError();
}

absl::StatusOr<VerifyResult> VerifyStore(const VerifyOptions& options,
                                         const Observer& watcher) try {
  const JobScope job(watcher);
  SMELT_ASSIGN_OR_RETURN(std::string store, StoreToRead(options.store));
  return Verifier(std::move(store), options, job.observer()).Run();
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
