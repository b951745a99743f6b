// What a job tells its observer.
#pragma once

#include <string>

#include "smelt/observer.h"

namespace smelt::testing {

/// Keeps the notes and warnings that `observer` is told, a line each.
struct Said {
  std::string notes, warnings;
  Observer observer;
  Said() {
    observer.note = [this](NoteKind kind, const std::string& text) {
      (kind == NoteKind::kWarning ? warnings : notes) += text + "\n";
    };
  }
  Said(const Said&) = delete;
  Said& operator=(const Said&) = delete;
};

}  // namespace smelt::testing
