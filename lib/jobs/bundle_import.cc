// A bundle's models into a store.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"
#include "formats/ollama/seekable_zstd.h"
#include "formats/ollama/store.h"
#include "formats/ollama/store_writer.h"
#include "formats/ollama/tar.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "smelt/bundle.h"

namespace smelt {
namespace {

constexpr uint64_t kMostManifestBytes = 4 << 20;
/// Of one bundle; the manifests are held until all blobs are there.
constexpr size_t kMostModels = 4096;
constexpr uint64_t kMostManifests = 64 << 20;

class FromArchive : public ollama::BlobStream {
 public:
  explicit FromArchive(ollama::TarReader& archive) : archive_(archive) {}
  absl::StatusOr<size_t> Read(std::span<std::byte> out) override { return archive_.Read(out); }
  absl::Status Skip(uint64_t bytes) override { return archive_.Skip(bytes); }

 private:
  ollama::TarReader& archive_;
};

std::string_view KindOf(char type) {
  switch (type) {
    case '1':
    case '2':
      return "a link";
    case '3':
    case '4':
    case '6':
      return "a device or pipe";
    default:
      return "no regular file";
  }
}

class Unpacker {
 public:
  Unpacker(const BundleOptions& options, ollama::StoreWriter& writer, const Observer& observer)
      : options_(options), writer_(writer), observer_(observer) {}

  absl::StatusOr<BundleResult> Run() {
    SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> file, OpenFile(options_.bundle));
    SMELT_ASSIGN_OR_RETURN(ollama::SeekableZstdReader zstd, ollama::SeekableZstdReader::Open(file));
    ollama::TarReader archive(zstd);
    for (;;) {
      SMELT_RETURN_IF_ERROR(GoOn());
      SMELT_ASSIGN_OR_RETURN(const std::optional<ollama::TarEntry> entry, archive.Next());
      if (!entry) break;
      SMELT_RETURN_IF_ERROR(Take(*entry, archive));
    }
    SMELT_RETURN_IF_ERROR(CheckModels());
    SMELT_RETURN_IF_ERROR(PutModels());
    LeaveOut();
    return std::move(result_);
  }

  /// Nothing of a bundle that is refused stays; what an interrupted import has added does, for the
  /// next one to find.
  void Undo(const absl::Status& status) {
    const ErrorCode code = CodeOf(status);
    if (code == ErrorCode::kInvalidInput || code == ErrorCode::kUsage ||
        code == ErrorCode::kUnsupported)
      writer_.RemoveUnused(new_);
  }

 private:
  struct Model {
    ollama::Name name;
    std::string text;
    ollama::Manifest manifest;
  };

  template <typename... Parts>
  absl::Status Refused(const Parts&... parts) const {
    return Error(ErrorCode::kInvalidInput, Escape(options_.bundle), ": ", parts...);
  }

  absl::Status Take(const ollama::TarEntry& entry, ollama::TarReader& archive) {
    std::string_view path = entry.path;
    while (path.starts_with("./")) path.remove_prefix(2);
    while (path.ends_with('/') && entry.type == '5') path.remove_suffix(1);
    if (entry.type == '5') {
      const bool ours = path.empty() || path == "." || path == "blobs" || path == "manifests" ||
                        path.starts_with("manifests/");
      if (ours && path.find("..") == path.npos) return absl::OkStatus();
    } else if (entry.type != '0') {
      return Refused(Escape(entry.path, 100), " is ", KindOf(entry.type),
                     "; a bundle holds the files blobs/sha256-... and manifests/... alone");
    } else if (path.starts_with("blobs/")) {
      const std::string name(path.substr(6));
      if (ollama::BlobName(name) == name) return TakeBlob(name.substr(7), entry.size, archive);
    } else if (path.starts_with("manifests/")) {
      const ollama::Name name = ollama::NameOfManifest(path.substr(10));
      if (name.valid()) return TakeManifest(name, entry.size, archive);
    }
    return Refused(Escape(entry.path, 100),
                   ": no path of a store; a bundle holds blobs/sha256-... and manifests/... alone");
  }

  absl::Status TakeBlob(const std::string& hex, uint64_t size, ollama::TarReader& archive) {
    FromArchive stream(archive);
    const auto progress = [&](uint64_t done, uint64_t total) {
      observer_.Report({.phase = "importing", .done = done, .total = total, .unit = "bytes"});
      return absl::OkStatus();
    };
    absl::StatusOr<ollama::AddedBlob> added = writer_.AddStream(hex, size, stream, progress);
    if (!added.ok()) {
      return CodeOf(added.status()) == ErrorCode::kInvalidInput &&
                     !std::string(added.status().message()).starts_with(Escape(options_.bundle))
                 ? Prefixed(Cat(Escape(options_.bundle), ": "), added.status())
                 : added.status();
    }
    if (added->how == "present") {
      ++result_.present;
    } else {
      new_.layers.push_back({"", added->digest, added->size, ""});
    }
    if (blobs_.emplace(Cat("sha256-", hex), size).second) {
      ++result_.blobs;
      result_.bytes += size;
    }
    return absl::OkStatus();
  }

  absl::Status TakeManifest(const ollama::Name& name, uint64_t size, ollama::TarReader& archive) {
    manifest_bytes_ += std::min(size, kMostManifests + 1);
    if (size > kMostManifestBytes || manifest_bytes_ > kMostManifests ||
        models_.size() == kMostModels)
      return Refused("manifests of more models or bytes than any store has");
    Model model{.name = name, .text = std::string(size, '\0'), .manifest = {}};
    SMELT_RETURN_IF_ERROR(archive.Read(std::as_writable_bytes(std::span(model.text))).status());
    SMELT_ASSIGN_OR_RETURN(
        model.manifest, ollama::ReadManifest(model.text, Cat(options_.bundle, ": ", name.Short())));
    if (std::ranges::find(models_, name, &Model::name) != models_.end())
      return Refused("has two manifests of ", Escape(name.Short()));
    models_.push_back(std::move(model));
    return absl::OkStatus();
  }

  /// All that the manifests name was in the bundle.
  absl::Status CheckModels() {
    if (models_.empty()) return Refused("holds no model");
    if (!options_.name.empty() && models_.size() != 1) {
      return Error(ErrorCode::kUsage, Escape(options_.bundle), " holds ", models_.size(),
                   " models, which cannot all be called ", Escape(options_.name, 60),
                   "; without a name they keep their own");
    }
    for (const Model& model : models_) {
      std::vector<ollama::Layer> layers = model.manifest.layers;
      if (!model.manifest.config.digest.empty()) layers.push_back(model.manifest.config);
      for (const ollama::Layer& layer : layers) {
        const std::string blob = ollama::BlobName(layer.digest);
        const auto found = blobs_.find(blob);
        if (found == blobs_.end() || found->second != layer.size) {
          return Refused("model ", Escape(model.name.Short()), " needs ", layer.digest,
                         found == blobs_.end() ? ", which the bundle does not hold"
                                               : ", which has another size");
        }
        named_.insert(blob);
      }
    }
    return absl::OkStatus();
  }

  absl::Status PutModels() {
    const std::string& store = writer_.store();
    for (const Model& model : models_) {
      ollama::Name name = model.name;
      if (!options_.name.empty()) {
        SMELT_ASSIGN_OR_RETURN(name, ollama::ParseName(options_.name));
      }
      name = ollama::InSpellingOf(store, name);
      const absl::StatusOr<ollama::Manifest> old = ollama::LoadManifest(store, name);
      SMELT_RETURN_IF_ERROR(writer_.PutManifestText(name, model.text));
      // A server that started in between may have pruned what no manifest named yet.
      for (const ollama::Layer& layer : model.manifest.layers) {
        if (Exists(ollama::BlobFile(store, layer.digest))) continue;
        return Error(ErrorCode::kIo, Escape(store),
                     ": blobs vanish from the store as soon as they are written, another program "
                     "prunes it; import the bundle again");
      }
      if (old.ok()) writer_.RemoveUnused(*old);
      result_.names.push_back(name.Short());
    }
    return absl::OkStatus();
  }

  void LeaveOut() {
    uint64_t unnamed = 0;
    for (const auto& [blob, size] : blobs_) unnamed += named_.contains(blob) ? 0 : 1;
    if (unnamed == 0) return;
    writer_.RemoveUnused(new_);
    observer_.Note(Cat(Escape(options_.bundle), ": ", unnamed,
                       " blobs that none of its models names are left out"));
  }

  const BundleOptions& options_;
  ollama::StoreWriter& writer_;
  const Observer& observer_;
  std::vector<Model> models_;
  uint64_t manifest_bytes_ = 0;
  std::map<std::string, uint64_t> blobs_;  ///< of the bundle: file name, size
  std::set<std::string> named_;
  ollama::Manifest new_;  ///< blobs that were not in the store before
  BundleResult result_;
};

}  // namespace

bool LooksLikeBundle(const std::string& path) try {
  const absl::StatusOr<std::shared_ptr<Storage>> file = OpenFile(path);
  return file.ok() && ollama::SeekableZstdReader::Open(*file).ok();
} catch (...) {
  return false;
}

absl::StatusOr<BundleResult> ImportBundle(const BundleOptions& options,
                                          const Observer& watcher) try {
  const JobScope job(watcher);
  if (!options.name.empty()) SMELT_RETURN_IF_ERROR(ollama::ParseName(options.name).status());
  std::string store = options.store;
  if (store.empty()) {
    SMELT_ASSIGN_OR_RETURN(store, ollama::StoreForWriting());
  }
  SMELT_ASSIGN_OR_RETURN(ollama::StoreWriter writer, ollama::StoreWriter::Open(store));
  Unpacker unpacker(options, writer, job.observer());
  absl::StatusOr<BundleResult> result;
  const absl::Status status = Guarded([&] {
    result = unpacker.Run();
    return result.status();
  });
  if (!status.ok()) {
    unpacker.Undo(status);
    return status;
  }
  return result;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
