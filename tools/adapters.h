// --lora ADAPTER[=SCALE], for every command that opens a model.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace smelt::tools {

/// Adds the option, repeatable; `texts` is what the parser fills in.
CLI::Option* AddLora(CLI::App& command, std::vector<std::string>& texts);

/// Adapters and how strong each is. A name may have equals signs of its own.
std::vector<std::pair<std::string, double>> ParseAdapters(const std::vector<std::string>& texts);

}  // namespace smelt::tools
