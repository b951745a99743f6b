#include "lib/base/folder.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <string_view>

#include "lib/base/status.h"
#include "lib/base/system_error.h"

namespace smelt {
namespace {

absl::Status CannotList(const std::string& path, int error) {
  if (error == ENOMEM) throw std::bad_alloc();
  return Error(error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo,
               Escape(path), ": cannot be listed: ", SystemReason(error));
}

/// Type and permissions of what a path leads to; 0: nothing.
mode_t ModeOf(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? info.st_mode : 0;
}

}  // namespace

bool Exists(const std::string& path) { return ModeOf(path) != 0; }
bool IsFile(const std::string& path) { return S_ISREG(ModeOf(path)); }
bool IsFolder(const std::string& path) { return S_ISDIR(ModeOf(path)); }

bool NameExists(const std::string& path) {
  struct stat info {};
  return lstat(path.c_str(), &info) == 0;
}

absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (folder == nullptr) return CannotList(path, errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* const entry = readdir(folder.get());
    if (entry == nullptr && errno != 0) return CannotList(path, errno);
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace smelt
