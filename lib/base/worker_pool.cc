#include "lib/base/worker_pool.h"

#include <hwy/cache_control.h>
#include <pthread.h>

#include <algorithm>

#include "lib/base/cpu_quota.h"

namespace smelt {
namespace {

/// Of a worker's stack. A limit on the data segment counts the whole of it, and the usual 8 MiB
/// leave no room for 64 threads in 300 MiB. Conversions were seen to use 20 KiB; sanitizers use
/// several times that.
constexpr size_t kStackBytes = 512 << 10;

// How long to look at a condition before the thread sleeps. Layers follow each other faster than
// the system wakes anybody, so looking pays as long as it finds something; on a busy machine, where
// what is waited for does not run, it only takes others' time.
constexpr int kFewest = 64, kMost = 4096;  // some microseconds, and a hundred

// `spins`: of the last time, and for the next one.
template <typename Condition>
bool SpinUntil(const Condition& condition, int& spins) {
  for (int i = 0; i < spins; ++i) {
    if (condition()) {
      spins = std::min(2 * spins, kMost);
      return true;
    }
    hwy::Pause();
  }
  spins = std::max(spins / 2, kFewest);
  return condition();
}

// A detached thread; false where the system gives none. Not std::thread, which knows no stack
// sizes.
bool StartThread(void* (*function)(void*), void* argument) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_t thread;
  const bool started = pthread_attr_setstacksize(&attributes, kStackBytes) == 0 &&
                       pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
                       pthread_create(&thread, &attributes, function, argument) == 0;
  pthread_attr_destroy(&attributes);
  return started;
}

}  // namespace

WorkerPool& WorkerPool::Get() {
  static WorkerPool* const pool = new WorkerPool;  // outlives static destructors
  return *pool;
}

void WorkerPool::Run(int workers, absl::FunctionRef<void(int)> body) {
  Job job{body, workers};
  {
    const std::lock_guard lock(mutex_);
    StartThreads(workers - 1);
    Job** last = &open_;
    while (*last != nullptr) last = &(*last)->next;
    *last = &job;
    jobs_.fetch_add(1, std::memory_order_release);
  }
  // As many as find something to do: to wake 64 threads for a matrix of five pieces, or for two
  // processors, costs more than it.
  static const int cores = UsableCores();
  for (int i = 1; i < std::min(workers, cores); ++i) posted_.notify_one();
  body(0);
  Close(job);
}

// A system that gives no more threads gets the work done with fewer, and is not asked again.
void WorkerPool::StartThreads(int count) {
  if (refused_.load(std::memory_order_relaxed) > 0) return;
  const auto work = [](void* pool) -> void* {
    static_cast<WorkerPool*>(pool)->Work();
    return nullptr;
  };
  while (threads_ < count && StartThread(work, this)) ++threads_;
  if (threads_ < count) refused_.store(count - threads_, std::memory_order_relaxed);
}

void WorkerPool::Work() {
  int spins = kFewest;
  static const int cores = UsableCores();
  for (uint64_t seen = 0;;) {
    const auto has_news = [&] { return jobs_.load(std::memory_order_acquire) != seen; };
    bool posted = has_news();
    if (!posted) {
      if (watching_.fetch_add(1, std::memory_order_relaxed) < cores - 1)
        posted = SpinUntil(has_news, spins);
      watching_.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = jobs_.load(std::memory_order_acquire);
    int worker = 0;
    Job* const job = Join(!posted, worker);
    if (job == nullptr) continue;
    job->body(worker);
    Leave(*job);
  }
}

// Null: no job has room for another worker (never when asked to `wait`).
WorkerPool::Job* WorkerPool::Join(bool wait, int& worker) {
  std::unique_lock lock(mutex_);
  if (wait) posted_.wait(lock, [&] { return open_ != nullptr; });
  Job* const job = open_;
  if (job == nullptr) return nullptr;
  worker = job->joined++;
  job->running.fetch_add(1, std::memory_order_relaxed);
  if (job->joined == job->workers) Remove(*job);
  return job;
}

// The job is gone once its owner has seen that nobody runs.
void WorkerPool::Leave(Job& job) {
  if (job.running.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const std::lock_guard lock(mutex_);
  finished_.notify_all();
}

void WorkerPool::Close(Job& job) {
  {
    const std::lock_guard lock(mutex_);
    Remove(job);
  }
  const auto done = [&] { return job.running.load(std::memory_order_acquire) == 0; };
  thread_local int spins = kFewest;
  if (SpinUntil(done, spins)) return;
  std::unique_lock lock(mutex_);
  finished_.wait(lock, done);
}

void WorkerPool::Remove(const Job& job) {
  for (Job** at = &open_; *at != nullptr; at = &(*at)->next) {
    if (*at != &job) continue;
    *at = job.next;
    return;
  }
}

}  // namespace smelt
