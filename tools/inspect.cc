// smelt inspect: what a file, folder or store name holds.
#include "smelt/inspect.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "tools/commands.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

InspectOptions options;

/// "  in data/3 + 1024, strides 1 x 64"
std::string PlaceText(const InspectTensor& t) {
  if (t.storage.empty()) return "";
  std::string text = "  in " + OneLine(t.storage, 200);
  if (t.offset > 0) text += " + " + std::to_string(t.offset);
  if (t.strides.empty()) return text;
  return text + ", strides " + ShapeText(std::vector<uint64_t>(t.strides.begin(), t.strides.end()));
}

/// Storages and refused names of a PyTorch archive.
std::string ArchiveText(const InspectResult& r) {
  std::string text;
  for (const InspectStorage& s : r.storages) {
    text += "  storage " + Left(OneLine(s.name, 200), 36) + " " +
            Left(std::to_string(s.bytes), 14) +
            (s.tensors == 1 ? "1 tensor" : std::to_string(s.tensors) + " tensors") + "\n";
  }
  for (const InspectRefusal& refusal : r.refused) {
    text += "  refused " + Left(refusal.name, 36) + " " + refusal.operation + " at byte " +
            std::to_string(refusal.offset) + " of the pickle\n";
  }
  return text.empty() ? text : text + "\n";
}

std::string ToText(const InspectResult& r) {
  std::string text = OneLine(r.path, 1000) + ": " + r.format + "\n";
  for (const InspectResult::Key& key : r.metadata) {
    text += "  " + Left(OneLine(key.key, 200), 44) + " " + Left(OneLine(key.type, 40), 10) + " " +
            OneLine(key.json, 100) + "\n";
  }
  text += "\n";
  size_t width = 6;
  for (const InspectTensor& t : r.tensors) width = std::max(width, t.type.size());
  for (const InspectTensor& t : r.tensors) {
    text += "  " + Left(OneLine(t.name, 300), 44) + " " + Left(t.type, width) + " " +
            Left(ShapeText(t.shape), 20) + " " + std::to_string(t.bytes) + PlaceText(t) + "\n";
    if (!t.recipe.empty()) text += "      = " + OneLine(t.recipe, 1000) + "\n";
  }
  text += "\n" + ArchiveText(r);
  for (const TypeTotal& t : r.totals) {
    text += "  " + Left(t.type, width + 2) + std::to_string(t.tensors) + " tensors, " +
            Count(t.elements) + " elements, " + Bytes(t.bytes) + "\n";
  }
  text += "  " + std::to_string(r.tensors.size()) + " tensors, " + Count(r.parameters) +
          " parameters, " + Bytes(r.bytes) + ", " + Fixed(r.bits_per_weight, 2) + " bits/weight\n";
  return text;
}

int RunInspect(Terminal& terminal) {
  std::string refused;  // as JSON
  options.on_refused = [&](const InspectResult& shown) {
    if (!terminal.json()) return terminal.Print(ToText(shown));
    refused = ToJson(shown, options.recipes);
  };
  const absl::StatusOr<InspectResult> result = Inspect(options, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status(), refused, "listing");
  terminal.Print(terminal.json() ? ToJson(*result, options.recipes) : ToText(*result));
  return kDone;
}

}  // namespace

void AddInspect(CLI::App& app, Invocation& invocation) {
  CLI::App* command =
      app.add_subcommand("inspect", "What a model holds: metadata, tensors, types, sizes");
  command->footer(
      "Examples:\n"
      "  smelt inspect model.gguf\n"
      "  smelt inspect ./model --recipes        how each GGUF tensor would be made\n"
      "  smelt inspect stranger.pt              tensors, storages, and what it wanted to call");
  command
      ->add_option("PATH", options.path,
                   "GGUF, safetensors or PyTorch file, model folder or store name")
      ->required();
  command->add_flag("--recipes", options.recipes, "How each tensor is made from published ones");
  AddGlobals(*command, invocation);
  command->callback([&invocation] { invocation.run = RunInspect; });
}

}  // namespace smelt::tools
