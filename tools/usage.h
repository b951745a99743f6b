// A command line looked through before the parser takes it apart.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace smelt::tools {

/// The type name of options whose value may be an empty text.
inline constexpr char kMaybeEmpty[] = "[TEXT]";

struct CommandLine {
  /// One sentence that names the first unknown command or option, and the nearest known one, or
  /// lists the arguments that are too many; empty when all is well.
  std::string mistake;
  /// Options first, then the arguments behind --, where no parser takes a text for something else.
  std::vector<std::string> words;
};

/// `words`: the arguments without the program's name.
CommandLine LookThrough(const CLI::App& app, const std::vector<std::string>& words);

}  // namespace smelt::tools
