// smelt families: which published models can be read.
#include "smelt/families.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/format.h"

namespace smelt::tools {
namespace {

std::string FamiliesJson(const std::vector<PublishedFamily>& families) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const PublishedFamily& family : families) {
    all.push_back({{"classes", family.classes},
                   {"model_type", family.model_type},
                   {"architecture", family.architecture},
                   {"checked", family.checked},
                   {"llama_cpp", family.llama_cpp}});
  }
  return nlohmann::ordered_json{{"families", std::move(all)}}.dump() + "\n";
}

// One line a class: its GGUF architecture, how it is checked, what llama.cpp does differently.
std::string FamiliesText(const std::vector<PublishedFamily>& families) {
  size_t names = 0, architectures = 0, checks = 0;
  for (const PublishedFamily& family : families) {
    for (const std::string& name : family.classes) names = std::max(names, name.size());
    architectures = std::max(architectures, family.architecture.size());
    checks = std::max(checks, family.checked.size());
  }
  const auto padded = [](const std::string& text, size_t width) {
    return text + std::string(width + 2 - text.size(), ' ');
  };
  std::string text;
  for (const PublishedFamily& family : families) {
    for (const std::string& name : family.classes) {
      std::string line = padded(name, names) + padded(family.architecture, architectures) +
                         padded(family.checked, checks) + family.llama_cpp;
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
  }
  return text;
}

int RunFamilies(Terminal& terminal) {
  const absl::StatusOr<std::vector<PublishedFamily>> families = Families();
  if (!families.ok()) return terminal.Fail(families.status());
  terminal.Print(terminal.json() ? FamiliesJson(*families) : FamiliesText(*families));
  return kDone;
}

}  // namespace

void AddFamilies(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("families", "Which published models can be read");
  command->footer(
      "Each line: a class, as config.json names it under \"architectures\"; the GGUF architecture\n"
      "that it becomes; how its numbers are compared with transformers' (recorded: of a small\n"
      "model; drawn: of random configurations); what llama.cpp does differently, if anything.\n"
      "Examples:\n"
      "  smelt families | grep -i qwen\n"
      "  smelt families --json                         model_type too");
  AddGlobals(*command, invocation);
  command->callback([&invocation] { invocation.run = RunFamilies; });
}

}  // namespace smelt::tools
