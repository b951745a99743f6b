// Threads that wait for work.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

namespace smelt {

/// The process's worker threads, started when first needed and never stopped. Not OpenMP: at the
/// end of an OpenMP region every thread has to show up, so that on a machine with other work each
/// small region costs a time slice of the scheduler (an evaluation of a small model took 8 times as
/// long, generation 10 times). Here the caller waits only for threads that took part.
class WorkerPool {
 public:
  static WorkerPool& Get();

  /// Calls body(0) on this thread and body(1) ... body(workers - 1) on such others as come in time,
  /// each at most once; returns when no call is running. `body` must do all the work whichever of
  /// them are made. Several threads may call this at the same time; `body` must not.
  void Run(int workers, const std::function<void(int)>& body);

 private:
  struct Job {
    const std::function<void(int)>& body;
    const int workers;
    int joined = 1;               ///< the next worker's number; guarded by mutex_
    std::atomic<int> running{0};  ///< workers besides the caller
  };

  void StartThreads(int count);
  void Work();
  Job* Join(bool wait, int& worker);
  void Leave(Job& job);
  void Close(Job& job);

  std::mutex mutex_;
  std::condition_variable posted_, finished_;
  std::vector<Job*> open_;  ///< jobs that more workers may join
  int threads_ = 0;
  std::atomic<uint64_t> jobs_{0};  ///< posted so far: what an idle worker watches
};

}  // namespace smelt
