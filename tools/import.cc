// smelt import: a model into an Ollama store.
#include "smelt/import.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "smelt/bundle.h"
#include "smelt/text.h"
#include "tools/commands.h"
#include "tools/convert_command.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

struct ImportArguments {
  ImportOptions options;
  ConvertArguments conversion;
  std::string first, second;  ///< operands
  std::vector<const CLI::Option*> conversion_options;
};

std::vector<const CLI::Option*> Options(const CLI::App& command) { return command.get_options(); }

void Say(const ImportResult& result, Terminal& terminal) {
  const std::string name = OneLine(result.name, 200);
  const std::string how = result.how == "present" ? ", there already" : " by " + result.how;
  terminal.Say("imported  " + name + "   " + Bytes(result.bytes) + how + "   try: ollama run " +
               ShellQuoted(name));
}

int RunBundle(const ImportArguments& a, Terminal& terminal) {
  const absl::StatusOr<BundleResult> result = ImportBundle(
      {.bundle = a.first, .name = a.second, .store = a.options.store}, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
    return kDone;
  }
  for (const std::string& name : result->names) {
    const std::string shown = OneLine(name, 200);
    terminal.Say("imported  " + shown + "   try: ollama run " + ShellQuoted(shown));
  }
  terminal.Say("          " + std::to_string(result->blobs) + " blobs, " + Bytes(result->bytes) +
               ", " + std::to_string(result->present) + " there already");
  return kDone;
}

int RunImport(ImportArguments& a, Terminal& terminal) {
  ImportOptions& options = a.options;
  if (options.modelfile.empty() && (LooksLikeBundle(a.first) || a.first.ends_with(".tar.zst")))
    return RunBundle(a, terminal);
  if (a.second.empty() && options.modelfile.empty()) {
    return terminal.FailUsage(
        "import takes a model and the name it gets (smelt import model.gguf my-model), -f "
        "Modelfile and the name, or a bundle (models.tar.zst)");
  }
  options.source = a.second.empty() ? "" : a.first;
  options.name = a.second.empty() ? a.first : a.second;
  if (const std::string problem = Complete(a.conversion); !problem.empty())
    return terminal.FailUsage(problem);
  if (a.conversion.options.type.find(',') != std::string::npos)
    return terminal.FailUsage(
        "import makes one model, of one type; import each type as a tag of its own");
  const bool given = std::ranges::any_of(
      a.conversion_options, [](const CLI::Option* option) { return option->count() > 0; });
  std::optional<EvaluateResult> missed;
  a.conversion.options.on_plan = [&](const PlanSummary& plan) { SayPlan(plan, terminal); };
  a.conversion.options.on_validation = [&](const EvaluateResult& validation) {
    if (!validation.passed) missed = validation;
  };
  options.conversion = a.conversion.options;
  options.convert_ggufs = given;
  const absl::StatusOr<ImportResult> result = Import(options, terminal.MakeObserver());
  if (!result.ok()) {
    if (!missed) return terminal.Fail(result.status());
    SayValidation(*missed, a.conversion.options.type, terminal);
    return terminal.Fail(result.status(), ToJson(*missed));
  }
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
    return kDone;
  }
  if (result->conversion && result->conversion->validation) {
    SayValidation(*result->conversion->validation, result->conversion->type, terminal);
  }
  Say(*result, terminal);
  return kDone;
}

}  // namespace

void AddImport(CLI::App& app, Invocation& invocation) {
  static ImportArguments a;
  CLI::App* command =
      app.add_subcommand("import", "A model into an Ollama store, converted on the way if need be");
  command->footer(
      "Examples:\n"
      "  smelt import ./Llama-3.2-1B my-llama --type q4_k_m\n"
      "  smelt import model.gguf my-model\n"
      "  smelt import model.gguf me/my-model:q4 --store /srv/ollama/models\n"
      "  smelt import -f Modelfile my-assistant\n"
      "  smelt import models.tar.zst          what smelt store export has made\n"
      "  smelt import llama3.2 my-llama:q3 --type q3_k_m --allow-requantize\n"
      "A folder is converted straight into the store and checked as by convert; a GGUF stays as it "
      "is, unless options of a conversion are given. Its bytes are shared with the file, or "
      "linked, or copied, in that order.\n"
      "Without a TEMPLATE the model's own chat template is tried on conversations against the "
      "known "
      "formats (chatml, llama3.2-instruct, mistral-v7, ...); the format that writes all of them "
      "alike gives Ollama's template and stop words.");
  command
      ->add_option(
          "MODEL", a.first,
          "A GGUF, model folder, archive or name in the store (with -f it may be left out), "
          "or a bundle, which keeps its names unless NAME is given")
      ->required();
  command->add_option("NAME", a.second, "The name it gets: [HOST/][NAMESPACE/]MODEL[:TAG]");
  command
      ->add_option("-f,--file", a.options.modelfile,
                   "A Modelfile: FROM (unless MODEL is given), TEMPLATE, SYSTEM, PARAMETER, "
                   "LICENSE, MESSAGE, ADAPTER, RENDERER, PARSER, REQUIRES")
      ->type_name("FILE");
  command
      ->add_option("--store", a.options.store,
                   "The store (default: OLLAMA_MODELS, else Ollama's own folder)")
      ->type_name("DIR");
  command
      ->add_option("--chat-template", a.options.chat_template,
                   "Jinja template in the place of the model's own")
      ->type_name("FILE");
  command->add_flag("--require-template", a.options.require_template,
                    "Refuse a model whose chat template is of no known format, unless the "
                    "Modelfile has a TEMPLATE");
  command->add_flag("--adapter-layer", a.options.adapter_layer,
                    "Keep the Modelfile's ADAPTER as a layer of its own, for Ollama before 0.34, "
                    "instead of merging it into the weights");
  command
      ->add_option("--for-ollama", a.options.for_ollama,
                   "Refuse or leave out what this Ollama could not use; what is written is the "
                   "same for all")
      ->type_name("VERSION")
      ->check(CLI::IsMember({"0.6", "0.32", "0.34"}));
  command->add_flag("--copy", a.options.copy, "Copy a GGUF's bytes: neither share nor link them");
  const std::vector<const CLI::Option*> own = Options(*command);
  AddConversionOptions(*command, a.conversion);
  for (const CLI::Option* option : Options(*command)) {
    // What computes does not ask for a conversion.
    const bool device = option->get_name().find("device") != std::string::npos;
    if (!device && std::ranges::find(own, option) == own.end())
      a.conversion_options.push_back(option);
  }
  AddGlobals(*command, invocation);
  command->callback([&invocation] {
    invocation.run = [](Terminal& terminal) { return RunImport(a, terminal); };
  });
}

}  // namespace smelt::tools
