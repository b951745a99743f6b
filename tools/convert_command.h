// Options and run of `convert`, which `quantize` shares.
#pragma once

#include <string>
#include <vector>

#include "smelt/convert.h"
#include "tools/commands.h"

namespace smelt::tools {

/// What the parser fills in.
struct ConvertArguments {
  ConvertOptions options;
  std::vector<std::string> tensor_types, metadata;
  std::string validate = "quick", max_ppl_increase;
  bool dry_run = false, vocab_only = false;
};

void AddConvertOptions(CLI::App& command, ConvertArguments& arguments, Invocation& invocation);

/// "2%" or "0.02" as 0.02.
absl::StatusOr<double> ParseShare(std::string_view text, std::string_view option);

}  // namespace smelt::tools
