// What a command says: results on standard output, everything else on standard error, one line a
// piece.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "smelt/observer.h"

namespace smelt::tools {

/// Exit statuses.
inline constexpr int kDone = 0, kFailed = 1, kWrongUsage = 2;

/// Options that every command has.
struct Globals {
  int threads = 0;
  bool quiet = false, json = false;
};

class Terminal {
 public:
  explicit Terminal(const Globals& globals);

  bool json() const { return globals_.json; }
  bool quiet() const { return globals_.quiet; }

  /// For a job: notes and warnings as lines, progress as one line on a terminal (rate and time
  /// left) or as notes elsewhere, the first after 10 s; cancelled by a signal (tools/signals.h).
  /// Lives as long as this.
  Observer MakeObserver();

  void Note(std::string_view sentence);
  void Warn(std::string_view sentence);

  /// Standard output takes nothing any more (a full disk; a pipe that nobody reads, where SIGPIPE
  /// is ignored).
  bool OutputLost() const;

  /// A result for people; nothing with --quiet or --json.
  void Say(std::string_view line);
  /// Standard output whatever the options: what was asked for.
  void Print(std::string_view text);

  /// One line `smelt: sentence`, and with --json an object on standard output. Returns the exit
  /// status. `extra` (JSON) stands in that object under `name`: the figures of a check that was
  /// missed, what could be shown of a refused file.
  int Fail(const absl::Status& status, const std::string& extra = {},
           const char* name = "validation");
  int FailUsage(std::string_view sentence);
  /// The last word of a command that a signal has stopped and whose result is said already.
  int FailInterrupted(std::string_view sentence);
  int FailInput(std::string_view sentence);
  /// At the end: the command's exit status, or a failure when standard output could not take all.
  /// Does not return when a signal has asked the program to stop: it dies of it.
  int Finish(int exit_status);

 private:
  using Clock = std::chrono::steady_clock;

  int FailWith(std::string_view code, std::string_view sentence, int exit_status,
               const std::string& extra = {}, const char* name = "validation");
  void Line(std::string_view prefix, std::string_view sentence);
  void ShowProgress(const Progress& progress);
  void Draw(const Progress& progress);
  std::string ProgressText(const Progress& progress, size_t columns) const;
  void ClearProgress();

  const Globals& globals_;
  bool tty_, both_tty_, utf8_;
  size_t shown_columns_ = 0;  ///< of the progress line on the screen; 0: there is none
  bool within_line_ = false;  ///< standard output has begun a line on the terminal of both
  bool said_why_ = false;     ///< a failure's one line was said
  std::string phase_;
  Clock::time_point phase_start_{}, job_start_{}, last_shown_{};
  uint64_t phase_first_ =
      0;  ///< progress at the phase's start: what an earlier run did does not count for the rate
};

}  // namespace smelt::tools
