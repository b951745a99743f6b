#include "tools/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace smelt::tools {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr suseconds_t kPatience = 700'000;  // microseconds until a job that does not stop is ended

std::atomic<int> interrupted{0};
std::atomic<bool> as_json{false};
std::atomic<const char*> prefix{""};
static_assert(std::atomic<int>::is_always_lock_free);

// Everything below that a handler calls is safe in one.

void Write(int fd, const char* text) {
  pollfd ready = {fd, POLLOUT, 0};
  if (poll(&ready, 1, 0) != 1) return;  // nobody reads: do not wait
  [[maybe_unused]] const ssize_t written = write(fd, text, std::strlen(text));
}

void Unblock(int number) {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, number);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
}

void OnSignal(int number) {
  const int error = errno;
  const bool again = interrupted.exchange(number, std::memory_order_relaxed) != 0;
  if (again) EndAsSignalled();
  itimerval patience = {};
  patience.it_value.tv_usec = kPatience;
  setitimer(ITIMER_REAL, &patience, nullptr);  // a plain system call
  errno = error;
}

void OnPatienceLost(int) {
  Write(STDERR_FILENO, prefix.load(std::memory_order_relaxed));
  Write(STDERR_FILENO, "smelt: interrupted\n");
  if (as_json.load(std::memory_order_relaxed)) {
    Write(STDOUT_FILENO, "{\"error\":{\"code\":\"cancelled\",\"message\":\"interrupted\"}}\n");
  }
  EndAsSignalled();
}

}  // namespace

void CatchSignals(bool json) {
  as_json.store(json, std::memory_order_relaxed);
  struct sigaction action = {};
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  action.sa_handler = OnPatienceLost;
  sigaction(SIGALRM, &action, nullptr);
  Unblock(SIGALRM);
  // A file beyond the limit of its size (ulimit -f) is a failed write, which is said.
  signal(SIGXFSZ, SIG_IGN);
  for (const int number : kSignals) sigaddset(&action.sa_mask, number);
  action.sa_handler = OnSignal;
  for (const int number : kSignals) {
    struct sigaction before = {};
    sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
  }
}

int Interrupted() { return interrupted.load(std::memory_order_relaxed); }

void EndAsSignalled() {
  const int number = Interrupted();
  if (number == 0) return;
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, nullptr);
  Unblock(number);
  kill(getpid(), number);
  _exit(128 + number);  // the first process of a container does not die of its own signals
}

void OutputHasBegun() { as_json.store(false, std::memory_order_relaxed); }

void SetLastWordPrefix(const char* text) { prefix.store(text, std::memory_order_relaxed); }

}  // namespace smelt::tools
