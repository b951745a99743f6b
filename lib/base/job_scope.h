// The job that a thread works for: who watches it, and whether it must stop.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "absl/status/status.h"
#include "smelt/observer.h"

namespace smelt {

/// As long as it lives, the calling thread works for a job that `observer` watches, and so does
/// every thread that ParallelFor lends it. Scopes nest: the inner job stops with the outer one.
class JobScope {
 public:
  explicit JobScope(const Observer& observer);
  ~JobScope();
  JobScope(const JobScope&) = delete;
  JobScope& operator=(const JobScope&) = delete;

  /// The same callbacks, called from one thread at a time whichever threads report.
  const Observer& observer() const { return serial_; }

  /// The innermost one of the calling thread; nullptr: none.
  static JobScope* Current();

  /// Whether the work must end. Once true, always true. Asks the observer, and looks at the mapped
  /// files, now and then only: cheap enough for inner loops, from any thread.
  bool Stopped();
  /// Why; OK while it need not.
  absl::Status GoOn();

 private:
  friend class JobMember;

  const Observer observed_;
  Observer serial_;
  JobScope* const outer_;
  std::recursive_mutex mutex_;  ///< a callback may run a job of its own
  std::atomic<int64_t> next_look_{0};
  std::atomic<bool> stopped_{false};
};

/// Makes the calling thread work for another thread's job.
class JobMember {
 public:
  explicit JobMember(JobScope* job);
  ~JobMember();
  JobMember(const JobMember&) = delete;
  JobMember& operator=(const JobMember&) = delete;

 private:
  JobScope* const before_;
};

/// kCancelled, or what CheckMappedFiles() found, when the job that the calling thread works for
/// must stop; OK otherwise and without a job.
absl::Status GoOn();

}  // namespace smelt
