// `run --chat`: one question, or a conversation on a terminal.
#pragma once

#include <optional>
#include <string>

#include "smelt/generate.h"
#include "tools/terminal.h"

namespace smelt::tools {

struct ChatArguments {
  std::optional<std::string> prompt;
  std::string system, tools_file, chat_template;
  std::string think = "show";  ///< "show", "hide", "off"
  bool limited = false;        ///< a number of tokens was asked for
};

int RunChat(const GenerateOptions& options, const ChatArguments& arguments, Terminal& terminal);

/// Leaves out what stands between <think> and </think>, and the empty lines behind it, of a text
/// that comes in pieces.
class WithoutThoughts {
 public:
  /// `thinking`: the text begins inside.
  explicit WithoutThoughts(bool thinking) : thinking_(thinking), fresh_(thinking) {}
  /// What may be shown of the text so far.
  std::string Take(std::string_view piece);
  /// The rest.
  std::string Finish();

 private:
  bool thinking_, fresh_;  ///< fresh: nothing was shown since a thought ended
  std::string held_;
};

}  // namespace smelt::tools
