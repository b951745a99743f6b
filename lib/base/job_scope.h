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

  /// Whether the work must end; once true, always true. From any thread.
  bool Stopped();
  /// The same, asking at most every ten milliseconds: for inner loops.
  bool StoppedLately();

 private:
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

/// Asks the job that the calling thread works for whether it must stop: kCancelled, or what
/// CheckMappedFiles() found; OK otherwise and without a job. Between the steps of a job.
absl::Status GoOn();

/// Whether GoOn() would fail, known after ten milliseconds at most: cheap enough inside a step.
bool MustStop();

}  // namespace smelt
