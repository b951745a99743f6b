#include "lib/jobs/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "lib/base/folder.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/system_error.h"

namespace smelt {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the journal is written as it lies in memory");

constexpr std::string_view kMagic = "SMELTJNL";
constexpr size_t kHeaderBytes = 16;

absl::Status Write(int fd, const std::string& path, std::span<const std::byte> bytes) {
  const int error = WriteAll(fd, bytes).error;
  if (error != 0) return SystemError(path, "cannot be written", error);
  return absl::OkStatus();
}

}  // namespace

uint64_t TileHash(uint64_t fingerprint, std::span<const std::byte> bytes) {
  return XxHash64(bytes) + fingerprint * 0x9e3779b97f4a7c15u;
}

absl::StatusOr<std::optional<Journal::Content>> Journal::Read(const std::string& path) {
  if (!NameExists(path)) return std::optional<Content>();
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  Content content;
  // A run killed while it created its journal leaves the beginning of one, or an empty file.
  const size_t seen = std::min(text.size(), kMagic.size());
  if (std::string_view(text).substr(0, seen) != kMagic.substr(0, seen)) {
    return Error(ErrorCode::kAlreadyExists, Escape(path),
                 " exists and is no journal of an interrupted run; choose another output name");
  }
  if (text.size() < kHeaderBytes) return std::optional<Content>(std::move(content));
  std::memcpy(&content.fingerprint, text.data() + kMagic.size(), sizeof(uint64_t));
  content.records.resize((text.size() - kHeaderBytes) / sizeof(Record));
  if (!content.records.empty())
    std::memcpy(content.records.data(), text.data() + kHeaderBytes,
                content.records.size() * sizeof(Record));
  return std::optional<Content>(std::move(content));
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Create(const std::string& path,
                                                         uint64_t fingerprint,
                                                         const std::vector<Record>& records) {
  std::unique_ptr<Journal> journal(new Journal(path));
  journal->fd_ = Fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_APPEND, 0666));
  const int fd = journal->fd_.get();
  if (fd < 0) return SystemError(path, "cannot be created", errno);
  std::string text(kMagic);
  text.append(reinterpret_cast<const char*>(&fingerprint), sizeof(fingerprint));
  text.append(reinterpret_cast<const char*>(records.data()), records.size() * sizeof(Record));
  const absl::Status written = Write(fd, path, std::as_bytes(std::span(text)));
  if (written.ok()) return journal;
  journal->Remove();
  return written;
}

absl::Status Journal::Add(uint64_t tile, uint64_t hash) {
  const Record record{tile, hash};
  const std::lock_guard lock(mutex_);
  return Write(fd_.get(), path_, std::as_bytes(std::span(&record, 1)));
}

absl::Status Journal::MoveTo(const std::string& path) {
  if (rename(path_.c_str(), path.c_str()) != 0)
    return SystemError(path, "cannot be replaced", errno);
  path_ = path;
  return absl::OkStatus();
}

void Journal::Remove() { unlink(path_.c_str()); }

}  // namespace smelt
