// The `smelt` program: chooses a command; see the file of the same name.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <string>

#include "smelt/runtime.h"
#include "smelt/version.h"
#include "tools/commands.h"
#include "tools/format.h"

namespace smelt::tools {

void AddGlobals(CLI::App& command, Invocation& invocation) {
  command
      .add_option("--threads", invocation.globals.threads, "Worker threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command.add_flag("-q,--quiet", invocation.globals.quiet,
                   "Say nothing but errors, warnings and what was asked for");
  command.add_flag("--json", invocation.globals.json, "Print the result (or the failure) as JSON");
}

namespace {

constexpr char kDescription[] =
    "smelt turns published models into validated GGUF files and runs them.\n"
    "A MODEL is a folder (config.json and weights), a GGUF file, or a name in the Ollama store.";

constexpr char kExamples[] =
    "Examples:\n"
    "  smelt convert Llama-3.2-1B --type q4_k_m      a folder to a quantized, checked GGUF\n"
    "  smelt eval model.gguf --text eval.txt         its perplexity\n"
    "  smelt run model.gguf \"Once upon a time\"       text from it\n"
    "  smelt import model.gguf my-model              into the Ollama store\n"
    "Exit status: 0 done, 1 refused, failed or a limit missed, 2 wrong usage.\n"
    "`smelt COMMAND --help` tells more.";

// Which command's help answers a usage error.
std::string HelpHint(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? "smelt --help" : "smelt " + chosen.front()->get_name() + " --help";
}

bool HasArgument(int argc, char** argv, std::string_view wanted) {
  for (int i = 1; i < argc; ++i) {
    if (argv[i] == wanted) return true;
  }
  return false;
}

int Main(int argc, char** argv) {
  CLI::App app(kDescription, "smelt");
  app.footer(kExamples);
  app.set_version_flag("--version", "smelt " + std::string(Version()));
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  Invocation invocation;
  AddConvert(app, invocation);
  AddQuantize(app, invocation);
  AddEval(app, invocation);
  AddRun(app, invocation);
  AddImport(app, invocation);
  AddInspect(app, invocation);
  AddTokenize(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      const int status = app.exit(error);
      return std::cout.flush() ? status : kFailed;
    }
    invocation.globals.json = HasArgument(argc, argv, "--json");
    Terminal terminal(invocation.globals);
    return terminal.FailUsage(OneLine(error.what(), 250) + "; try `" + HelpHint(app) + "`");
  }
  UseThreads(invocation.globals.threads);
  CatchInterrupts();
  Terminal terminal(invocation.globals);
  try {
    return terminal.Finish(invocation.run(terminal));
  } catch (const std::bad_alloc&) {
    return terminal.Fail(absl::ResourceExhaustedError("out of memory; try fewer --threads"));
  } catch (const std::exception& error) {
    return terminal.Fail(absl::InternalError(std::string("unexpected failure: ") + error.what()));
  }
}

}  // namespace
}  // namespace smelt::tools

int main(int argc, char** argv) { return smelt::tools::Main(argc, argv); }
