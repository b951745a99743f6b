#include "lib/base/mapped_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "lib/base/status.h"
#include "lib/base/system_error.h"

namespace smelt {

/// Where a file is mapped. Places are used again and never freed, so that a signal handler may walk
/// their list at any time.
struct MappedFile::Place {
  std::atomic<uintptr_t> begin{0}, end{0};  ///< 0: nothing is mapped here
  std::atomic<bool> lost{false};            ///< zeros were put in place of a part
  int fd = -1;  ///< this and what follows: under the mutex; -1: looked at by its name
  dev_t device = 0;
  ino_t inode = 0;
  uint64_t size = 0;
  std::string name;
  Place* next = nullptr;
};

/// All places. Constant initialization and no destructor: usable before and after everything else.
class MappedPlaces {
 public:
  using Place = MappedFile::Place;

  void Add(MappedFile& file, int fd, const std::string& name, bool by_name) {
    const std::lock_guard lock(mutex_);
    Place* place = first_.load(std::memory_order_relaxed);
    while (place != nullptr && place->begin.load(std::memory_order_relaxed) != 0)
      place = place->next;
    if (place == nullptr) {
      place = new Place;
      place->next = first_.load(std::memory_order_relaxed);
      first_.store(place, std::memory_order_release);
    }
    struct stat info {};
    fstat(fd, &info);
    place->fd = by_name ? -1 : fd;
    place->device = info.st_dev;
    place->inode = info.st_ino;
    place->size = file.bytes_.size();
    place->name = name;
    place->lost.store(false, std::memory_order_relaxed);
    const uintptr_t begin = reinterpret_cast<uintptr_t>(file.bytes_.data());
    place->end.store(begin + file.bytes_.size(), std::memory_order_release);
    place->begin.store(begin, std::memory_order_release);
    file.place_ = place;
  }

  void Remove(MappedFile& file) {
    const std::lock_guard lock(mutex_);
    file.place_->begin.store(0, std::memory_order_release);
    file.place_->end.store(0, std::memory_order_release);
  }

  absl::Status Check() {
    const std::lock_guard lock(mutex_);
    for (const Place* p = first_.load(std::memory_order_relaxed); p != nullptr; p = p->next) {
      if (p->begin.load(std::memory_order_relaxed) == 0) continue;
      struct stat info {};
      const bool known = p->fd >= 0 ? fstat(p->fd, &info) == 0
                                    // Another file of that name does not touch what is mapped.
                                    : stat(p->name.c_str(), &info) == 0 &&
                                          info.st_dev == p->device && info.st_ino == p->inode;
      if (known && static_cast<uint64_t>(info.st_size) < p->size) {
        return Error(ErrorCode::kIo, Escape(p->name),
                     ": the file became shorter while it was read (", info.st_size, " of ", p->size,
                     " bytes left)");
      }
      if (p->lost.load(std::memory_order_relaxed)) {
        return Error(ErrorCode::kIo, Escape(p->name),
                     ": a part of the file could not be read, or was cut off for a while");
      }
    }
    return absl::OkStatus();
  }

  /// For the signal handler. Puts zeros from the page of `address` to the mapping's end: a file
  /// that became shorter has lost all of it. False: nothing of ours is mapped there.
  bool CoverLoss(uintptr_t address) {
    static const uintptr_t page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    for (Place* p = first_.load(std::memory_order_acquire); p != nullptr; p = p->next) {
      const uintptr_t begin = p->begin.load(std::memory_order_acquire);
      const uintptr_t end = p->end.load(std::memory_order_acquire);
      if (address < begin || address >= end) continue;
      const uintptr_t page = address & ~(page_size - 1);
      p->lost.store(true, std::memory_order_relaxed);
      return mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
  }

 private:
  std::mutex mutex_;
  std::atomic<Place*> first_{nullptr};
};

namespace {

constinit MappedPlaces places;
struct sigaction earlier_action = {};

void OnLostPage(int number, siginfo_t* info, void*) {
  const int error = errno;
  if (info->si_code != BUS_ADRERR || !places.CoverLoss(reinterpret_cast<uintptr_t>(info->si_addr)))
    sigaction(number, &earlier_action, nullptr);  // the fault comes again at once, and goes there
  errno = error;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Map(int fd, uint64_t size,
                                                            const std::string& name, bool by_name) {
  std::unique_ptr<MappedFile> file(new MappedFile);
  void* mapping = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) {
    return Error(errno == ENOMEM ? ErrorCode::kOutOfMemory : ErrorCode::kIo, Escape(name),
                 ": cannot be mapped into memory: ", SystemReason(errno));
  }
  file->bytes_ = std::span(static_cast<const std::byte*>(mapping), size);
  places.Add(*file, fd, name, by_name);
  return file;
}

MappedFile::~MappedFile() {
  if (place_ != nullptr) places.Remove(*this);
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::DropPages(uint64_t offset, uint64_t bytes) const {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (offset + page - 1) / page * page;
  const uint64_t end = std::min<uint64_t>(offset + bytes, bytes_.size()) / page * page;
  if (begin >= end) return;
  madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

absl::Status CheckMappedFiles() { return places.Check(); }

void CatchLostPages() {
  static std::once_flag once;
  std::call_once(once, [] {
    places.CoverLoss(0);  // what it asks the system once is asked here, not in the handler
    struct sigaction action = {};
    action.sa_sigaction = OnLostPage;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &earlier_action);
  });
}

}  // namespace smelt
