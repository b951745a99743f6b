#include "tools/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "smelt/runtime.h"
#include "tools/format.h"
#include "tools/signals.h"

namespace smelt::tools {
namespace {

using namespace std::chrono_literals;

constexpr size_t kLongestLine = 398;
constexpr auto kTtyInterval = 100ms, kTtyFirst = 200ms;
constexpr auto kFirstNote = 10s, kNoteInterval = 30s;

// Whether standard error shows a line that is overwritten: terminals without escapes do not.
bool HasEscapes() {
  const char* name = std::getenv("TERM");
  const std::string_view term(name == nullptr ? "" : name);
  return isatty(STDERR_FILENO) != 0 && !term.empty() && term != "dumb";
}

// Of the terminal, as it is now: people resize it.
size_t TerminalColumns() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  const long n = columns == nullptr ? 0 : std::strtol(columns, nullptr, 10);
  return n > 0 && n < 10000 ? static_cast<size_t>(n) : 80;
}

std::string Bar(double share, bool utf8) {
  constexpr int kWidth = 15;
  const int full = static_cast<int>(share * kWidth + 0.5);
  std::string bar;
  for (int i = 0; i < kWidth; ++i) bar += i < full ? (utf8 ? "━" : "#") : (utf8 ? "─" : "-");
  return bar;
}

}  // namespace

Terminal::Terminal(const Globals& globals)
    : globals_(globals),
      tty_(HasEscapes()),
      both_tty_(isatty(STDOUT_FILENO) != 0 && isatty(STDERR_FILENO) != 0),
      utf8_(Utf8Locale()),
      job_start_(Clock::now()) {}

Observer Terminal::MakeObserver() {
  Observer observer;
  observer.note = [this](NoteKind kind, const std::string& sentence) {
    kind == NoteKind::kWarning ? Warn(sentence) : Note(sentence);
  };
  observer.progress = [this](const Progress& progress) { ShowProgress(progress); };
  observer.cancelled = [] { return Interrupted() != 0; };
  return observer;
}

void Terminal::Line(std::string_view prefix, std::string_view sentence) {
  ClearProgress();
  if (within_line_) std::fputc('\n', stdout);
  if (within_line_) std::fflush(stdout);
  within_line_ = false;
  std::string line(prefix);
  line += OneLine(sentence, kLongestLine - prefix.size());
  line += '\n';
  std::fputs(line.c_str(), stderr);
}

void Terminal::Note(std::string_view sentence) {
  if (!globals_.quiet) Line("smelt: note: ", sentence);
}

void Terminal::Warn(std::string_view sentence) { Line("smelt: warning: ", sentence); }

bool Terminal::OutputLost() const { return std::ferror(stdout) != 0; }

void Terminal::Say(std::string_view line) {
  if (globals_.quiet || globals_.json) return;
  Print(std::string(line) + "\n");
}

void Terminal::Print(std::string_view text) {
  ClearProgress();
  OutputHasBegun();
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  if (!text.empty()) within_line_ = both_tty_ && !text.ends_with('\n');
}

int Terminal::Fail(const absl::Status& status, const std::string& extra, const char* name) {
  const std::string_view code = ErrorName(status);
  const std::string message(status.message().data(), status.message().size());
  return FailWith(code, message, code == "usage" ? kWrongUsage : kFailed, extra, name);
}

int Terminal::Finish(int exit_status) {
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (Interrupted() != 0) {
    if (!said_why_) Line("smelt: ", "interrupted; what was asked for was done already");
    EndAsSignalled();
  }
  if (written) return exit_status;
  Line("smelt: ", "standard output could not be written");
  return kFailed;
}

int Terminal::FailInterrupted(std::string_view sentence) {
  Line("smelt: ", sentence);
  said_why_ = true;
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
  said_why_ = true;
  if (globals_.json) {
    nlohmann::ordered_json error{{"error", {{"code", code}, {"message", sentence}}}};
    if (!extra.empty()) error[name] = nlohmann::ordered_json::parse(extra);
    Print(error.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  }
  return exit_status;
}

// As much as fits: the bar goes first, then how fast and how long, then what.
std::string Terminal::ProgressText(const Progress& progress, size_t columns) const {
  const double share = progress.total == 0 ? 0
                                           : static_cast<double>(progress.done) /
                                                 static_cast<double>(progress.total);
  const double seconds = std::chrono::duration<double>(Clock::now() - phase_start_).count();
  const double rate = seconds > 0 ? static_cast<double>(progress.done - phase_first_) / seconds : 0;
  const std::string phase(progress.phase), percent = Fixed(share * 100, 0) + "%";
  std::string speed, left, value;
  if (rate > 0) {
    speed = progress.unit == "bytes"
                ? "  " + Bytes(static_cast<uint64_t>(rate)) + "/s"
                : "  " + Significant(rate, 3) + " " + std::string(progress.unit) + "/s";
    left = "  " + Duration(static_cast<double>(progress.total - progress.done) / rate) + " left";
  }
  if (progress.running_value > 0) value = "  perplexity " + Significant(progress.running_value, 5);
  const std::string head = Left(phase, 9) + " ";
  for (const std::string& text :
       {head + (tty_ ? Bar(share, utf8_) + " " : "") + percent + speed + left + value,
        head + percent + speed + left + value, head + percent + left, phase + " " + percent}) {
    if (Columns(text) <= columns) return text;
  }
  return percent.size() <= columns ? percent : "";
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
  // What is done begins anew with its next report: each turn of a conversation is read.
  if (progress.done >= progress.total) phase_.clear();
  if (tty_) {
    if (now - phase_start_ < kTtyFirst || now - last_shown_ < kTtyInterval) return;
    Draw(progress);
  } else {
    const bool first = last_shown_ == Clock::time_point{};
    if (first ? now - job_start_ < kFirstNote : now - last_shown_ < kNoteInterval) return;
    Note(ProgressText(progress, kLongestLine));
  }
  last_shown_ = now;
}

// One column stays free: a line that fills the last one wraps on some terminals.
void Terminal::Draw(const Progress& progress) {
  ClearProgress();
  const std::string text = ProgressText(progress, TerminalColumns() - 1);
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
  shown_columns_ = Columns(text);
  if (shown_columns_ > 0) SetLastWordPrefix("\r\x1b[K");
}

void Terminal::ClearProgress() {
  if (shown_columns_ == 0) return;
  // A terminal that has become narrower shows the line on several rows.
  const size_t rows_above = (shown_columns_ - 1) / TerminalColumns();
  std::string clear = "\r";
  if (rows_above > 0) clear += "\x1b[" + std::to_string(rows_above) + "A";
  std::fputs((clear + (rows_above > 0 ? "\x1b[J" : "\x1b[K")).c_str(), stderr);
  std::fflush(stderr);
  shown_columns_ = 0;
  SetLastWordPrefix("");
}

}  // namespace smelt::tools
