// Metadata of a GGUF file changed, its tensors untouched.
#include "smelt/set.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "formats/gguf.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/store.h"
#include "lib/base/atomic_file.h"
#include "lib/base/fd.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/system_error.h"
#include "lib/jobs/header_journal.h"
#include "lib/jobs/metadata_edit.h"
#include "lib/jobs/vocabulary_edits.h"
#include "lib/model/gguf_source.h"
#include "lib/model/layer_spec.h"
#include "lib/text/tokenizer.h"

namespace smelt {
namespace {

constexpr size_t kChunk = 4 << 20;
/// Fills what a shorter header leaves of the old one's place, since tensors cannot move.
constexpr OwnKey<std::string> kPadding = "smelt.padding";
/// Bytes of that key without its text.
constexpr size_t kPaddingBytes = 8 + 13 + 4 + 8;

/// The file itself: where links lead, open and locked.
struct Target {
  std::string path;
  Fd fd;
  struct stat info = {};
};

absl::StatusOr<Target> OpenTarget(const std::string& name) {
  if (!NameExists(name)) {
    if (ollama::ResolveModelArgument(name).ok()) {
      return Error(
          ErrorCode::kUsage, "\"", Escape(name, 60),
          "\" is a model of the Ollama store, whose files are never changed; smelt import ",
          Escape(name, 60), " NEW-NAME --metadata KEY=VALUE makes another one");
    }
    return Error(ErrorCode::kNotFound, Escape(name), ": no such file");
  }
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(name.c_str(), nullptr),
                                                         &std::free);
  if (real == nullptr) return SystemError(name, "cannot be followed to a file", errno);
  Target target{.path = real.get(), .fd = Fd(), .info = {}};
  const std::string base = target.path.substr(target.path.rfind('/') + 1);
  if (ollama::BlobName(base) == base) {
    return Error(ErrorCode::kUsage, Escape(target.path),
                 ": is a blob of an Ollama store, whose name is the hash of its content; smelt "
                 "import with --metadata makes a model with other metadata");
  }
  target.fd = Fd(open(target.path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (target.fd.get() < 0) return SystemError(target.path, "cannot be opened for writing", errno);
  if (fstat(target.fd.get(), &target.info) != 0)
    return SystemError(target.path, "cannot be examined", errno);
  if (!S_ISREG(target.info.st_mode))
    return Error(ErrorCode::kUsage, Escape(target.path), ": is no regular file");
  if (flock(target.fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error(ErrorCode::kAlreadyExists, Escape(target.path),
                 ": another smelt set is changing it; wait for it");
  }
  struct stat there;
  if (stat(target.path.c_str(), &there) != 0 || there.st_ino != target.info.st_ino ||
      there.st_dev != target.info.st_dev) {
    return Error(ErrorCode::kAlreadyExists, Escape(target.path),
                 ": was replaced by another program just now; try again");
  }
  return target;
}

std::vector<GgufTensorSpec> SpecsOf(const GgufFile& file) {
  std::vector<GgufTensorSpec> specs;
  for (const GgufTensor& tensor : file.tensors)
    specs.push_back({tensor.name, tensor.ne, tensor.dims, tensor.type});
  return specs;
}

/// Where the tensors are and which parts belong together is no matter of metadata alone.
absl::Status CheckKeys(const MetadataEdits& edits) {
  for (const auto& [key, value] : edits) {
    if (key == "general.alignment") {
      return Error(ErrorCode::kUnsupported,
                   "general.alignment says where the file's tensors are, which stay; smelt convert "
                   "--type copy --metadata general.alignment=N lays a file out anew");
    }
    if (key == kSplitNumberKey || key == kSplitCountKey || key == kSplitTensorsKey) {
      return Error(ErrorCode::kUnsupported, key,
                   " says how the parts of a split file belong together, which stays; smelt "
                   "convert --type copy joins them");
    }
    if (key == "general.architecture" && !value) {
      return Error(ErrorCode::kUnsupported,
                   "general.architecture says what the file is; without it nothing can read it");
    }
  }
  return absl::OkStatus();
}

/// A model that could be read before the edits can be read after them.
absl::Status CheckModel(const GgufFile& file, const Metadata& edited) {
  const std::string name = file.files.front()->name();
  GgufFile before = file, after = file;
  if (!ReadModelSpec(*MakeGgufSource(name, std::move(before))).ok()) return absl::OkStatus();
  after.metadata = edited;
  const absl::Status status = ReadModelSpec(*MakeGgufSource(name, std::move(after))).status();
  if (status.ok()) return status;
  return Error(ErrorCode::kInvalidInput, "the model could not be read any more with these edits: ",
               std::string(status.message()));
}

/// Of all that is set, changed or removed.
std::vector<std::string> ChangedKeys(const Metadata& before, const Metadata& after) {
  std::vector<std::string> keys;
  for (const Metadata::Entry& entry : after.entries()) {
    const MetadataValue* old = before.Find(entry.key);
    if (old == nullptr || !(*old == entry.value)) keys.push_back(entry.key);
  }
  for (const Metadata::Entry& entry : before.entries()) {
    if (!after.Has(entry.key)) keys.push_back(entry.key);
  }
  std::erase(keys, std::string_view(kPadding));
  return keys;
}

/// A header of exactly `size` bytes with these keys; empty when there is none.
absl::StatusOr<std::vector<std::byte>> HeaderOfSize(Metadata metadata,
                                                    std::span<const GgufTensorSpec> specs,
                                                    uint64_t alignment, size_t size) {
  metadata.Erase(kPadding);
  SMELT_ASSIGN_OR_RETURN(GgufLayout layout, SerializeGgufHeader(metadata, specs, alignment));
  if (layout.header.size() < size) {
    const size_t room = size - layout.header.size();
    WriteOwn(metadata, kPadding, std::string(room - std::min(room, kPaddingBytes), ' '));
    SMELT_ASSIGN_OR_RETURN(layout, SerializeGgufHeader(metadata, specs, alignment));
  }
  if (layout.header.size() != size) return std::vector<std::byte>();
  return std::move(layout.header);
}

/// The bytes in whose place another header may be written: all before the data, where the file is
/// laid out as we lay out; else empty.
absl::StatusOr<std::vector<std::byte>> OldHeader(const GgufFile& file,
                                                 std::span<const GgufTensorSpec> specs) {
  if (specs.empty()) return std::vector<std::byte>();
  SMELT_ASSIGN_OR_RETURN(const GgufLayout layout,
                         SerializeGgufHeader(file.metadata, specs, file.alignment));
  for (size_t i = 0; i < specs.size(); ++i) {
    if (file.tensors[i].offset != layout.offsets[i]) return std::vector<std::byte>();
  }
  std::vector<std::byte> stored(layout.header.size());
  SMELT_RETURN_IF_ERROR(file.files.front()->ReadAt(0, stored));
  return stored;
}

absl::Status CopyTensors(const GgufFile& file, const GgufLayout& layout, AtomicFile& out,
                         const Observer& observer) {
  std::vector<std::byte> buffer;
  uint64_t done = 0;
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const GgufTensor& tensor = file.tensors[i];
    for (uint64_t at = 0; at < tensor.bytes; at += buffer.size()) {
      SMELT_RETURN_IF_ERROR(GoOn());
      buffer.resize(std::min<uint64_t>(kChunk, tensor.bytes - at));
      SMELT_RETURN_IF_ERROR(tensor.storage->ReadAt(tensor.offset + at, buffer));
      SMELT_RETURN_IF_ERROR(out.WriteAt(layout.offsets[i] + at, buffer));
      done += buffer.size();
      observer.Report(
          {.phase = "writing", .done = done, .total = layout.file_size, .unit = "bytes"});
    }
  }
  return absl::OkStatus();
}

/// The whole file under its own name again, with the same mode and owner.
absl::Status WriteAnew(const Target& target, const GgufFile& file, Metadata metadata,
                       std::span<const GgufTensorSpec> specs, const Observer& observer) {
  metadata.Erase(kPadding);
  SMELT_ASSIGN_OR_RETURN(const GgufLayout layout,
                         SerializeGgufHeader(metadata, specs, file.alignment));
  // A part that an interrupted run left is ours: nobody else uses this name.
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> out,
                         AtomicFile::Open(target.path + ".set", layout.file_size, /*force=*/true,
                                          AtomicFile::Existing::kReplace));
  const absl::Status status = Guarded([&]() -> absl::Status {
    SMELT_RETURN_IF_ERROR(out->WriteAt(0, layout.header));
    SMELT_RETURN_IF_ERROR(CopyTensors(file, layout, *out, observer));
    const std::string& part = out->part_path();
    if (chown(part.c_str(), target.info.st_uid, target.info.st_gid) != 0) {
      // Only root may give files away; the file is then its writer's, as with every editor.
    }
    if (chmod(part.c_str(), target.info.st_mode & 07777) != 0)
      return SystemError(part, "its mode cannot be set", errno);
    return out->CommitAs(target.path);
  });
  if (!status.ok()) out->Discard();
  return status;
}

absl::StatusOr<SetResult> Set(const SetOptions& options, const Observer& observer) {
  SMELT_RETURN_IF_ERROR(CheckKeys(options.edits));
  SMELT_ASSIGN_OR_RETURN(Target target, OpenTarget(options.file));
  SMELT_ASSIGN_OR_RETURN(const bool finished, FinishReplacing(target.fd.get(), target.path));
  if (finished) observer.Note(Cat(Escape(target.path), ": an interrupted change was finished"));
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const Storage> storage, OpenFile(target.path));
  SMELT_ASSIGN_OR_RETURN(const GgufFile file, ReadGguf(std::move(storage)));

  SMELT_ASSIGN_OR_RETURN(const MetadataEdits edits, ResolveEdits(options.edits, file.metadata));
  Metadata edited = file.metadata;
  SMELT_RETURN_IF_ERROR(EditMetadata(edits, edited));
  SetResult result{
      .file = target.path, .how = "unchanged", .keys = ChangedKeys(file.metadata, edited)};
  if (result.keys.empty()) return result;
  // A tokenizer that does not work may be mended step by step.
  SMELT_RETURN_IF_ERROR(CheckVocabularyEdits(
      file.metadata, edits, /*must_work=*/GgufTokenizer(file.metadata).ok(), observer));
  SMELT_RETURN_IF_ERROR(CheckModel(file, edited));

  const std::vector<GgufTensorSpec> specs = SpecsOf(file);
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::byte> before, OldHeader(file, specs));
  std::vector<std::byte> after;
  if (!before.empty() && target.info.st_nlink == 1) {
    SMELT_ASSIGN_OR_RETURN(after, HeaderOfSize(edited, specs, file.alignment, before.size()));
  }
  result.how = after.empty() ? "copy" : "in place";
  if (options.dry_run) return result;
  if (after.empty()) {
    SMELT_RETURN_IF_ERROR(WriteAnew(target, file, std::move(edited), specs, observer));
    return result;
  }
  const absl::Status status = ReplaceHeader(target.fd.get(), target.path, before, after);
  if (status.ok()) return result;
  return Error(CodeOf(status), std::string(status.message()),
               NameExists(Cat(target.path, kGgufJournalSuffix))
                   ? "; what was begun is finished by smelt set FILE"
                   : "");
}

}  // namespace

absl::StatusOr<SetResult> SetMetadata(const SetOptions& options, const Observer& watcher) try {
  const JobScope job(watcher);
  return Set(options, job.observer());
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
