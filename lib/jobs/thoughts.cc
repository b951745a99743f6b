#include "lib/jobs/thoughts.h"

#include <algorithm>
#include <utility>

namespace smelt {

std::span<const ThoughtForm> ThoughtForms() {
  static const std::vector<ThoughtForm> kForms = {
      {.begin = "<think>", .end = "</think>", .tokens = {"<think>", "</think>"}, .plain = true},
      {.begin = "[THINK]", .end = "[/THINK]", .tokens = {"[THINK]", "[/THINK]"}},
      {.begin = "<seed:think>",
       .end = "</seed:think>",
       .tokens = {"<seed:think>", "</seed:think>"}},
      {.begin = "<|START_THINKING|>",
       .end = "<|END_THINKING|>",
       .tokens = {"<|START_THINKING|>", "<|END_THINKING|>"}},
      {.begin = "<|inner_prefix|>",
       .end = "<|inner_suffix|>",
       .tokens = {"<|inner_prefix|>", "<|inner_suffix|>"}},
      {.begin = "<|channel>thought", .end = "<channel|>", .tokens = {"<|channel>", "<channel|>"}},
      {.begin = "<|channel|>analysis<|message|>",
       .end = "<|end|>",
       .tokens = {"<|channel|>", "<|message|>", "<|start|>", "<|end|>"},
       .headings = {"<|start|>assistant", "<|channel|>final<|message|>",
                    "<|channel|>commentary<|message|>", "<|end|>"}},
  };
  return kForms;
}

ThoughtSplitter::ThoughtSplitter(std::vector<const ThoughtForm*> forms, std::string_view prompt,
                                 Sink sink)
    : forms_(std::move(forms)), sink_(std::move(sink)) {
  prompt = prompt.substr(0, prompt.find_last_not_of(" \t\r\n") + 1);
  for (const ThoughtForm* form : forms_) {
    if (prompt.ends_with(form->begin)) inside_ = form;
  }
}

std::vector<ThoughtSplitter::Mark> ThoughtSplitter::Awaited() const {
  if (inside_ != nullptr) return {{inside_->end, nullptr}};
  std::vector<Mark> marks;
  for (const ThoughtForm* form : forms_) {
    marks.push_back({form->begin, form});
    for (const std::string_view heading : form->headings) marks.push_back({heading, nullptr});
  }
  return marks;
}

void ThoughtSplitter::Give(size_t bytes) {
  if (bytes > 0) sink_(inside_ != nullptr, std::string_view(held_).substr(0, bytes));
  held_.erase(0, bytes);
}

void ThoughtSplitter::Take(std::string_view text) {
  held_ += text;
  for (;;) {
    // The first mark in the text; the end of the text may be the beginning of one.
    size_t at = held_.npos, sure = held_.size();
    Mark found;
    for (const Mark& mark : Awaited()) {
      if (const size_t place = held_.find(mark.text); place < at) at = place, found = mark;
      for (size_t n = std::min(held_.size(), mark.text.size() - 1); n > 0; --n) {
        if (!held_.ends_with(mark.text.substr(0, n))) continue;
        sure = std::min(sure, held_.size() - n);
        break;
      }
    }
    const bool marked = at < sure;
    Give(marked ? at : sure);
    if (!marked) return;
    held_.erase(0, found.text.size());
    inside_ = found.begins;
  }
}

void ThoughtSplitter::Finish() { Give(held_.size()); }

}  // namespace smelt
