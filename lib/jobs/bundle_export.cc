// Models of a store as a GGUF file, as a store of their own, or as a bundle.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
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
#include "lib/base/atomic_file.h"
#include "lib/base/fd.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/hash.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/system_error.h"
#include "lib/jobs/store_place.h"
#include "smelt/bundle.h"

namespace smelt {
namespace {

constexpr uint64_t kMostManifestBytes = 4 << 20;
constexpr size_t kChunk = 4 << 20;

struct Model {
  ollama::Name name;
  std::string text;  ///< of its manifest
};

/// What is exported: models, and their blobs, each once, in the order of the models.
struct Contents {
  std::vector<Model> models;
  std::vector<ollama::Layer> blobs;
  uint64_t bytes = 0;
};

absl::StatusOr<Contents> ContentsOf(const std::string& store,
                                    const std::vector<std::string>& names) {
  Contents contents;
  std::set<std::string> digests;
  for (const std::string& text : names) {
    SMELT_ASSIGN_OR_RETURN(ollama::Name name, StoredName(store, text));
    if (std::ranges::find(contents.models, name, &Model::name) != contents.models.end()) continue;
    const std::string path = ollama::ManifestFile(store, name);
    SMELT_ASSIGN_OR_RETURN(std::string json, ReadTextFile(path, kMostManifestBytes));
    SMELT_ASSIGN_OR_RETURN(const ollama::Manifest manifest, ollama::ReadManifest(json, path));
    std::vector<ollama::Layer> layers = manifest.layers;
    if (!manifest.config.digest.empty()) layers.push_back(manifest.config);
    for (ollama::Layer& layer : layers) {
      if (!digests.insert(ollama::BlobName(layer.digest)).second) continue;
      contents.bytes += layer.size;
      contents.blobs.push_back(std::move(layer));
    }
    contents.models.push_back({std::move(name), std::move(json)});
  }
  return contents;
}

absl::Status Damaged(const std::string& path, std::string_view what) {
  return Error(ErrorCode::kInvalidInput, Escape(path), ": this blob of the model is ", what,
               "; smelt store verify says which models need it");
}

using Sink = std::function<absl::Status(std::span<const std::byte>)>;

/// A blob piece by piece into `sink`; at the end its digest must be its name.
absl::Status ReadBlob(const std::string& store, const ollama::Layer& layer, const Sink& sink) {
  const std::string path = ollama::BlobFile(store, layer.digest);
  absl::StatusOr<std::shared_ptr<Storage>> file = OpenFile(path);
  if (!file.ok()) {
    return CodeOf(file.status()) == ErrorCode::kNotFound ? Damaged(path, "missing") : file.status();
  }
  if ((*file)->size() != layer.size) return Damaged(path, "damaged: it has another size");
  Sha256 sha;
  std::vector<std::byte> buffer;
  for (uint64_t at = 0; at < layer.size; at += buffer.size()) {
    SMELT_RETURN_IF_ERROR(GoOn());
    buffer.resize(static_cast<size_t>(std::min<uint64_t>(kChunk, layer.size - at)));
    SMELT_RETURN_IF_ERROR((*file)->ReadAt(at, buffer));
    sha.Update(buffer);
    SMELT_RETURN_IF_ERROR(sink(buffer));
  }
  if (Cat("sha256-", sha.FinishHex()) != ollama::BlobName(layer.digest))
    return Damaged(path, "damaged: its content is another one");
  return absl::OkStatus();
}

/// A file whose size is not known before: PATH.part, locked, renamed when it is whole. Where the
/// work is stopped or the disk fails the part stays; the next run compares what it writes with it
/// and goes on from where it ends, or where it differs.
class GrowingFile {
 public:
  static absl::StatusOr<GrowingFile> Open(const std::string& path, bool force) {
    SMELT_RETURN_IF_ERROR(CheckOutput(path, force));
    GrowingFile file(path, force);
    file.fd_ =
        Fd(open(file.part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
    struct stat info;
    if (file.fd_.get() < 0) return file.Failed("cannot be opened for writing");
    if (flock(file.fd_.get(), LOCK_EX | LOCK_NB) != 0 || fstat(file.fd_.get(), &info) != 0 ||
        !S_ISREG(info.st_mode)) {
      const std::string part = std::exchange(file.part_, "");
      return Error(ErrorCode::kAlreadyExists, Escape(part),
                   " is being written by another run; wait for it or choose another output name");
    }
    file.there_ = static_cast<uint64_t>(info.st_size);
    return file;
  }
  GrowingFile(GrowingFile&& other) noexcept
      : path_(std::move(other.path_)),
        part_(std::exchange(other.part_, "")),
        force_(other.force_),
        keep_(other.keep_),
        fd_(std::move(other.fd_)),
        size_(other.size_),
        there_(other.there_) {}
  ~GrowingFile() {
    if (!part_.empty() && !(keep_ && size_ > 0)) unlink(part_.c_str());
  }

  uint64_t size() const { return size_; }
  int fd() const { return fd_.get(); }

  /// The work ended so that a later run can go on.
  void KeepPart() { keep_ = true; }

  /// Up to `most` bytes that an earlier run left where this one stands.
  absl::StatusOr<std::vector<std::byte>> Left(uint64_t most) const {
    std::vector<std::byte> left(size_ < there_ ? std::min(most, there_ - size_) : 0);
    const Transfer read = ReadAt(fd_.get(), size_, left);
    errno = read.error;
    if (read.error != 0) return Failed("reading failed");
    left.resize(read.bytes);
    return left;
  }
  /// The next `bytes` of what was left are what is to be written.
  void Take(size_t bytes) { size_ += bytes; }

  absl::Status Write(std::span<const std::byte> bytes) {
    if (size_ < there_) {
      SMELT_ASSIGN_OR_RETURN(const std::vector<std::byte> left, Left(bytes.size()));
      if (std::ranges::equal(left, bytes.first(left.size()))) {
        Take(left.size());
        bytes = bytes.subspan(left.size());
      }
      if (bytes.empty()) return absl::OkStatus();
      SMELT_RETURN_IF_ERROR(EndHere());
    }
    if (lseek(fd_.get(), static_cast<off_t>(size_), SEEK_SET) < 0) return Failed("cannot go on");
    const Transfer written = WriteAll(fd_.get(), bytes);
    size_ += written.bytes;
    errno = written.error;
    return written.error == 0 ? absl::OkStatus() : Failed("writing failed");
  }
  absl::Status Commit() {
    if (size_ < there_) SMELT_RETURN_IF_ERROR(EndHere());
    if (fsync(fd_.get()) != 0) return Failed("syncing to the disk failed");
    SMELT_RETURN_IF_ERROR(CheckOutput(path_, force_));
    if (rename(part_.c_str(), path_.c_str()) != 0) return Failed("cannot get its name");
    part_.clear();
    return SyncDirectory(DirectoryOf(path_));
  }

 private:
  GrowingFile(const std::string& path, bool force)
      : path_(path), part_(path + ".part"), force_(force) {}
  /// What an earlier run left from here on goes.
  absl::Status EndHere() {
    there_ = size_;
    return ftruncate(fd_.get(), static_cast<off_t>(size_)) == 0 ? absl::OkStatus()
                                                                : Failed("cannot be cut");
  }
  absl::Status Failed(std::string_view what) const {
    return SystemError(part_, what, errno, "; free some space or choose another place");
  }

  std::string path_, part_;
  bool force_, keep_ = false;
  Fd fd_;
  uint64_t size_ = 0, there_ = 0;  ///< so far; in the file when it was opened
};

/// Whether a later run can go on from what a failed one leaves.
bool CanGoOn(const absl::Status& status) {
  const ErrorCode code = CodeOf(status);
  return code == ErrorCode::kCancelled || code == ErrorCode::kIo || code == ErrorCode::kNoSpace;
}

class Exporter {
 public:
  Exporter(const std::string& store, const Contents& contents, const ExportOptions& options,
           const Observer& observer)
      : store_(store), contents_(contents), options_(options), observer_(observer) {}

  absl::StatusOr<ExportResult> Run() {
    ExportResult result{.output = options_.output,
                        .kind = {},
                        .names = {},
                        .blobs = contents_.blobs.size(),
                        .bytes = contents_.bytes,
                        .output_bytes = 0};
    for (const Model& model : contents_.models) result.names.push_back(model.name.Short());
    const bool folder = IsFolder(options_.output);
    if (!folder && options_.output.ends_with(".gguf")) {
      result.kind = "gguf";
      SMELT_RETURN_IF_ERROR(Weights(result));
    } else if (!folder && options_.output.ends_with(".tar.zst")) {
      result.kind = "bundle";
      SMELT_RETURN_IF_ERROR(Bundle(result));
    } else {
      result.kind = "store";
      SMELT_RETURN_IF_ERROR(Store());
    }
    return result;
  }

 private:
  void Report(uint64_t more) {
    done_ += more;
    observer_.Report(
        {.phase = "exporting", .done = done_, .total = contents_.bytes, .unit = "bytes"});
  }

  /// The GGUF alone, sharing its blocks with the blob where the file system can.
  absl::Status Weights(ExportResult& result) {
    if (contents_.models.size() != 1) {
      return Error(ErrorCode::kUsage, "a GGUF file holds one model, and ", contents_.models.size(),
                   " are named; a folder or a bundle (NAME.tar.zst) holds several");
    }
    const Model& model = contents_.models.front();
    SMELT_ASSIGN_OR_RETURN(const ollama::Manifest manifest,
                           ollama::ReadManifest(model.text, model.name.Short()));
    const auto is_model = [](const ollama::Layer& layer) {
      return layer.media_type == ollama::kModelLayer;
    };
    const auto layer = std::ranges::find_if(manifest.layers, is_model);
    const auto count = std::ranges::count_if(manifest.layers, is_model);
    if (count != 1) {
      return Error(ErrorCode::kUnsupported, "model \"", Escape(model.name.Short()), "\" has ",
                   count == 0 ? "no GGUF" : "a GGUF in several parts",
                   count == 0 ? "; a folder or a bundle can hold it"
                              : "; smelt convert NAME --type copy joins them");
    }
    result.blobs = 1;
    result.bytes = layer->size;
    SMELT_RETURN_IF_ERROR(Fill(result, [&](GrowingFile& out) {
      const Fd blob(open(ollama::BlobFile(store_, layer->digest).c_str(), O_RDONLY | O_CLOEXEC));
      const bool shared = blob.get() >= 0 && ioctl(out.fd(), FICLONE, blob.get()) == 0;
      if (shared) out.Take(layer->size);
      return ReadBlob(store_, *layer, [&](std::span<const std::byte> bytes) {
        Report(bytes.size());
        return shared ? absl::OkStatus() : out.Write(bytes);
      });
    }));
    if (contents_.blobs.size() > 1)
      observer_.Note(Cat(Escape(options_.output), ": holds the weights alone; smelt store show ",
                         Escape(model.name.Short()),
                         " --modelfile prints the model's template and parameters"));
    return absl::OkStatus();
  }

  absl::Status Bundle(ExportResult& result) {
    for (const Model& model : contents_.models) {  // a name that is too long, before the work
      SMELT_RETURN_IF_ERROR(
          ollama::TarHeader(Cat("manifests/", model.name.ManifestPath()), 0).status());
    }
    return Fill(result, [&](GrowingFile& out) {
      ollama::SeekableZstdWriter zstd(
          [&](std::span<const std::byte> bytes) { return out.Write(bytes); },
          [&](std::span<const std::byte> content) -> absl::StatusOr<size_t> {
            SMELT_ASSIGN_OR_RETURN(const std::vector<std::byte> left,
                                   out.Left(ollama::MostZstdBytes(content.size())));
            const size_t frame = ollama::ZstdFrameOf(content, left);
            out.Take(frame);
            return frame;
          });
      return WriteBundle(zstd);
    });
  }

  absl::Status WriteBundle(ollama::SeekableZstdWriter& zstd) {
    const auto pad = [&](size_t bytes) { return zstd.Write(std::vector<std::byte>(bytes)); };
    const auto begin = [&](const std::string& path, uint64_t size) -> absl::Status {
      SMELT_ASSIGN_OR_RETURN(const std::vector<std::byte> header, ollama::TarHeader(path, size));
      return zstd.Write(header);
    };
    for (const ollama::Layer& layer : contents_.blobs) {
      SMELT_RETURN_IF_ERROR(begin(Cat("blobs/", ollama::BlobName(layer.digest)), layer.size));
      SMELT_RETURN_IF_ERROR(ReadBlob(store_, layer, [&](std::span<const std::byte> bytes) {
        Report(bytes.size());
        return zstd.Write(bytes);
      }));
      SMELT_RETURN_IF_ERROR(pad(ollama::TarPadding(layer.size)));
    }
    for (const Model& model : contents_.models) {
      SMELT_RETURN_IF_ERROR(begin(Cat("manifests/", model.name.ManifestPath()), model.text.size()));
      SMELT_RETURN_IF_ERROR(zstd.Write(std::as_bytes(std::span(model.text))));
      SMELT_RETURN_IF_ERROR(pad(ollama::TarPadding(model.text.size())));
    }
    SMELT_RETURN_IF_ERROR(pad(ollama::kTarEnd));
    return zstd.Finish();
  }

  /// The output by `write`; its part stays where a later run can go on.
  absl::Status Fill(ExportResult& result, const std::function<absl::Status(GrowingFile&)>& write) {
    SMELT_ASSIGN_OR_RETURN(GrowingFile out, GrowingFile::Open(options_.output, options_.force));
    const absl::Status status = Guarded([&]() -> absl::Status {
      SMELT_RETURN_IF_ERROR(write(out));
      result.output_bytes = out.size();
      return out.Commit();
    });
    if (CanGoOn(status)) out.KeepPart();
    if (CodeOf(status) != ErrorCode::kCancelled || out.size() == 0) return status;
    return Error(ErrorCode::kCancelled, "interrupted; ", Escape(options_.output),
                 ".part keeps what was done: run the same command again to resume");
  }

  /// Into a store of its own: blobs first, then the names.
  absl::Status Store() {
    std::string folder = options_.output;
    while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
    if (NameExists(folder) && !IsFolder(folder)) {
      return Error(ErrorCode::kUsage, Escape(folder),
                   ": is a file; an export is NAME.gguf, NAME.tar.zst or a folder");
    }
    SMELT_ASSIGN_OR_RETURN(ollama::StoreWriter writer, ollama::StoreWriter::Open(folder));
    ollama::Manifest added;
    const absl::Status status = Guarded([&] { return FillStore(folder, writer, added); });
    if (!status.ok() && !CanGoOn(status)) writer.RemoveUnused(added);
    return status;
  }

  absl::Status FillStore(const std::string& folder, ollama::StoreWriter& writer,
                         ollama::Manifest& all_added) {
    for (const ollama::Layer& layer : contents_.blobs) {
      const std::string path = ollama::BlobFile(store_, layer.digest);
      const absl::StatusOr<ollama::AddedBlob> added =
          writer.AddFile(path, nullptr, /*copy=*/false, layer.digest);
      const bool another = CodeOf(added.status()) == ErrorCode::kInvalidInput;
      if (!added.ok() && !another) return added.status();
      if (!another && added->how != "present")
        all_added.layers.push_back({"", added->digest, added->size, ""});
      if (another || added->digest != layer.digest)
        return Damaged(path, "damaged: its content is another one");
      Report(layer.size);
    }
    for (const Model& model : contents_.models) {
      const ollama::Name name = ollama::InSpellingOf(folder, model.name);
      const absl::StatusOr<ollama::Manifest> old = ollama::LoadManifest(folder, name);
      SMELT_RETURN_IF_ERROR(writer.PutManifestText(name, model.text));
      if (old.ok()) writer.RemoveUnused(*old);
    }
    return absl::OkStatus();
  }

  const std::string& store_;
  const Contents& contents_;
  const ExportOptions& options_;
  const Observer& observer_;
  uint64_t done_ = 0;
};

}  // namespace

absl::StatusOr<ExportResult> ExportStored(const ExportOptions& options,
                                          const Observer& watcher) try {
  const JobScope job(watcher);
  SMELT_ASSIGN_OR_RETURN(const std::string store, StoreToRead(options.store));
  if (options.names.empty() || options.output.empty())
    return Error(ErrorCode::kUsage, "an export takes the names of models and an output (-o)");
  SMELT_ASSIGN_OR_RETURN(const Contents contents, ContentsOf(store, options.names));
  return Exporter(store, contents, options, job.observer()).Run();
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
