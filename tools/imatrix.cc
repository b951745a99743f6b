// smelt imatrix: importance matrices made, merged, shown.
#include "smelt/imatrix.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "tools/adapters.h"
#include "tools/commands.h"
#include "tools/device.h"
#include "tools/format.h"
#include "tools/numbers.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

constexpr char kImatrixExamples[] =
    "Examples:\n"
    "  smelt imatrix ./model --text calibration.txt -o model.imatrix.gguf\n"
    "  smelt convert ./model --type q4_k_m --imatrix model.imatrix.gguf\n"
    "  smelt imatrix --merge prose.gguf code.gguf -o both.gguf\n"
    "  smelt imatrix --show model.imatrix.gguf\n"
    "The importance of a column of a weight matrix is the mean square of its inputs on the text. "
    "Files are llama-imatrix's: GGUF, or .dat where -o ends so. Text is cut as `smelt eval` cuts "
    "it, and every position counts; the model is read once, however long the text is.\n"
    "--json: file, format, datasets, chunks, chunk_size, bytes, tokens, seconds, device; tensors, "
    "a list "
    "of "
    "name, columns, values, zeros, mean, smallest, largest, and tokens: how many went into each of "
    "the tensor's experts.";

struct ImatrixArguments {
  ImportanceOptions options;
  std::vector<std::string> merge, adapters;
  std::string show;
};

/// "12 of 64 experts", or nothing to say of a tensor without any.
std::string Coverage(const ImportanceTensor& t) {
  if (t.tokens.size() < 2) return "";
  const auto seen = std::ranges::count_if(t.tokens, [](uint64_t n) { return n > 0; });
  return std::to_string(seen) + " of " + std::to_string(t.tokens.size());
}

/// "16384", or the least and the most that one of the experts saw.
std::string Tokens(const ImportanceTensor& t) {
  const auto [least, most] = std::ranges::minmax(t.tokens);
  return least == most ? std::to_string(most)
                       : std::to_string(least) + " to " + std::to_string(most);
}

void PrintTensors(const ImportanceSummary& s, Terminal& terminal) {
  std::string text = Left("tensor", 34) + Left("columns", 9) + Left("experts seen", 14) +
                     Left(s.format == "dat" ? "chunks" : "tokens", 16) + Left("mean", 11) +
                     Left("smallest", 11) + Left("largest", 11) + "always 0\n";
  for (const ImportanceTensor& t : s.tensors) {
    text += Left(OneLine(t.name, 60), 34) +
            Left(std::to_string(t.columns ? t.columns : t.values), 9) + Left(Coverage(t), 14) +
            Left(Tokens(t), 16) + Left(Significant(t.mean, 4), 11) +
            Left(Significant(t.smallest, 4), 11) + Left(Significant(t.largest, 4), 11) +
            std::to_string(t.zeros) + "\n";
  }
  std::string texts;
  for (const std::string& name : s.datasets)
    texts += (texts.empty() ? "" : ", ") + OneLine(name, 80);
  text += "\n" + OneLine(s.file, 300) + ": " + std::to_string(s.tensors.size()) + " tensors, " +
          std::to_string(s.chunks) + " chunks";
  if (s.chunk_size > 0) text += " of " + std::to_string(s.chunk_size) + " tokens";
  terminal.Print(text + (texts.empty() ? "" : " of " + texts) + "\n");
}

void SayDone(const ImportanceSummary& s, Terminal& terminal) {
  std::string line = "done      " + OneLine(s.file, 300) + "   " +
                     std::to_string(s.tensors.size()) + " tensors, " + Bytes(s.bytes);
  if (s.seconds > 0) {
    line += ", " + std::to_string(s.tokens) + " tokens, " +
            Significant(static_cast<double>(s.tokens) / s.seconds, 3) + " tokens/s, " +
            Duration(s.seconds);
  }
  terminal.Say(line);
}

absl::StatusOr<ImportanceSummary> Do(const ImatrixArguments& a, const Observer& observer) {
  if (!a.show.empty()) return ShowImportance(a.show, observer);
  if (a.merge.empty()) {
    ImportanceOptions options = a.options;
    options.adapters = ParseAdapters(a.adapters);
    return MakeImportance(options, observer);
  }
  return MergeImportance(a.merge, a.options.output, a.options.force, observer);
}

int RunImatrix(const ImatrixArguments& a, Terminal& terminal) {
  const int jobs =
      (a.options.model.empty() ? 0 : 1) + (a.merge.empty() ? 0 : 1) + (a.show.empty() ? 0 : 1);
  if (jobs != 1) return terminal.FailUsage("one of MODEL, --merge and --show is needed");
  const absl::StatusOr<ImportanceSummary> result = Do(a, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
  } else if (!a.show.empty()) {
    PrintTensors(*result, terminal);
  } else {
    SayDone(*result, terminal);
  }
  return kDone;
}

}  // namespace

void AddImatrix(CLI::App& app, Invocation& invocation) {
  static ImatrixArguments a;
  CLI::App* command = app.add_subcommand(
      "imatrix", "What matters in a model's weights, measured on text, for convert and quantize");
  command->footer(kImatrixExamples);
  ImportanceOptions& o = a.options;
  command->add_option("MODEL", o.model, "Model folder, GGUF or store name");
  CLI::Option* text =
      command->add_option("--text", o.text_files, "Text (UTF-8; repeatable); - is standard input")
          ->type_name("FILE")
          ->allow_extra_args(false);
  command->add_option("-o,--output", o.output, "File to write: .gguf, or .dat for the older format")
      ->type_name("OUT");
  std::vector<CLI::Option*> made = {
      text,
      AddNumber(*command, "-c,--context", o.context, "Tokens of a chunk (default 512)",
                {"number from 4 to 16777216", 4, 1 << 24}),
      AddNumber(*command, "--chunks", o.chunks, "Use only the first N chunks of each text",
                {"number from 0 on", 0, 1 << 30}),
      command->add_flag("--process-output", o.process_output,
                        "Also of output.weight, where a model has one"),
      AddLora(*command, a.adapters)};
  for (CLI::Option* option : AddDevice(*command, o.device)) made.push_back(option);
  CLI::Option* merge =
      command->add_option("--merge", a.merge, "Add up these files into OUT")->type_name("FILE");
  CLI::Option* show =
      command->add_option("--show", a.show, "Print what a file says of each tensor and its experts")
          ->type_name("FILE");
  merge->excludes(show);
  for (CLI::Option* option : made) {
    merge->excludes(option);
    show->excludes(option);
  }
  command->add_flag("-f,--force", o.force, "Replace an existing OUT");
  AddGlobals(*command, invocation);
  command->callback([&invocation] {
    invocation.run = [](Terminal& terminal) { return RunImatrix(a, terminal); };
  });
}

}  // namespace smelt::tools
