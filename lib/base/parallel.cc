#include "lib/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "lib/base/cpu_quota.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/worker_pool.h"

namespace smelt {
namespace {

std::atomic<int> requested_threads{0};
thread_local bool inside_parallel = false;

int WorkersFor(uint64_t pieces) {
  if (inside_parallel) return 1;
  return static_cast<int>(std::min<uint64_t>(pieces, static_cast<uint64_t>(Threads())));
}

using Piece = absl::FunctionRef<absl::Status(uint64_t begin, uint64_t end, int worker)>;

/// The pieces of [0, n), handed out to the workers until none is left, one fails, or the job must
/// stop.
class Pieces {
 public:
  Pieces(uint64_t n, uint64_t grain, Piece piece)
      : n_(n), grain_(grain), count_(n / grain + (n % grain != 0)), piece_(piece) {}

  uint64_t count() const { return count_; }
  absl::Status status() const { return error_; }

  void Work(int worker) {
    const JobMember member(job_);
    const bool outer = inside_parallel;
    inside_parallel = true;
    while (!stop_.load(std::memory_order_relaxed)) {
      const uint64_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= count_) break;
      const uint64_t begin = i * grain_, end = begin + std::min(grain_, n_ - begin);
      absl::Status status =
          Guarded([&] { return MustStop() ? GoOn() : piece_(begin, end, worker); });
      if (!status.ok()) Stop(std::move(status));
    }
    inside_parallel = outer;
  }

 private:
  void Stop(absl::Status status) {
    stop_.store(true, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    if (error_.ok()) error_ = std::move(status);
  }

  const uint64_t n_, grain_, count_;
  const Piece piece_;
  JobScope* const job_ = JobScope::Current();
  std::atomic<uint64_t> next_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  absl::Status error_;
};

// Once: the next job would say the same.
absl::Status TellRefusedThreads() {
  static std::atomic<bool> told{false};
  const int refused = RefusedThreads();
  JobScope* const job = JobScope::Current();
  if (refused == 0 || job == nullptr || told.exchange(true)) return absl::OkStatus();
  return Guarded([&] {
    job->observer().Note(Cat("the system gives ", Threads() - refused, " threads of the ",
                             Threads(),
                             " asked for (limits on memory or processes); going on "
                             "with these"));
    return absl::OkStatus();
  });
}

absl::Status Dispatch(uint64_t n, uint64_t grain, Piece piece) {
  if (n == 0) return absl::OkStatus();
  Pieces pieces(n, std::max<uint64_t>(grain, 1), piece);
  const int workers = WorkersFor(pieces.count());
  if (workers <= 1) {
    pieces.Work(0);
  } else {
    WorkerPool::Get().Run(workers, [&pieces](int worker) { pieces.Work(worker); });
    SMELT_RETURN_IF_ERROR(TellRefusedThreads());
  }
  return pieces.status();
}

}  // namespace

void SetThreads(int threads) { requested_threads.store(std::max(0, threads)); }

int Threads() {
  static const int cores = UsableCores();
  const int requested = requested_threads.load(std::memory_order_relaxed);
  return requested > 0 ? requested : cores;
}

int RefusedThreads() { return WorkerPool::Get().refused(); }

absl::Status ParallelFor(uint64_t n, uint64_t grain,
                         absl::FunctionRef<absl::Status(uint64_t, uint64_t)> fn) {
  return Dispatch(n, grain, [&fn](uint64_t begin, uint64_t end, int) { return fn(begin, end); });
}

absl::Status ParallelForWorkers(uint64_t n, uint64_t grain,
                                absl::FunctionRef<void(uint64_t, uint64_t, int)> fn) {
  return Dispatch(n, grain, [&fn](uint64_t begin, uint64_t end, int worker) {
    fn(begin, end, worker);
    return absl::OkStatus();
  });
}

}  // namespace smelt
