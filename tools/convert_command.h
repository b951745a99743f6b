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
  bool dry_run = false, vocab_only = false, no_fallback = false;
};

void AddConvertOptions(CLI::App& command, ConvertArguments& arguments, Invocation& invocation);

/// For the parser: what is wrong with a limit, a finite number that is not negative; empty when
/// nothing is. An empty text (a script's unset variable) is not a limit.
std::string IsLimit(const std::string& text);
/// The same of a share, "2%" or "0.02".
std::string IsShare(const std::string& text);

/// "2%" or "0.02" as 0.02.
absl::StatusOr<double> ParseShare(std::string_view text, std::string_view option);

}  // namespace smelt::tools
