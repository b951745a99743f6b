#include "tools/terminal.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "smelt/runtime.h"
#include "tools/format.h"

namespace smelt::tools {
namespace {

using namespace std::chrono_literals;

constexpr size_t kLongestLine = 398;
constexpr auto kTtyInterval = 100ms;
constexpr auto kFirstNote = 10s, kNoteInterval = 30s;

volatile sig_atomic_t interrupted = 0;

void OnInterrupt(int) { interrupted = 1; }

std::string Bar(double share, bool utf8) {
  constexpr int kWidth = 15;
  const int full = static_cast<int>(share * kWidth + 0.5);
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < full ? (utf8 ? "━" : "#") : (utf8 ? "─" : "-");
  return bar;
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

Terminal::Terminal(const Globals& globals)
    : globals_(globals),
      tty_(isatty(STDERR_FILENO) != 0),
      utf8_(Utf8Locale()),
      job_start_(Clock::now()) {}

Observer Terminal::MakeObserver() {
  Observer observer;
  observer.note = [this](NoteKind kind, const std::string& sentence) {
    kind == NoteKind::kWarning ? Warn(sentence) : Note(sentence);
  };
  observer.progress = [this](const Progress& progress) { ShowProgress(progress); };
  observer.cancelled = [] { return interrupted != 0; };
  return observer;
}

void Terminal::Line(std::string_view prefix, std::string_view sentence) {
  ClearProgress();
  std::string line(prefix);
  line += OneLine(sentence, kLongestLine - prefix.size());
  line += '\n';
  std::fputs(line.c_str(), stderr);
}

void Terminal::Note(std::string_view sentence) {
  if (!globals_.quiet) Line("smelt: note: ", sentence);
}

void Terminal::Warn(std::string_view sentence) { Line("smelt: warning: ", sentence); }

void Terminal::Say(std::string_view line) {
  if (globals_.quiet || globals_.json) return;
  Print(std::string(line) + "\n");
}

void Terminal::Print(std::string_view text) {
  ClearProgress();
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

int Terminal::Fail(const absl::Status& status, const std::string& extra, const char* name) {
  const std::string_view code = ErrorName(status);
  const std::string message(status.message().data(), status.message().size());
  return FailWith(code, message, code == "usage" ? kWrongUsage : kFailed, extra, name);
}

int Terminal::Finish(int exit_status) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_status;
  Line("smelt: ", "standard output could not be written");
  return kFailed;
}

int Terminal::FailUsage(std::string_view sentence) {
  return FailWith("usage", sentence, kWrongUsage);
}

int Terminal::FailInput(std::string_view sentence) {
  return FailWith("invalid_input", sentence, kFailed);
}

int Terminal::FailWith(std::string_view code, std::string_view sentence, int exit_status,
                       const std::string& extra, const char* name) {
  Line("smelt: ", sentence);
  if (globals_.json) {
    nlohmann::ordered_json error{{"error", {{"code", code}, {"message", sentence}}}};
    if (!extra.empty()) error[name] = nlohmann::ordered_json::parse(extra);
    Print(error.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  }
  return exit_status;
}

std::string Terminal::ProgressText(const Progress& progress) const {
  const double share = progress.total == 0 ? 0
                                           : static_cast<double>(progress.done) /
                                                 static_cast<double>(progress.total);
  const double seconds = std::chrono::duration<double>(Clock::now() - phase_start_).count();
  const double rate = seconds > 0 ? static_cast<double>(progress.done - phase_first_) / seconds : 0;
  std::string text = Left(progress.phase, 9) + " ";
  if (tty_) text += Bar(share, utf8_) + " ";
  text += Fixed(share * 100, 0) + "%";
  if (rate > 0) {
    text += progress.unit == "bytes"
                ? "  " + Bytes(static_cast<uint64_t>(rate)) + "/s"
                : "  " + Significant(rate, 3) + " " + std::string(progress.unit) + "/s";
    text += "  " + Duration(static_cast<double>(progress.total - progress.done) / rate) + " left";
  }
  if (progress.running_value > 0) text += "  perplexity " + Significant(progress.running_value, 5);
  return text;
}

void Terminal::ShowProgress(const Progress& progress) {
  if (globals_.quiet || progress.phase == "generating") return;
  const Clock::time_point now = Clock::now();
  if (progress.phase != phase_) {
    phase_ = std::string(progress.phase);
    phase_start_ = now;
    phase_first_ = progress.done;
    if (tty_) last_shown_ = {};
  }
  if (tty_) {
    if (now - last_shown_ < kTtyInterval) return;
    std::fprintf(stderr, "\r\x1b[K%s", ProgressText(progress).c_str());
    std::fflush(stderr);
    line_shown_ = true;
  } else {
    const bool first = last_shown_ == Clock::time_point{};
    if (first ? now - job_start_ < kFirstNote : now - last_shown_ < kNoteInterval) return;
    Note(ProgressText(progress));
  }
  last_shown_ = now;
}

void Terminal::ClearProgress() {
  if (!line_shown_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  line_shown_ = false;
}

}  // namespace smelt::tools
