#include "formats/model_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/gguf.h"
#include "formats/pieces.h"
#include "formats/weight_index.h"
#include "formats/weight_sets.h"
#include "formats/weights_directory.h"
#include "formats/what_is_there.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/unfinished.h"
#include "smelt/text.h"

namespace smelt {
namespace {

/// hub/models--org--name/snapshots/revision is the deepest chain.
constexpr int kMaxSteps = 3;
constexpr uint64_t kMaxRefBytes = 4096;

std::string Join(const std::string& folder, std::string_view name) {
  return Cat(folder, folder.ends_with('/') ? "" : "/", name);
}

/// The names of folders, or of files with an ending, among a folder's entries.
std::vector<std::string> Folders(const std::vector<std::string>& entries) {
  std::vector<std::string> folders;
  for (const std::string& entry : entries) {
    if (entry.ends_with('/') && !entry.starts_with('.'))
      folders.push_back(entry.substr(0, entry.size() - 1));
  }
  return folders;
}

std::vector<std::string> FilesWith(const std::vector<std::string>& entries,
                                   std::string_view ending) {
  std::vector<std::string> files;
  for (const std::string& entry : entries) {
    if (!entry.starts_with('.') && HasEnding(entry, ending)) files.push_back(entry);
  }
  return files;
}

bool HasConfiguration(const std::string& folder) {
  return NameExists(Join(folder, "config.json")) || NameExists(Join(folder, "params.json"));
}

/// As PEFT saves an adapter.
bool IsAdapter(const std::string& folder) {
  return NameExists(Join(folder, "adapter_config.json")) &&
         (NameExists(Join(folder, "adapter_model.safetensors")) ||
          NameExists(Join(folder, "adapter_model.bin")));
}

bool HasWeights(const std::vector<std::string>& entries) {
  return std::ranges::any_of(
      std::initializer_list<std::string_view>{".safetensors", ".bin", ".pt", ".pth", ".ckpt"},
      [&](std::string_view ending) {
        return std::ranges::any_of(FilesWith(entries, ending),
                                   [](const std::string& name) { return !IsNoWeights(name); });
      });
}

/// Numbers at the ends of names count as such: checkpoint-500 comes before checkpoint-1000.
std::pair<std::string_view, uint64_t> ByNumber(std::string_view name) {
  const size_t digits = name.find_last_not_of("0123456789") + 1;
  uint64_t number = 0;
  std::from_chars(name.data() + digits, name.data() + name.size(), number);
  return {name.substr(0, digits), number};
}

/// "; name one of them, such as PATH", which a shell takes as it stands. A path that leaves no room
/// for the rest of the sentence is left out.
std::string NameOne(const std::string& path) {
  constexpr size_t kLongest = 170;
  const std::string word = path.empty() ? "" : ShellQuoted(path);
  return Cat("; name one of them",
             word.empty() || word.size() > kLongest ? "" : Cat(", such as ", word));
}

/// `opens`: whether what has this name can be suggested.
template <typename Opens>
absl::Status Several(const std::string& path, std::string_view what, std::vector<std::string> names,
                     const Opens& opens) {
  std::ranges::sort(names, {}, [](const std::string& name) { return ByNumber(name); });
  const auto good = std::find_if(names.rbegin(), names.rend(), opens);
  return Error(ErrorCode::kNotFound, Escape(path, 60), ": holds ", names.size(), " ", what, " (",
               ListOf(names, 3), ")", NameOne(good == names.rend() ? "" : Join(path, *good)));
}

/// Whether a folder holds weights that can be chosen, by their names.
bool HasAModel(const std::string& folder) { return FindWeights(folder).ok() || IsAdapter(folder); }

/// A model's folder in a hub cache: its snapshot.
absl::StatusOr<std::string> SnapshotOf(const std::string& path) {
  const std::string snapshots = Join(path, "snapshots");
  const std::vector<std::string> revisions = Folders(ListEntries(snapshots));
  const std::string ref = Join(path, "refs/main");
  if (NameExists(ref)) {
    SMELT_ASSIGN_OR_RETURN(std::string revision, ReadTextFile(ref, kMaxRefBytes));
    while (!revision.empty() &&
           std::string_view(" \r\n\t").find(revision.back()) != std::string_view::npos) {
      revision.pop_back();
    }
    if (std::ranges::find(revisions, revision) != revisions.end()) {
      return Join(snapshots, revision);
    }
    const auto good = std::ranges::find_if(
        revisions, [&](const std::string& name) { return HasAModel(Join(snapshots, name)); });
    return Error(ErrorCode::kNotFound, Escape(ref, 90), ": names the snapshot ",
                 Escape(revision, 50), ", which is not there",
                 revisions.empty()
                     ? "; download the model again"
                     : Cat("; there is ", ListOf(revisions, 2),
                           NameOne(good == revisions.end() ? "" : Join(snapshots, *good))));
  }
  if (revisions.size() == 1) return Join(snapshots, revisions[0]);
  if (revisions.empty()) {
    return Error(ErrorCode::kNotFound, Escape(snapshots),
                 ": holds no snapshot of the model; download it again");
  }
  return Several(snapshots, "snapshots, and no refs/main says which is meant", revisions,
                 [&](const std::string& name) { return HasAModel(Join(snapshots, name)); });
}

/// Whether `path` is a model's folder in a hub cache, or (`model` is the one above it) its folder
/// of snapshots.
bool IsSnapshots(const std::string& path, const std::string& model) {
  const std::string snapshots = Join(model, "snapshots");
  struct stat a, b;
  if (stat(snapshots.c_str(), &a) != 0 || !S_ISDIR(a.st_mode)) return false;
  if (path == model) return true;
  return NameExists(Join(model, "refs")) && stat(path.c_str(), &b) == 0 && a.st_ino == b.st_ino &&
         a.st_dev == b.st_dev;
}

/// The GGUF of a folder, a split one by its first part; projectors beside a model are not meant.
absl::StatusOr<std::string> GgufOf(const std::string& path, std::vector<std::string> files) {
  if (files.size() > 1) {
    const auto beside = [](const std::string& name) {
      return name.find("mmproj") != name.npos || name.find("imatrix") != name.npos;
    };
    if (!std::ranges::all_of(files, beside)) std::erase_if(files, beside);
  }
  const std::vector<WeightSet> sets = FindWeightSets(files);
  if (sets.size() == 1 && (sets[0].total > 0 || sets[0].files.size() == 1)) {
    return Join(path, sets[0].files[0]);  // a missing part is named when it is opened
  }
  return Several(path, "GGUF files", std::move(files), [&](const std::string& name) {
    const absl::StatusOr<GgufFile> file = OpenGguf(Join(path, name));
    return file.ok() && CheckIsModel(*file).ok();
  });
}

/// The one folder with a model is meant only if none beside it looks like another, as a newer
/// checkpoint does that a trainer saved in its own form.
absl::Status RefuseUnreadSiblings(const std::string& path, const std::vector<std::string>& entries,
                                  const std::string& model) {
  for (const std::string& name : Folders(entries)) {
    const bool numbered = ByNumber(model).first.size() < model.size() &&
                          ByNumber(name).first == ByNumber(model).first &&
                          ByNumber(name).first.size() < name.size();
    if (name == model || !(numbered || HasWeights(ListEntries(Join(path, name))))) continue;
    return Error(ErrorCode::kNotFound, Escape(path, 60), ": only ", Escape(model, 60),
                 " holds a whole model, but ", Escape(name, 60),
                 " is there too, and may be the one that is meant", NameOne(Join(path, model)));
  }
  return absl::OkStatus();
}

/// One step down, or nothing where the folder itself is what there is.
absl::StatusOr<std::optional<std::string>> StepInto(const std::string& path) {
  const std::vector<std::string> entries = ListEntries(path);
  if (HasWeights(entries) || IsAdapter(path)) return std::nullopt;
  for (const std::string& model : {path, Join(path, "..")}) {
    if (HasConfiguration(path) || !IsSnapshots(path, model)) continue;
    SMELT_ASSIGN_OR_RETURN(std::string snapshot, SnapshotOf(model));
    return snapshot;
  }
  if (std::vector<std::string> files = FilesWith(entries, ".gguf"); !files.empty()) {
    SMELT_ASSIGN_OR_RETURN(std::string file, GgufOf(path, std::move(files)));
    return file;
  }
  std::vector<std::string> models, hubs;
  for (const std::string& name : Folders(entries)) {
    const std::string inner = Join(path, name);
    const bool model = HasConfiguration(inner) && HasWeights(ListEntries(inner));
    if (model || (!HasConfiguration(path) && IsAdapter(inner))) models.push_back(name);
    if (name.starts_with("models--")) hubs.push_back(name);
  }
  if (models.empty()) models = std::move(hubs);
  if (models.empty()) {
    SMELT_RETURN_IF_ERROR(RefusePiecesIn(path));
    return std::nullopt;
  }
  if (models.size() == 1) {
    SMELT_RETURN_IF_ERROR(RefuseUnreadSiblings(path, entries, models[0]));
    return Join(path, models[0]);
  }
  return Several(path, "folders with a model", std::move(models), [&](const std::string& name) {
    return name.starts_with("models--") || HasAModel(Join(path, name));
  });
}

/// A file that is only a part of one, by its name: a piece, or a download that is not finished.
absl::Status RefusePartOfFile(const std::string& path) {
  SMELT_RETURN_IF_ERROR(RefusePiece(path));
  const std::string whole = NameWhenFinished(path);
  if (whole.empty() || OpenGguf(path).ok()) return absl::OkStatus();
  const bool ours = NameExists(Cat(path, ".journal"));
  return Error(ErrorCode::kInvalidInput, Escape(path), ": a ", ours ? "conversion" : "download",
               " that is not finished, by its name; ",
               ours ? "run the same command again, then name " : "let it finish, then name ",
               ShellQuoted(whole).substr(0, 170));
}

}  // namespace

absl::StatusOr<ModelPlace> LocateModel(const std::string& path) {
  if (!IsFolder(path)) SMELT_RETURN_IF_ERROR(RefusePartOfFile(path));
  ModelPlace place{path, ""};
  for (int step = 0; step < kMaxSteps && IsFolder(place.path); ++step) {
    SMELT_ASSIGN_OR_RETURN(std::optional<std::string> inner, StepInto(place.path));
    if (!inner) break;
    place.path = *std::move(inner);
    place.note = Cat(Escape(path), ": reading ", Escape(place.path));
  }
  return place;
}

}  // namespace smelt
