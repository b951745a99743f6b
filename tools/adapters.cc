#include "tools/adapters.h"

#include <filesystem>
#include <optional>

#include "tools/numbers.h"

namespace smelt::tools {
namespace {

/// What is wrong with ADAPTER=SCALE; empty: nothing.
std::string CheckAdapter(const std::string& text) {
  std::error_code ignored;
  const size_t at = text.rfind('=');
  const bool plain = at == std::string::npos || std::filesystem::exists(text, ignored);
  if (plain || ParseNumber<double>(text.substr(at + 1))) return "";
  if (!std::filesystem::exists(text.substr(0, at), ignored)) return "";
  return "the strength '" + text.substr(at + 1) + "' is no number";
}

}  // namespace

CLI::Option* AddLora(CLI::App& command, std::vector<std::string>& texts) {
  return command
      .add_option("--lora", texts,
                  "Merge an adapter (a folder of PEFT's, or a GGUF), SCALE times as strong as it "
                  "was trained (repeatable)")
      ->type_name("ADAPTER[=SCALE]")
      ->check(CLI::Validator(CheckAdapter, ""))
      ->allow_extra_args(false);
}

std::vector<std::pair<std::string, double>> ParseAdapters(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, double>> adapters;
  for (const std::string& text : texts) {
    const size_t at = text.rfind('=');
    const std::optional<double> strength =
        at == std::string::npos ? std::nullopt : ParseNumber<double>(text.substr(at + 1));
    adapters.emplace_back(strength ? text.substr(0, at) : text, strength.value_or(1));
  }
  return adapters;
}

}  // namespace smelt::tools
