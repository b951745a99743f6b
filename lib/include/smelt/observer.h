// What a running job tells whoever started it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace smelt {

struct Progress {
  std::string_view phase;  ///< "writing", "checking", ...
  uint64_t done = 0;       ///< of `total`, in `unit`
  uint64_t total = 0;
  std::string_view unit;     ///< "bytes", "tokens"
  double running_value = 0;  ///< e.g. perplexity so far; 0 when there is none
};

enum class NoteKind { kNote, kWarning };

/// Callbacks of a job; every one may be empty. Called from one thread at a time, which need not be
/// the one that started the job.
struct Observer {
  std::function<void(const Progress&)> progress;
  std::function<void(NoteKind, const std::string& sentence)> note;
  std::function<bool()> cancelled;  ///< true: stop soon with kCancelled

  void Report(const Progress& p) const {
    if (progress) progress(p);
  }
  void Note(const std::string& s) const {
    if (note) note(NoteKind::kNote, s);
  }
  void Warn(const std::string& s) const {
    if (note) note(NoteKind::kWarning, s);
  }
  bool Cancelled() const { return cancelled && cancelled(); }
};

}  // namespace smelt
