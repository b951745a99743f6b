// Options and run of `convert`, which `quantize` shares.
#pragma once

#include <string>
#include <vector>

#include "smelt/convert.h"
#include "tools/commands.h"
#include "tools/numbers.h"

namespace smelt::tools {

/// What the parser fills in.
struct ConvertArguments {
  ConvertOptions options;
  std::vector<std::string> tensor_types, metadata, adapters;
  std::string validate = "quick", max_ppl_increase;
  bool dry_run = false, vocab_only = false, no_fallback = false;
};

/// How weights become a GGUF, and how that is checked: for every command that makes one.
void AddConversionOptions(CLI::App& command, ConvertArguments& arguments);

/// The same, with an output file and the command's run.
void AddConvertOptions(CLI::App& command, ConvertArguments& arguments, Invocation& invocation);

/// Turns the parser's texts into options; what is wrong with them, or an empty string.
std::string Complete(ConvertArguments& arguments);

/// A plan in full, as what was asked for.
void PrintPlan(const PlanSummary& plan, Terminal& terminal);
/// What came of it, with the figures of the check.
void SayResult(const ConvertResult& result, Terminal& terminal);
/// Of several outputs, in one table.
void SayOutcomes(const std::vector<ConvertOutcome>& outcomes, Terminal& terminal);
/// The terminal's lines about a plan and about the figures of its check.
void SayPlan(const PlanSummary& plan, Terminal& terminal);
void SayValidation(const EvaluateResult& validation, const std::string& type, Terminal& terminal);

/// What a limit of the check may be.
inline const Allowed<double> kLimit = {"limit: write a number such as 0.05", 0.0};

/// For the parser: what is wrong with a share that is not negative, "2%" or "0.02"; empty when
/// nothing is.
std::string IsShare(const std::string& text);

/// "2%" or "0.02" as 0.02.
absl::StatusOr<double> ParseShare(std::string_view text, std::string_view option);

}  // namespace smelt::tools
