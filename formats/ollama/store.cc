#include "formats/ollama/store.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>

#include "formats/gguf.h"
#include "formats/pieces.h"
#include "lib/base/ascii.h"
#include "lib/base/atomic_file.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/system_error.h"
#include "lib/base/unfinished.h"

namespace smelt::ollama {
namespace {

constexpr std::string_view kServiceStore = "/usr/share/ollama/.ollama/models";
constexpr uint64_t kMaxManifestBytes = 4 << 20;

/// An environment variable without spaces and quotes around it, as Ollama reads it.
std::string Environment(const char* name) {
  const char* raw = std::getenv(name);
  std::string_view value = raw == nullptr ? "" : raw;
  constexpr std::string_view kTrimmed = " \t\n\v\f\r\"'";
  const size_t first = value.find_first_not_of(kTrimmed);
  if (first == std::string_view::npos) return "";
  return std::string(value.substr(first, value.find_last_not_of(kTrimmed) - first + 1));
}

void ListBelow(const std::string& folder, const std::string& relative, int level, Manifests& out) {
  const absl::StatusOr<std::vector<std::string>> entries = ListFolder(folder);
  if (!entries.ok()) {
    if (CodeOf(entries.status()) != ErrorCode::kNotFound)
      out.unreadable.push_back(entries.status());
    return;
  }
  for (const std::string& entry : *entries) {
    const std::string file = Cat(folder, "/", entry);
    const std::string path = relative.empty() ? entry : Cat(relative, "/", entry);
    if (level < 3 && IsFolder(file)) {
      ListBelow(file, path, level + 1, out);
    } else if (level == 3) {
      const Name name = NameOfManifest(path);
      if (name.valid() && IsFile(file)) {
        out.names.push_back(name);
      } else {
        out.strays.push_back(file);
      }
    }
  }
}

absl::Status NoSuchModel(std::string_view name, std::string_view where) {
  return Error(ErrorCode::kNotFound, "no model \"", Escape(name), "\" in the Ollama store ", where);
}

/// A blob with `what` ("weights") is there, can be read, has its size, and begins as a GGUF.
absl::Status CheckGguf(const std::string& store, const Name& name, std::string_view what,
                       const Layer& layer) {
  const std::string blob = BlobFile(store, layer.digest);
  struct stat info;
  const bool there = stat(blob.c_str(), &info) == 0;
  if ((there ? access(blob.c_str(), R_OK) : -1) != 0 && errno == EACCES) {
    return Error(ErrorCode::kIo, "the ", what, " of model \"", Escape(name.Short()),
                 "\" of the Ollama store cannot be read: permission denied for ", Escape(blob),
                 "; ", OwnerOf(blob), ": run as that user");
  }
  if (!there) {
    return Error(ErrorCode::kNotFound, "the ", what, " of model \"", Escape(name.Short()),
                 "\" are missing from the Ollama store: ", Escape(blob),
                 "; pull or import it again");
  }
  if (static_cast<uint64_t>(info.st_size) != layer.size) {
    return Error(ErrorCode::kInvalidInput, Escape(blob),
                 ": damaged: ", static_cast<uint64_t>(info.st_size), " bytes instead of the ",
                 layer.size, " that the manifest of \"", Escape(name.Short()),
                 "\" says; pull or import it again");
  }
  SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> file, OpenFile(blob));
  if (!LooksLikeGguf(*file)) {
    return Error(ErrorCode::kInvalidInput, Escape(blob), ": damaged: the ", what, " of \"",
                 Escape(name.Short()), "\" do not begin as a GGUF; pull or import it again");
  }
  return absl::OkStatus();
}

/// Whether several model layers are the parts of one GGUF, the first first (Ollama 0.34 and newer).
bool IsSplit(const std::string& store, const std::vector<const Layer*>& models) {
  if (models.size() < 2) return false;
  const absl::StatusOr<std::shared_ptr<Storage>> storage =
      OpenFile(BlobFile(store, models.front()->digest));
  if (!storage.ok()) return false;
  const absl::StatusOr<GgufFile> first = ReadGguf(*storage);
  return first.ok() && first->metadata.UintOr(kSplitCountKey, 1).value_or(1) == models.size() &&
         first->metadata.UintOr(kSplitNumberKey, 0).value_or(0) == 0;
}

}  // namespace

std::vector<std::string> StoreCandidates() {
  const std::string chosen = Environment("OLLAMA_MODELS");
  if (!chosen.empty()) return {chosen};
  std::vector<std::string> stores;
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') stores.push_back(Cat(home, "/.ollama/models"));
  stores.emplace_back(kServiceStore);
  return stores;
}

absl::StatusOr<std::string> StoreForWriting() {
  const std::vector<std::string> stores = StoreCandidates();
  if (stores.size() == 1 && stores[0] != kServiceStore) return stores[0];  // OLLAMA_MODELS
  for (const std::string& store : stores) {
    if (!IsFolder(store)) continue;
    if (store != kServiceStore || access(store.c_str(), W_OK) == 0) return store;
    return Error(
        ErrorCode::kIo, Escape(store),
        ": this store belongs to the Ollama service and you may not ",
        "write to it; run as its owner, or choose another store with --store or OLLAMA_MODELS");
  }
  if (stores[0] != kServiceStore) return stores[0];
  return Error(ErrorCode::kNotFound,
               "HOME is not set, so there is no default Ollama store; name one with ",
               "--store or OLLAMA_MODELS");
}

Manifests ListManifests(const std::string& store) {
  Manifests manifests;
  ListBelow(Cat(store, "/manifests"), "", 0, manifests);
  return manifests;
}

std::vector<Name> ListNames(const std::string& store) { return ListManifests(store).names; }

Name InSpellingOf(const std::string& store, const Name& name) {
  std::array<std::string Name::*, 4> parts = {&Name::host, &Name::space, &Name::model, &Name::tag};
  const std::vector<Name> existing = ListNames(store);
  Name out = name;
  for (std::string Name::*part : parts) {
    std::set<std::string> spellings;
    for (const Name& other : existing) {
      if (SameWithoutCase(other.*part, name.*part)) spellings.insert(other.*part);
    }
    if (!spellings.empty() && !spellings.contains(name.*part)) out.*part = *spellings.begin();
  }
  return out;
}

std::string OwnerOf(const std::string& path) {
  struct stat info {};
  std::string at = path;
  while (stat(at.c_str(), &info) != 0) {
    const std::string above = DirectoryOf(at);
    if (above == at) return "it cannot be looked into";
    at = above;
  }
  passwd entry{}, *found = nullptr;
  std::array<char, 4096> buffer;
  const bool known = getpwuid_r(info.st_uid, &entry, buffer.data(), buffer.size(), &found) == 0 &&
                     found != nullptr;
  return known ? Cat("it belongs to user ", Escape(found->pw_name, 40))
               : Cat("it belongs to user ", info.st_uid);
}

std::string ManifestFile(const std::string& store, const Name& name) {
  return Cat(store, "/manifests/", name.ManifestPath());
}

std::string BlobFile(const std::string& store, std::string_view digest) {
  const std::string name = BlobName(digest);
  return name.empty() ? "" : Cat(store, "/blobs/", name);
}

absl::StatusOr<Manifest> LoadManifest(const std::string& store, const Name& name) {
  const std::string path = ManifestFile(store, name);
  const absl::StatusOr<std::string> text = ReadTextFile(path, kMaxManifestBytes);
  if (!text.ok()) {
    if (CodeOf(text.status()) == ErrorCode::kNotFound)
      return NoSuchModel(name.Short(), Escape(store));
    return text.status();
  }
  absl::StatusOr<Manifest> manifest = ReadManifest(*text, path);
  if (manifest.ok()) return manifest;
  return Error(CodeOf(manifest.status()), std::string(manifest.status().message()),
               "; pull or import the model again");
}

std::vector<std::string> PartsOfBlob(const std::string& path, uint64_t count) {
  const std::string folder = DirectoryOf(path), store = DirectoryOf(folder);
  const std::string blob = path.substr(path.rfind('/') + 1);
  if (BlobName(blob) != blob || !folder.ends_with("blobs")) return {};
  for (const Name& name : ListNames(store)) {
    const absl::StatusOr<Manifest> manifest = LoadManifest(store, name);
    if (!manifest.ok()) continue;
    std::vector<std::string> parts;
    for (const Layer& layer : manifest->layers) {
      if (layer.media_type == kModelLayer) parts.push_back(BlobFile(store, layer.digest));
    }
    if (parts.size() == count && BlobName(blob) == parts[0].substr(parts[0].rfind('/') + 1))
      return parts;
  }
  return {};
}

absl::StatusOr<std::string> ResolveStoreName(std::string_view text, const std::string& store) {
  SMELT_ASSIGN_OR_RETURN(const Name parsed, ParseName(text));
  const Name name = InSpellingOf(store, parsed);
  SMELT_ASSIGN_OR_RETURN(const Manifest manifest, LoadManifest(store, name));
  std::vector<const Layer*> models;
  for (const Layer& layer : manifest.layers) {
    if (layer.media_type == kModelLayer) models.push_back(&layer);
  }
  if (models.empty()) {
    const bool tensors = std::ranges::any_of(
        manifest.layers, [](const Layer& layer) { return layer.media_type == kTensorLayer; });
    return Error(ErrorCode::kUnsupported, "model \"", Escape(name.Short()),
                 "\" of the Ollama store ", Escape(store),
                 tensors
                     ? " holds safetensors for Ollama's MLX engine, no GGUF; pull a GGUF of it, "
                       "or convert the folder that its makers published"
                     : " has no GGUF layer");
  }
  if (IsSplit(store, models)) {
    for (const Layer* part : models)
      SMELT_RETURN_IF_ERROR(CheckGguf(store, name, "weights", *part));
    return BlobFile(store, models.front()->digest);
  }
  SMELT_RETURN_IF_ERROR(CheckGguf(store, name, "weights", *models.back()));  // the last counts
  return BlobFile(store, models.back()->digest);
}

std::optional<StoredModel> FindStored(const std::string& text) {
  if (NameExists(text)) return std::nullopt;
  const Name name = SplitName(text).WithDefaults();
  if (!name.valid()) return std::nullopt;
  for (const std::string& store : StoreCandidates()) {
    StoredModel model{.store = store, .name = InSpellingOf(store, name), .manifest = {}};
    absl::StatusOr<Manifest> manifest = LoadManifest(store, model.name);
    if (!manifest.ok()) continue;
    model.manifest = *std::move(manifest);
    return model;
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<std::string>> AdaptersOf(const StoredModel& model) {
  std::vector<std::string> adapters;
  for (const Layer& layer : model.manifest.layers) {
    if (layer.media_type != kAdapterLayer) continue;
    SMELT_RETURN_IF_ERROR(CheckGguf(model.store, model.name, "adapter weights", layer));
    adapters.push_back(BlobFile(model.store, layer.digest));
  }
  return adapters;
}

absl::StatusOr<std::string> ResolveModelArgument(const std::string& text) {
  if (NameExists(text)) return text;
  std::string looked, unreadable;
  const Name name = SplitName(text).WithDefaults();
  if (name.valid()) {
    for (const std::string& store : StoreCandidates()) {
      const absl::Status found = LoadManifest(store, InSpellingOf(store, name)).status();
      if (CodeOf(found) == ErrorCode::kIo && access(ManifestFile(store, name).c_str(), R_OK) != 0) {
        const std::string reason = SystemReason(errno);
        unreadable += Cat("; the Ollama store ", Escape(store), " cannot be read (", reason, ", ",
                          OwnerOf(store), ")");
        continue;
      }
      if (found.ok() || CodeOf(found) != ErrorCode::kNotFound) return ResolveStoreName(text, store);
      looked += Cat(looked.empty() ? "" : " and ", Escape(store));
    }
  }
  if (text.find("://") != text.npos)
    return Error(ErrorCode::kNotFound, Escape(text),
                 ": is an address, not a file; download the model first, and name what is on disk");
  SMELT_RETURN_IF_ERROR(RefusePiece(text));
  if (const std::string why = UnfinishedBeside(text, false); !why.empty())
    return Error(ErrorCode::kNotFound, Escape(text), ": is not there yet: ", why);
  return Error(ErrorCode::kNotFound, Escape(text), ": no such file or directory",
               looked.empty() ? "" : Cat(", and no model of that name in ", looked), unreadable);
}

}  // namespace smelt::ollama
