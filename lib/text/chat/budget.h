// What one rendering of a template may cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace smelt::jinja {

/// Thrown within this folder, where Python raises; ChatTemplate turns it into a Status.
struct TemplateError {
  std::string message;
};

/// Work and memory of one rendering: a template is a program from a stranger, and may loop forever
/// or build texts without end.
class Budget {
 public:
  Budget(uint64_t steps, uint64_t bytes) : steps_(steps), bytes_(bytes) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  void Step(uint64_t count = 1) {
    if (count > steps_) {
      throw TemplateError{"takes too many steps: does it contain an endless loop or a huge range?"};
    }
    steps_ -= count;
  }

  /// Fails before the memory is taken.
  void Take(size_t bytes) {
    if (bytes > bytes_) throw TemplateError{"builds texts or lists that are too large"};
    Step(bytes / 64);
    bytes_ -= bytes;
  }
  void GiveBack(size_t bytes) { bytes_ += bytes; }

 private:
  uint64_t steps_, bytes_;
};

/// The budget of the rendering that this thread is in: for work that has no other way to it, such
/// as comparisons.
class CurrentBudget {
 public:
  explicit CurrentBudget(Budget& budget) : outer_(current) { current = &budget; }
  ~CurrentBudget() { current = outer_; }
  CurrentBudget(const CurrentBudget&) = delete;
  CurrentBudget& operator=(const CurrentBudget&) = delete;

  /// Steps of the current rendering; nothing outside of one.
  static void Step(uint64_t count = 1) {
    if (current != nullptr) current->Step(count);
  }

 private:
  static inline thread_local Budget* current = nullptr;
  Budget* const outer_;
};

/// Memory that an object holds for as long as it lives.
class Charge {
 public:
  Charge(Budget& budget, size_t bytes) : budget_(budget), bytes_(bytes) { budget_.Take(bytes); }
  ~Charge() { budget_.GiveBack(bytes_); }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

 private:
  Budget& budget_;
  const size_t bytes_;
};

}  // namespace smelt::jinja
