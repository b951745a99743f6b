#include "lib/jobs/header_journal.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "lib/base/atomic_file.h"
#include "lib/base/fd.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/system_error.h"

namespace smelt {
namespace {

// The journal: magic, the file's size, the header's length, the old header, the new one, and the
// hash of all of that. Numbers are of 64 bits, little-endian.
constexpr std::string_view kMagic = "smelt set 1\n    ";
constexpr size_t kNumbers = kMagic.size(), kHeaders = kNumbers + 16;

std::string JournalOf(const std::string& path) { return Cat(path, kGgufJournalSuffix); }

void Append(std::string& text, const void* data, size_t size) {
  text.append(static_cast<const char*>(data), size);
}

absl::StatusOr<uint64_t> SizeOf(int fd, const std::string& path) {
  struct stat info;
  if (fstat(fd, &info) != 0) return SystemError(path, "cannot be examined", errno);
  return static_cast<uint64_t>(info.st_size);
}

/// Of an interrupted run a part may be left, which is ours: nobody else uses this name.
absl::Status WriteJournal(const std::string& path, std::string_view content) {
  SMELT_ASSIGN_OR_RETURN(
      const std::unique_ptr<AtomicFile> file,
      AtomicFile::Open(path, content.size(), /*force=*/true, AtomicFile::Existing::kReplace));
  const absl::Status status = Guarded([&]() -> absl::Status {
    SMELT_RETURN_IF_ERROR(file->WriteAt(0, std::as_bytes(std::span(content))));
    return file->Commit();
  });
  if (!status.ok()) file->Discard();
  return status;
}

absl::Status WriteStart(int fd, const std::string& path, std::span<const std::byte> bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n =
        pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path, "writing its header failed", errno);
    done += static_cast<size_t>(n);
  }
  if (fsync(fd) != 0) return SystemError(path, "syncing to the disk failed", errno);
  return absl::OkStatus();
}

absl::Status RemoveJournal(const std::string& path) {
  const std::string journal = JournalOf(path);
  if (unlink(journal.c_str()) != 0) return SystemError(journal, "cannot be removed", errno);
  return SyncDirectory(DirectoryOf(journal));
}

/// Ready to be written into the file.
struct Journal {
  std::string content;
  uint64_t file_size = 0;
  std::span<const std::byte> before, after;
};

absl::Status ReadJournal(const std::string& path, Journal& journal) {
  SMELT_ASSIGN_OR_RETURN(journal.content, ReadTextFile(path));
  const std::string_view text = journal.content;
  uint64_t length = 0, hash = 0;
  const bool whole = text.size() >= kHeaders + 8 && text.starts_with(kMagic);
  if (whole) {
    std::memcpy(&journal.file_size, text.data() + kNumbers, 8);
    std::memcpy(&length, text.data() + kNumbers + 8, 8);
    std::memcpy(&hash, text.data() + text.size() - 8, 8);
  }
  const std::span bytes = std::as_bytes(std::span(text));
  if (!whole || length != (text.size() - kHeaders - 8) / 2 || (text.size() - kHeaders) % 2 != 0 ||
      length > journal.file_size || XxHash64(bytes.first(bytes.size() - 8)) != hash) {
    return Error(ErrorCode::kInvalidInput, Escape(path),
                 ": no whole journal of smelt set, so it is not known what was begun; move it away "
                 "if the file beside it is sound");
  }
  journal.before = bytes.subspan(kHeaders, length);
  journal.after = bytes.subspan(kHeaders + length, length);
  return absl::OkStatus();
}

}  // namespace

absl::Status ReplaceHeader(int fd, const std::string& path, std::span<const std::byte> before,
                           std::span<const std::byte> after) {
  SMELT_ASSIGN_OR_RETURN(const uint64_t file_size, SizeOf(fd, path));
  std::string content(kMagic);
  const uint64_t length = before.size();
  Append(content, &file_size, 8);
  Append(content, &length, 8);
  Append(content, before.data(), length);
  Append(content, after.data(), length);
  const uint64_t hash = XxHash64(std::as_bytes(std::span(content)));
  Append(content, &hash, 8);
  SMELT_RETURN_IF_ERROR(WriteJournal(JournalOf(path), content));
  SMELT_RETURN_IF_ERROR(WriteStart(fd, path, after));
  return RemoveJournal(path);
}

absl::StatusOr<bool> FinishReplacing(int fd, const std::string& path) {
  const std::string name = JournalOf(path);
  if (!NameExists(name)) return false;
  Journal journal;
  SMELT_RETURN_IF_ERROR(ReadJournal(name, journal));
  SMELT_ASSIGN_OR_RETURN(const uint64_t file_size, SizeOf(fd, path));
  std::vector<std::byte> now(journal.after.size());
  const Transfer read = ReadAt(fd, 0, now);
  if (read.error != 0) return SystemError(path, "reading its header failed", read.error);
  bool ours = file_size == journal.file_size && read.bytes == now.size();
  for (size_t i = 0; ours && i < now.size(); ++i)
    ours = now[i] == journal.before[i] || now[i] == journal.after[i];
  if (!ours) {
    return Error(ErrorCode::kInvalidInput, Escape(name),
                 ": this journal of an interrupted smelt set belongs to another file than the one "
                 "of that name now; move it away");
  }
  SMELT_RETURN_IF_ERROR(WriteStart(fd, path, journal.after));
  SMELT_RETURN_IF_ERROR(RemoveJournal(path));
  return true;
}

}  // namespace smelt
