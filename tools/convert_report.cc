// What convert says of its plans, checks and results.
#include <cctype>
#include <span>
#include <string>
#include <vector>

#include "smelt/text.h"
#include "tools/convert_command.h"
#include "tools/format.h"
#include "tools/usage.h"

namespace smelt::tools {
namespace {

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// A line of the check's table: an output, its figures, and what else there is to say of it.
struct ValidationRow {
  std::string type;
  const EvaluateResult* validation = nullptr;
  std::string more;
};

constexpr size_t kPerplexityWidth = 20;

std::string FiguresOf(const ValidationRow& row) {
  const EvaluateResult& v = *row.validation;
  const ReferenceResult& r = *v.reference;
  return "  " + Left(Lower(row.type), 10) +
         Left(PlusMinus(v.perplexity, v.perplexity_error, 4), kPerplexityWidth) +
         Left(Significant(r.kl_mean, 3), 10) + Left(Significant(r.kl_p99, 3), 10) +
         Left(Fixed(100 * r.top1_agreement, 1) + " %", row.more.empty() ? 0 : 12) + row.more;
}

/// `more`: the heading of what rows have besides.
void SayValidations(std::span<const ValidationRow> rows, const std::string& more,
                    Terminal& terminal) {
  const EvaluateResult& v = *rows[0].validation;
  const ReferenceResult& r = *v.reference;
  uint64_t tokens = 0;
  for (const TextResult& text : v.texts) tokens += text.context * text.chunks;
  terminal.Say("checking  " + std::to_string(tokens) + " tokens against the source, " +
               Duration(v.seconds));
  terminal.Say("            " + Left("perplexity", kPerplexityWidth) + Left("KL mean", 10) +
               Left("KL p99", 10) + Left("same top-1", more.empty() ? 0 : 12) + more);
  // The error bar is that of the output's own perplexity; the source's on the same text is as
  // large.
  terminal.Say("  " + Left("source", 10) +
               PlusMinus(r.perplexity, v.perplexity_error * r.perplexity / v.perplexity, 4));
  for (const ValidationRow& row : rows) terminal.Say(FiguresOf(row));
}

std::string SizeOf(const ConvertOutcome& outcome) {
  if (!outcome.status.ok()) return "not written";
  return Left(Bytes(outcome.result.bytes), 11) + Fixed(outcome.result.bits_per_weight, 2);
}

}  // namespace

void PrintPlan(const PlanSummary& plan, Terminal& terminal) {
  std::string text = Left("offset", 14) + Left("bytes", 13) + Left("type", 7) + Left("from", 6) +
                     Left("shape", 20) + Left("tensor", 30) + " why\n";
  size_t file = 0;
  for (const PlannedTensorInfo& t : plan.tensors) {
    if (plan.files.size() > 1 && (&t == plan.tensors.data() || t.file != file)) {
      file = t.file;
      text += OneLine(plan.files[file].path, 300) + ": " + Bytes(plan.files[file].bytes) + "\n";
    }
    text += Left(std::to_string(t.offset), 14) + Left(std::to_string(t.bytes), 13) +
            Left(Lower(t.type), 7) + Left(Lower(t.source_type) + " ", 6) +
            Left(ShapeText(t.shape), 20) + Left(OneLine(t.name, 80), 30) + " " +
            OneLine(t.why, 200) + "\n";
  }
  const std::string parts =
      plan.files.size() == 1 ? "" : std::to_string(plan.files.size()) + " parts, ";
  text += "\n" + OneLine(plan.output, 300) + ": " + parts + std::to_string(plan.tensors.size()) +
          " tensors, " + std::to_string(plan.file_bytes) + " bytes (" + Bytes(plan.file_bytes) +
          "), " + Fixed(plan.bits_per_weight, 2) + " bits/weight, about " +
          Mebibytes(plan.memory_bytes) + " of memory; nothing was written\n";
  text += "walk: " + plan.walk + "\n";
  if (!plan.importance.empty()) text += "importance: " + OneLine(plan.importance, 200) + "\n";
  terminal.Print(text);
}

void SayResult(const ConvertResult& result, Terminal& terminal) {
  const size_t others = result.files.size() - 1;
  const std::string output =
      OneLine(result.output, 300) +
      (others == 0 ? "" : " and " + std::to_string(others) + " more of its parts");
  const double checking = result.validation ? result.validation->seconds : 0;
  terminal.Say("writing   " + output + "   " + Bytes(result.bytes) + "  " +
               Fixed(result.bits_per_weight, 2) + " bits/weight  " +
               Duration(result.seconds - checking) + "  peak " +
               Mebibytes(result.peak_anonymous_bytes));
  if (result.validation) SayValidation(*result.validation, result.type, terminal);
  // Bare matrices cannot be run; what was not checked gets no advice.
  const std::string advice =
      result.validation
          ? "        try: smelt run " + ShellQuoted(result.output) + " \"Once upon a time\""
          : "";
  terminal.Say("done      " + OneLine(result.output, 300) + advice);
}

void SayOutcomes(const std::vector<ConvertOutcome>& outcomes, Terminal& terminal) {
  std::vector<ValidationRow> rows;
  for (const ConvertOutcome& o : outcomes) {
    if (o.result.validation) rows.push_back({o.type, &*o.result.validation, SizeOf(o)});
  }
  const ConvertResult& any = outcomes[0].result;
  terminal.Say("writing   " + std::to_string(outcomes.size()) + " outputs   " +
               Duration(any.seconds - (rows.empty() ? 0 : rows[0].validation->seconds)) +
               "  peak " + Mebibytes(any.peak_anonymous_bytes));
  if (!rows.empty()) SayValidations(rows, "size       bits/weight", terminal);
  for (const ConvertOutcome& o : outcomes) {
    if (!o.status.ok()) continue;
    terminal.Say("done      " + OneLine(o.output, 300) +
                 (rows.empty() ? "   " + Bytes(o.result.bytes) + "  " +
                                     Fixed(o.result.bits_per_weight, 2) + " bits/weight"
                               : ""));
  }
}

void SayPlan(const PlanSummary& plan, Terminal& terminal) {
  std::string line = "reading   " + OneLine(plan.source, 200) + "   ";
  if (!plan.architecture.empty()) line += OneLine(plan.architecture, 40) + ", ";
  line += Count(plan.parameters) + " parameters, " + Lower(plan.source_type);
  if (!plan.tokenizer.empty()) line += ", tokenizer " + OneLine(plan.tokenizer, 40);
  terminal.Say(line);
}

void SayValidation(const EvaluateResult& v, const std::string& type, Terminal& terminal) {
  const ValidationRow row{type, &v, ""};
  SayValidations({&row, 1}, "", terminal);
}

}  // namespace smelt::tools
