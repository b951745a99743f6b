// smelt import: a GGUF into an Ollama store.
#include "smelt/import.h"

#include <CLI/CLI.hpp>

#include "smelt/text.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

ImportOptions options;

int Run(Terminal& terminal) {
  const absl::StatusOr<ImportResult> result = Import(options, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
    return kDone;
  }
  const std::string how = result->how == "present" ? ", there already" : " by " + result->how;
  terminal.Say("imported  " + OneLine(result->name, 200) + "   " + Bytes(result->bytes) + how +
               "   try: ollama run " + ShellQuoted(OneLine(result->name, 200)));
  return kDone;
}

}  // namespace

void AddImport(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("import", "A GGUF into an Ollama store");
  command->footer(
      "Examples:\n"
      "  smelt import model.gguf my-model\n"
      "  smelt import model.gguf me/my-model:q4 --store /srv/ollama/models");
  command->add_option("FILE", options.file, "The GGUF")->required();
  command->add_option("NAME", options.name, "[HOST/][NAMESPACE/]MODEL[:TAG]")->required();
  command
      ->add_option("--store", options.store,
                   "The store (default: OLLAMA_MODELS, else Ollama's own folder)")
      ->type_name("DIR");
  AddGlobals(*command, invocation);
  command->callback([&invocation] { invocation.run = Run; });
}

}  // namespace smelt::tools
