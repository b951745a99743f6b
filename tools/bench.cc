// smelt bench: how fast a model reads prompts and generates.
#include "smelt/bench.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/device.h"
#include "tools/format.h"
#include "tools/numbers.h"

namespace smelt::tools {
namespace {

struct BenchArguments {
  BenchOptions options;
};

nlohmann::ordered_json OrNull(const auto& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json SpeedJson(const std::optional<BenchSpeed>& speed) {
  if (!speed) return nullptr;
  return {{"median", speed->median}, {"low", speed->low}, {"high", speed->high}};
}

nlohmann::ordered_json CommandsJson(const std::optional<BenchCommands>& commands) {
  if (!commands) return nullptr;
  return {{"dispatches", commands->dispatches},
          {"barriers", commands->barriers},
          {"submits", commands->submits}};
}

std::string BenchJson(const BenchResult& result) {
  nlohmann::ordered_json types = nlohmann::ordered_json::object();
  for (const auto& [type, bytes] : result.types) types[type] = bytes;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const BenchRow& row : result.rows) {
    rows.push_back({{"threads", row.threads},
                    {"context", row.context},
                    {"prompt_tokens_per_second", SpeedJson(row.prompt)},
                    {"tokens_per_second", SpeedJson(row.generation)},
                    {"bytes_per_token", row.bytes_per_token},
                    {"operations_per_token", row.operations_per_token},
                    {"commands_per_token", CommandsJson(row.commands_per_token)},
                    {"read_bytes_per_second", OrNull(row.read_bandwidth)},
                    {"bandwidth_share", OrNull(row.bandwidth_share)}});
  }
  return nlohmann::ordered_json{{"model", result.model},
                                {"device", result.device},
                                {"device_layers", OrNull(result.device_layers)},
                                {"activations", result.activations},
                                {"types", std::move(types)},
                                {"repacked_bytes", result.repacked_bytes},
                                {"rows", std::move(rows)}}
             .dump() +
         "\n";
}

std::string SpeedText(const std::optional<BenchSpeed>& speed) {
  if (!speed) return "-";
  return Significant(speed->median, 4) + " (" + Significant(speed->low, 3) + " to " +
         Significant(speed->high, 3) + ")";
}

std::string SpeedOfMemory(const BenchRow& row) {
  if (!row.read_bandwidth) return "-";
  return (row.bandwidth_share ? Fixed(100 * *row.bandwidth_share, 0) + " % of " : std::string()) +
         Fixed(*row.read_bandwidth / 1e9, 1) + " GB/s";
}

std::string BenchText(const BenchResult& result) {
  std::string text =
      OneLine(result.model, 300) + (result.device == "cpu" ? "" : " on " + result.device);
  if (result.device_layers) text += " (" + std::to_string(*result.device_layers) + " layers)";
  text += ":";
  for (const auto& [type, bytes] : result.types) text += " " + type + " " + Bytes(bytes) + ",";
  text.back() = '\n';
  text += "activations in " + result.activations;
  if (result.repacked_bytes > 0)
    text += ", " + Bytes(result.repacked_bytes) + " of the weights repacked";
  text += "\n";
  text += Left("threads", 9) + Left("context", 9) + Left("prompt t/s", 26) +
          Left("generation t/s", 26) + Left("per token", 11) + "of memory's speed\n";
  for (const BenchRow& row : result.rows) {
    text += Left(std::to_string(row.threads), 9) + Left(std::to_string(row.context), 9) +
            Left(SpeedText(row.prompt), 26) + Left(SpeedText(row.generation), 26) +
            Left(Bytes(row.bytes_per_token), 11) + SpeedOfMemory(row) + "\n";
  }
  for (const BenchRow& row : result.rows) {
    if (!row.commands_per_token) continue;
    const BenchCommands& c = *row.commands_per_token;
    text += "a token behind " + std::to_string(row.context) + ": " +
            Significant(static_cast<double>(row.operations_per_token) / 1e9, 3) +
            " G operations, " + Significant(c.dispatches, 4) + " dispatches, " +
            Significant(c.barriers, 4) + " barriers, " + Significant(c.submits, 3) + " submits\n";
  }
  return text;
}

int RunBench(BenchArguments& a, const Globals& globals, Terminal& terminal) {
  if (a.options.threads.empty() && globals.threads > 0) a.options.threads = {globals.threads};
  const absl::StatusOr<BenchResult> result = Bench(a.options, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  terminal.Print(terminal.json() ? BenchJson(*result) : BenchText(*result));
  return kDone;
}

}  // namespace

void AddBench(CLI::App& app, Invocation& invocation) {
  static BenchArguments a;
  CLI::App* command =
      app.add_subcommand("bench", "How fast a model reads prompts and generates here");
  command->footer(
      "Examples:\n"
      "  smelt bench model-q4_k_m.gguf\n"
      "  smelt bench model-q4_k_m.gguf --context 0,4096 --threads 1,2,4 --json\n"
      "Each figure is the median of the repeats, with the lowest and the highest. A token that is\n"
      "generated reads every weight once (of experts the chosen ones) and the keys and values of\n"
      "what lies before: so many bytes, of so many a second that as many threads read here.\n"
      "--json: model; device, device_layers, activations; types, bytes of each; repacked_bytes;\n"
      "rows, a list of threads, context, prompt_tokens_per_second and tokens_per_second (median,\n"
      "low, high, or null), bytes_per_token, operations_per_token, commands_per_token (of a\n"
      "device: dispatches, barriers, submits; or null), read_bytes_per_second, bandwidth_share\n"
      "(of the processor; or null).");
  command->add_option("MODEL", a.options.model, "Model folder, GGUF or store name")->required();
  AddNumber(*command, "-p,--prompt", a.options.prompt,
            "Tokens of the prompt (default 512; 0: none)",
            {"number from 0 to 1000000", 0, 1'000'000});
  AddNumber(*command, "-n,--max-tokens", a.options.generate,
            "Tokens to generate (default 128; 0: none)",
            {"number from 0 to 1000000", 0, 1'000'000});
  AddNumbers(*command, "--context", a.options.contexts,
             "Tokens that lie before, one length or several (default 0)",
             {"number from 0 to 10000000", 0, 10'000'000});
  AddNumber(*command, "--repeat", a.options.repeats, "Repeats (default 5)",
            {"number from 1 to 1000", 1, 1000});
  AddActivations(*command, a.options.activations);
  AddDevice(*command, a.options.device);
  AddNoRepack(*command, a.options.repack);
  AddGenerationDevice(*command, a.options.device);
  AddNumbers(*command, "--threads", a.options.threads,
             "Worker threads, one number or several (default: the cores that the process may use)",
             {"number from 1 to 4096", 1, 4096});
  AddQuietAndJson(*command, invocation);
  command->callback([&invocation] {
    invocation.run = [&invocation](Terminal& terminal) {
      return RunBench(a, invocation.globals, terminal);
    };
  });
}

}  // namespace smelt::tools
