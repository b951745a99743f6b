// smelt families: which published models can be read.
#include "smelt/families.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/format.h"

namespace smelt::tools {
namespace {

std::string ToJson(const std::vector<PublishedFamily>& families) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const PublishedFamily& family : families) {
    all.push_back({{"classes", family.classes},
                   {"model_type", family.model_type},
                   {"architecture", family.architecture}});
  }
  return nlohmann::ordered_json{{"families", std::move(all)}}.dump() + "\n";
}

// One line a class, its GGUF architecture behind it.
std::string ToText(const std::vector<PublishedFamily>& families) {
  size_t width = 0;
  for (const PublishedFamily& family : families) {
    for (const std::string& name : family.classes) width = std::max(width, name.size());
  }
  std::string text;
  for (const PublishedFamily& family : families) {
    for (const std::string& name : family.classes)
      text += name + std::string(width + 2 - name.size(), ' ') + family.architecture + "\n";
  }
  return text;
}

int Run(Terminal& terminal) {
  const absl::StatusOr<std::vector<PublishedFamily>> families = Families();
  if (!families.ok()) return terminal.Fail(families.status());
  terminal.Print(terminal.json() ? ToJson(*families) : ToText(*families));
  return kDone;
}

}  // namespace

void AddFamilies(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("families", "Which published models can be read");
  command->footer(
      "Each line: a class, as config.json names it under \"architectures\", and the GGUF\n"
      "architecture that it becomes.\n"
      "Examples:\n"
      "  smelt families | grep -i qwen\n"
      "  smelt families --json                         model_type too");
  AddGlobals(*command, invocation);
  command->callback([&invocation] { invocation.run = Run; });
}

}  // namespace smelt::tools
