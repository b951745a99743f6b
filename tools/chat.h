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

}  // namespace smelt::tools
