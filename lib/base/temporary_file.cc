#include "lib/base/temporary_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "lib/base/status.h"
#include "lib/base/system_error.h"

namespace smelt {
namespace {

constexpr std::string_view kWayOut = "; set TMPDIR to a folder with space";

}  // namespace

absl::StatusOr<Fd> OpenTemporaryFile(std::string_view what) {
  const char* named = std::getenv("TMPDIR");
  // Not /tmp first: it is often in memory, and what comes may be as big as the model.
  for (const char* folder : {named, "/var/tmp", "/tmp"}) {
    if (folder == nullptr || *folder == '\0') continue;
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {  // a file system without O_TMPFILE
      std::string path = Cat(folder, "/smelt-XXXXXX");
      fd = mkostemp(path.data(), O_CLOEXEC);
      if (fd >= 0) unlink(path.c_str());
    }
    if (fd >= 0) return Fd(fd);
  }
  return Error(ErrorCode::kIo, Escape(what), ": no temporary file can be made for it (",
               SystemReason(errno), ")", kWayOut);
}

absl::StatusOr<void*> MapTemporaryFile(uint64_t bytes, std::string_view what) {
  constexpr std::string_view kNeeds = "needs a temporary file";
  SMELT_ASSIGN_OR_RETURN(const Fd file, OpenTemporaryFile(what));
  const int error = posix_fallocate(file.get(), 0, static_cast<off_t>(bytes));
  if (error != 0) return SystemError(what, kNeeds, error, kWayOut);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return SystemError(what, kNeeds, errno, kWayOut);
  return memory;
}

void UnmapTemporaryFile(void* memory, uint64_t bytes) { munmap(memory, bytes); }

}  // namespace smelt
