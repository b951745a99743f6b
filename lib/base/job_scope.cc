#include "lib/base/job_scope.h"

#include <time.h>

#include "lib/base/mapped_file.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr int64_t kLookEvery = 10;  // milliseconds

thread_local JobScope* current = nullptr;

int64_t Milliseconds() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

JobScope::JobScope(const Observer& observer) : observed_(observer), outer_(current) {
  if (observed_.progress) {
    serial_.progress = [this](const Progress& progress) {
      const std::lock_guard lock(mutex_);
      observed_.progress(progress);
    };
  }
  if (observed_.note) {
    serial_.note = [this](NoteKind kind, const std::string& sentence) {
      const std::lock_guard lock(mutex_);
      observed_.note(kind, sentence);
    };
  }
  if (observed_.cancelled) {
    serial_.cancelled = [this] {
      const std::lock_guard lock(mutex_);
      return observed_.cancelled();
    };
  }
  current = this;
}

JobScope::~JobScope() { current = outer_; }

JobScope* JobScope::Current() { return current; }

bool JobScope::Stopped() {
  if (stopped_.load(std::memory_order_relaxed)) return true;
  if ((outer_ != nullptr && outer_->Stopped()) || serial_.Cancelled() || !CheckMappedFiles().ok())
    stopped_.store(true, std::memory_order_relaxed);
  return stopped_.load(std::memory_order_relaxed);
}

bool JobScope::StoppedLately() {
  if (stopped_.load(std::memory_order_relaxed)) return true;
  const int64_t now = Milliseconds();
  int64_t due = next_look_.load(std::memory_order_relaxed);
  // One thread looks, the others go on.
  if (now < due || !next_look_.compare_exchange_strong(due, now + kLookEvery)) return false;
  return Stopped();
}

JobMember::JobMember(JobScope* job) : before_(current) { current = job; }
JobMember::~JobMember() { current = before_; }

absl::Status GoOn() {
  if (current == nullptr || !current->Stopped()) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(CheckMappedFiles());
  return Error(ErrorCode::kCancelled, "interrupted");
}

bool MustStop() { return current != nullptr && current->StoppedLately(); }

}  // namespace smelt
