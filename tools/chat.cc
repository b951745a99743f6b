#include "tools/chat.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <string_view>
#include <utility>

#include "smelt/chat.h"
#include "smelt/text.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

/// An answer ends when the model ends it, not after the 128 tokens of a text.
constexpr int64_t kLongestAnswer = 1'000'000;

/// Prints an answer as it comes, and what was thought before it.
class Answer {
 public:
  Answer(bool hide, Terminal& terminal) : hide_(hide), terminal_(terminal) {}

  void Thought(std::string_view piece) {
    if (hide_) return;
    if (!thinking_) Print("<think>");
    thinking_ = true;
    Print(piece);
  }
  void Text(std::string_view piece) {
    EndThought();
    if (hide_ && empty_)
      piece.remove_prefix(std::min(piece.find_first_not_of(" \t\r\n"), piece.size()));
    empty_ = empty_ && piece.empty();
    Print(piece);
  }
  void Finish() {
    EndThought();
    if (!ends_line_) terminal_.Print("\n");
  }

 private:
  void EndThought() {
    if (thinking_) Print("</think>");
    thinking_ = false;
  }
  void Print(std::string_view text) {
    if (text.empty()) return;
    ends_line_ = text.ends_with('\n');
    terminal_.Print(std::string(text));
  }

  const bool hide_;
  Terminal& terminal_;
  bool thinking_ = false, empty_ = true, ends_line_ = false;
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
  std::function<void(std::string_view)> on_thought;
  if (!terminal.json()) {
    options.on_text = [&](std::string_view piece) { answer.Text(piece); };
    on_thought = [&](std::string_view piece) { answer.Thought(piece); };
  }
  absl::StatusOr<ChatAnswer> result = chat.Say(question, options, Watching(terminal), on_thought);
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    if (hide) result->thought.clear();
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

int RunChat(const GenerateOptions& given, const ChatArguments& arguments, Terminal& terminal) {
  ContinueOptions options = given;
  if (!arguments.limited) options.max_tokens = kLongestAnswer;
  const Observer observer = terminal.MakeObserver();
  ChatOptions chat_options;
  chat_options.model = given.model;
  chat_options.adapters = given.adapters;
  chat_options.activations = given.activations;
  chat_options.device = given.device;
  chat_options.repack = given.repack;
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
