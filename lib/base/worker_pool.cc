#include "lib/base/worker_pool.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <system_error>
#include <thread>

namespace smelt {
namespace {

/// Looks at a condition for some ten microseconds before a thread sleeps: layers follow each other
/// faster than the system wakes anybody.
constexpr int kSpins = 1000;

template <typename Condition>
bool SpinUntil(const Condition& condition) {
  for (int i = 0; i < kSpins; ++i) {
    if (condition()) return true;
    hwy::Pause();
  }
  return condition();
}

}  // namespace

WorkerPool& WorkerPool::Get() {
  static WorkerPool* const pool = new WorkerPool;  // outlives static destructors
  return *pool;
}

void WorkerPool::Run(int workers, const std::function<void(int)>& body) {
  Job job{body, workers};
  {
    const std::lock_guard lock(mutex_);
    StartThreads(workers - 1);
    open_.push_back(&job);
    jobs_.fetch_add(1, std::memory_order_release);
  }
  posted_.notify_all();
  body(0);
  Close(job);
}

// A system that gives no more threads gets the work done with fewer.
void WorkerPool::StartThreads(int count) {
  try {
    for (; threads_ < count; ++threads_) std::thread([this] { Work(); }).detach();
  } catch (const std::system_error&) {
  }
}

void WorkerPool::Work() {
  for (uint64_t seen = 0;;) {
    const bool posted = SpinUntil([&] { return jobs_.load(std::memory_order_acquire) != seen; });
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
  if (wait) posted_.wait(lock, [&] { return !open_.empty(); });
  if (open_.empty()) return nullptr;
  Job* const job = open_.front();
  worker = job->joined++;
  job->running.fetch_add(1, std::memory_order_relaxed);
  if (job->joined == job->workers) open_.erase(open_.begin());
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
    open_.erase(std::remove(open_.begin(), open_.end(), &job), open_.end());
  }
  const auto done = [&] { return job.running.load(std::memory_order_acquire) == 0; };
  if (SpinUntil(done)) return;
  std::unique_lock lock(mutex_);
  finished_.wait(lock, done);
}

}  // namespace smelt
