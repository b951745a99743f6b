#include "tools/chat.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>

#include "smelt/chat.h"
#include "smelt/text.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

constexpr std::string_view kBegin = "<think>", kEnd = "</think>";

/// An answer ends when the model ends it, not after the 128 tokens of a text.
constexpr int64_t kLongestAnswer = 1'000'000;

bool BeginsThinking(std::string_view prompt) {
  const size_t last = prompt.find_last_not_of(" \t\r\n");
  return last != prompt.npos && prompt.substr(0, last + 1).ends_with(kBegin);
}

/// Prints an answer as it comes.
class Answer {
 public:
  Answer(bool hide, Terminal& terminal) : hide_(hide), terminal_(terminal) {}

  std::function<void(std::string_view)> Sink(const Chat& chat) {
    return [this, &chat](std::string_view piece) {
      if (!hide_) return Print(std::string(piece));
      if (filter_ == nullptr)
        filter_ = std::make_unique<WithoutThoughts>(BeginsThinking(chat.prompt()));
      Print(filter_->Take(piece));
    };
  }
  void Finish() {
    if (filter_ != nullptr) Print(filter_->Finish());
    if (!ends_line_) terminal_.Print("\n");
  }

 private:
  void Print(const std::string& text) {
    if (text.empty()) return;
    ends_line_ = text.ends_with('\n');
    terminal_.Print(text);
  }

  const bool hide_;
  Terminal& terminal_;
  std::unique_ptr<WithoutThoughts> filter_;
  bool ends_line_ = false;
};

Observer Watching(Terminal& terminal) {
  Observer observer = terminal.MakeObserver();
  observer.cancelled = [&terminal, asked = observer.cancelled] {
    return asked() || terminal.OutputLost();
  };
  return observer;
}

int RunQuestion(Chat& chat, const std::string& question, ContinueOptions options, bool hide,
                Terminal& terminal) {
  Answer answer(hide, terminal);
  if (!terminal.json()) options.on_text = answer.Sink(chat);
  const absl::StatusOr<GenerateResult> result = chat.Say(question, options, Watching(terminal));
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
  } else {
    answer.Finish();
  }
  if (terminal.OutputLost()) return kFailed;
  if (result->finish_reason == FinishReason::kInterrupted) {
    return terminal.FailInterrupted("interrupted after " + std::to_string(result->ids.size()) +
                                    " generated tokens");
  }
  return kDone;
}

int RunConversation(Chat& chat, const ContinueOptions& options, bool hide, Terminal& terminal) {
  terminal.Note("a conversation: /clear begins anew, /bye or Ctrl-D ends");
  for (std::string line;;) {
    terminal.Print(">>> ");
    if (!std::getline(std::cin, line)) break;
    if (line == "/bye" || line == "/exit") return kDone;
    if (line == "/clear") {
      chat.Clear();
      continue;
    }
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    if (const int status = RunQuestion(chat, line, options, hide, terminal); status != kDone)
      return status;
    terminal.Print("\n");
  }
  terminal.Print("\n");
  return kDone;
}

}  // namespace

std::string WithoutThoughts::Take(std::string_view piece) {
  held_ += piece;
  std::string out;
  for (;;) {
    const std::string_view mark = thinking_ ? kEnd : kBegin;
    const size_t at = held_.find(mark);
    size_t sure = std::min(at, held_.size());
    if (at == held_.npos) {  // the end may be the beginning of a mark
      for (size_t n = std::min(held_.size(), mark.size() - 1); n > 0; --n) {
        if (!held_.ends_with(mark.substr(0, n))) continue;
        sure = held_.size() - n;
        break;
      }
    }
    if (!thinking_) {
      std::string shown = held_.substr(0, sure);
      if (fresh_) shown.erase(0, std::min(shown.find_first_not_of(" \t\r\n"), shown.size()));
      fresh_ = fresh_ && shown.empty();
      out += shown;
    }
    held_.erase(0, sure);
    if (at == held_.npos || !held_.starts_with(mark)) return out;
    held_.erase(0, mark.size());
    thinking_ = !thinking_;
    fresh_ = true;
  }
}

std::string WithoutThoughts::Finish() { return thinking_ ? "" : std::exchange(held_, ""); }

int RunChat(const GenerateOptions& given, const ChatArguments& arguments, Terminal& terminal) {
  ContinueOptions options = given;
  if (!arguments.limited) options.max_tokens = kLongestAnswer;
  const Observer observer = terminal.MakeObserver();
  ChatOptions chat_options;
  chat_options.model = given.model;
  chat_options.adapters = given.adapters;
  chat_options.f32_activations = given.f32_activations;
  chat_options.chat_template = arguments.chat_template;
  chat_options.system = arguments.system;
  if (arguments.think == "off") chat_options.variables = R"({"enable_thinking":false})";
  if (!arguments.tools_file.empty()) {
    absl::StatusOr<std::string> tools = ReadText(arguments.tools_file, observer);
    if (!tools.ok()) return terminal.Fail(tools.status());
    chat_options.tools = *std::move(tools);
  }
  std::optional<std::string> question = arguments.prompt;
  const bool terminal_input = isatty(STDIN_FILENO) != 0;
  if (!given.prompt_file.empty() || question == "-" || (!question && !terminal_input)) {
    absl::StatusOr<std::string> text =
        ReadText(given.prompt_file.empty() ? "-" : given.prompt_file, observer);
    if (!text.ok()) return terminal.Fail(text.status());
    if (text->ends_with('\n')) text->pop_back();
    question = *std::move(text);
  }
  if (!question && terminal.json())
    return terminal.FailUsage("--json answers one question: give a PROMPT, or pipe a text in");
  if (question && question->empty()) return terminal.FailUsage("the question is empty");
  const absl::StatusOr<std::unique_ptr<Chat>> chat = Chat::Open(chat_options, observer);
  if (!chat.ok()) return terminal.Fail(chat.status());
  const bool hide = arguments.think == "hide";
  return question ? RunQuestion(**chat, *question, options, hide, terminal)
                  : RunConversation(**chat, options, hide, terminal);
}

}  // namespace smelt::tools
