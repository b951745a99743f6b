// Threads that wait for work.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/functional/function_ref.h"

namespace smelt {

/// The process's worker threads, started when first needed and never stopped. The caller of Run
/// waits only for threads that took part, so that a busy machine costs no more than its share;
/// where the system refuses a thread, the others do its work; and posting work allocates nothing.
/// Why this and not OpenMP: docs/architecture.md.
class WorkerPool {
 public:
  static WorkerPool& Get();

  /// Calls body(0) on this thread and body(1) ... body(workers - 1) on such others as come in time,
  /// each at most once; returns when all calls have ended. `body` does all the work, whichever of
  /// the calls are made; it throws nothing and does not call Run. Several threads may call Run at
  /// the same time.
  void Run(int workers, absl::FunctionRef<void(int)> body);

  /// Threads that were wanted and could not be started.
  int refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  struct Job {
    const absl::FunctionRef<void(int)> body;
    const int workers;
    int joined = 1;               ///< the next worker's number; guarded by mutex_
    Job* next = nullptr;          ///< of the jobs that more workers may join; guarded by mutex_
    std::atomic<int> running{0};  ///< workers besides the caller
  };

  void StartThreads(int count);
  void Work();
  Job* Join(bool wait, int& worker);
  void Leave(Job& job);
  void Close(Job& job);
  void Remove(const Job& job);

  std::mutex mutex_;
  std::condition_variable posted_, finished_;
  Job* open_ = nullptr;  ///< jobs that more workers may join, the oldest first
  int threads_ = 0;
  std::atomic<int> refused_{0};
  std::atomic<int> watching_{0};   ///< idle workers that look for a job without sleeping
  std::atomic<uint64_t> jobs_{0};  ///< posted so far: what an idle worker watches
};

}  // namespace smelt
