// The commands of the program. Each Add... describes its options to the parser; when the command is
// chosen, it sets `run`, which does the job and returns the exit status.
#pragma once

#include <functional>

#include "tools/terminal.h"

namespace CLI {
class App;
}

namespace smelt::tools {

struct Invocation {
  Globals globals;
  std::function<int(Terminal&)> run;
};

void AddConvert(CLI::App& app, Invocation& invocation);
void AddQuantize(CLI::App& app, Invocation& invocation);
void AddEval(CLI::App& app, Invocation& invocation);
void AddBench(CLI::App& app, Invocation& invocation);
void AddRun(CLI::App& app, Invocation& invocation);
void AddImatrix(CLI::App& app, Invocation& invocation);
void AddImport(CLI::App& app, Invocation& invocation);
void AddStore(CLI::App& app, Invocation& invocation);
void AddSet(CLI::App& app, Invocation& invocation);
void AddDiff(CLI::App& app, Invocation& invocation);
void AddVerify(CLI::App& app, Invocation& invocation);
void AddInspect(CLI::App& app, Invocation& invocation);
void AddTokenize(CLI::App& app, Invocation& invocation);
void AddFamilies(CLI::App& app, Invocation& invocation);
void AddDevices(CLI::App& app, Invocation& invocation);
void AddTemplate(CLI::App& app, Invocation& invocation);

/// --threads, --quiet, --json.
void AddGlobals(CLI::App& command, Invocation& invocation);
/// The last two, for a command whose --threads are its own.
void AddQuietAndJson(CLI::App& command, Invocation& invocation);

}  // namespace smelt::tools
