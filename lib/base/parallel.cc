#include "lib/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "lib/base/job_scope.h"
#include "lib/base/worker_pool.h"

namespace smelt {
namespace {

int UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::atomic<int> requested_threads{0};
thread_local bool inside_parallel = false;

int WorkersFor(uint64_t pieces) {
  if (inside_parallel) return 1;
  return static_cast<int>(std::min<uint64_t>(pieces, static_cast<uint64_t>(Threads())));
}

// Hands out pieces of [0, n) to the workers until none is left or piece() says stop.
void Dispatch(uint64_t n, uint64_t grain,
              const std::function<bool(uint64_t, uint64_t, int)>& piece) {
  if (n == 0) return;
  grain = std::max<uint64_t>(grain, 1);
  const uint64_t pieces = n / grain + (n % grain != 0);
  const int workers = WorkersFor(pieces);
  std::atomic<uint64_t> next{0};
  std::atomic<bool> stop{false};
  JobScope* const job = JobScope::Current();
  const auto body = [&](int worker) {
    const JobMember member(job);
    const bool outer = inside_parallel;
    inside_parallel = true;
    while (!stop.load(std::memory_order_relaxed)) {
      const uint64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= pieces) break;
      const uint64_t begin = i * grain;
      if (!piece(begin, std::min(grain, n - begin) + begin, worker))
        stop.store(true, std::memory_order_relaxed);
    }
    inside_parallel = outer;
  };
  if (workers <= 1) {
    body(0);
  } else {
    WorkerPool::Get().Run(workers, body);
  }
}

}  // namespace

void SetThreads(int threads) { requested_threads.store(std::max(0, threads)); }

int Threads() {
  static const int cores = UsableCores();
  const int requested = requested_threads.load(std::memory_order_relaxed);
  return requested > 0 ? requested : cores;
}

absl::Status ParallelFor(uint64_t n, uint64_t grain,
                         const std::function<absl::Status(uint64_t, uint64_t)>& fn) {
  absl::Status first_error;
  std::mutex mutex;
  Dispatch(n, grain, [&](uint64_t begin, uint64_t end, int) {
    absl::Status status = MustStop() ? GoOn() : fn(begin, end);
    if (status.ok()) return true;
    const std::lock_guard lock(mutex);
    if (first_error.ok()) first_error = std::move(status);
    return false;
  });
  return first_error;
}

void ParallelForWorkers(uint64_t n, uint64_t grain,
                        const std::function<void(uint64_t, uint64_t, int)>& fn) {
  Dispatch(n, grain, [&](uint64_t begin, uint64_t end, int worker) {
    fn(begin, end, worker);
    return true;
  });
}

}  // namespace smelt
