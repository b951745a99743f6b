// smelt eval: perplexity, and KL divergence from a reference.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "smelt/evaluate.h"
#include "tools/adapters.h"
#include "tools/convert_command.h"
#include "tools/device.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

constexpr char kEvalExamples[] =
    "Examples:\n"
    "  smelt eval model.gguf --text eval.txt\n"
    "  smelt eval model-q4_k_m.gguf --text eval.txt --reference ./model --max-kl 0.1      for CI: "
    "exit 1 when missed\n"
    "  smelt eval model.gguf --text news.txt --text code.txt      each text's figures, and those "
    "of "
    "both\n"
    "  smelt eval ./base --lora ./my-adapter --reference ./base --text eval.txt\n"
    "  smelt eval model.gguf --tokens ids.json --logits-out logits.safetensors\n"
    "Protocol: llama-perplexity's (complete chunks of --context tokens, of each the second half is "
    "scored); of a text shorter than two contexts one chunk, as long as it goes. Arithmetic in "
    "f32, "
    "unless --activations q8. Bits per byte are of the bytes that the scored tokens stand for: "
    "they "
    "compare models of different vocabularies. With --reference both models must read the text "
    "alike.\n"
    "--json: model, device, context, chunks, tokens_scored, bytes_scored, perplexity, "
    "perplexity_error, "
    "mean_nll, bits_per_byte, seconds, tokens_per_second; texts, a list with each text's own "
    "figures and its number of tokens; reference; passed; gates.";

struct EvalArguments {
  EvaluateOptions options;
  std::string activations = "f32", max_ppl_increase;
  std::vector<std::string> adapters;
};

std::string Plural(uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

/// Whether the chunks of all texts are equally long.
bool SameContext(const EvaluateResult& r) {
  return std::all_of(r.texts.begin(), r.texts.end(), [&](const TextResult& text) {
    return text.chunks == 0 || text.context == r.context;
  });
}

void SayTexts(const EvaluateResult& r, Terminal& terminal) {
  terminal.Print(Left("by text", 18) + Left("perplexity", 22) + Left("bits/byte", 12) +
                 (r.reference ? Left("KL mean", 12) : "") + Left("tokens scored", 16) + "\n");
  for (const TextResult& t : r.texts) {
    const bool any = t.tokens_scored > 0;
    terminal.Print(
        Left("", 18) + Left(any ? PlusMinus(t.perplexity, t.perplexity_error, 6) : "-", 22) +
        Left(any && t.bits_per_byte ? Significant(*t.bits_per_byte, 4) : "-", 12) +
        (r.reference ? Left(any && t.kl_mean ? Significant(*t.kl_mean, 4) : "-", 12) : "") +
        Left(std::to_string(t.tokens_scored), 16) + OneLine(t.text, 200) + "\n");
  }
}

void SayResult(const EvaluateResult& r, Terminal& terminal) {
  const auto row = [&](const char* name, const std::string& value) {
    terminal.Print(Left(name, 18) + value + "\n");
  };
  row("model", OneLine(r.model, 300));
  if (r.device != "cpu") row("device", r.device);
  row("perplexity", PlusMinus(r.perplexity, r.perplexity_error, 6));
  if (r.bits_per_byte)
    row("bits per byte", Significant(*r.bits_per_byte, 4) + " (" + std::to_string(r.bytes_scored) +
                             " bytes scored)");
  if (r.reference) {
    const ReferenceResult& f = *r.reference;
    row("reference", OneLine(f.model, 300));
    row("  perplexity", Significant(f.perplexity, 6));
    row("  ln(ppl ratio)", PlusMinus(f.ln_ratio, f.ln_ratio_error, 6));
    row("  KL divergence", "mean " + Significant(f.kl_mean, 4) + ", median " +
                               Significant(f.kl_median, 4) + ", 99% " + Significant(f.kl_p99, 4) +
                               ", 99.9% " + Significant(f.kl_p999, 4) + ", max " +
                               Significant(f.kl_max, 4));
    row("  same top-1", Fixed(100 * f.top1_agreement, 2) + " %");
  }
  if (r.texts.size() > 1) SayTexts(r, terminal);
  row("scored", std::to_string(r.tokens_scored) + " tokens in " + Plural(r.chunks, "chunk") +
                    " of " + (SameContext(r) ? "" : "at most ") + std::to_string(r.context));
  if (r.seconds > 0)
    row("speed", Significant(r.tokens_per_second, 3) + " tokens/s, " + Duration(r.seconds));
  for (const GateResult& gate : r.gates) {
    row(gate.passed ? "passed" : "missed",
        gate.name + ": " + Significant(gate.value, 4) + ", limit " + Significant(gate.limit, 4));
  }
}

// A missed limit is a failure like any other: one line that says what.
void SayMissed(const EvaluateResult& result) {
  if (std::all_of(result.gates.begin(), result.gates.end(), [](const GateResult& gate) {
        return gate.passed || !std::isfinite(gate.value);
      })) {
    std::fputs("smelt: some logits are not finite: the model, or its reference, is broken\n",
               stderr);
    return;
  }
  std::string line = "smelt: the model misses its limits:";
  for (const GateResult& gate : result.gates) {
    if (gate.passed) continue;
    line += " " + gate.name + " is " + Significant(gate.value, 4) + ", at most " +
            Significant(gate.limit, 4) + " was asked for;";
  }
  line.back() = '\n';
  std::fputs(line.c_str(), stderr);
}

int RunEval(EvalArguments& arguments, Terminal& terminal) {
  EvaluateOptions& options = arguments.options;
  options.q8_activations = arguments.activations == "q8";
  options.adapters = ParseAdapters(arguments.adapters);
  if (!arguments.max_ppl_increase.empty()) {
    const absl::StatusOr<double> share =
        ParseShare(arguments.max_ppl_increase, "--max-ppl-increase");
    if (!share.ok()) return terminal.FailUsage(std::string(share.status().message()));
    options.max_ppl_increase = *share;
  }
  const absl::StatusOr<EvaluateResult> result = Evaluate(options, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  terminal.json() ? terminal.Print(ToJson(*result)) : SayResult(*result, terminal);
  if (result->passed) return kDone;
  SayMissed(*result);
  return kFailed;
}

}  // namespace

void AddEval(CLI::App& app, Invocation& invocation) {
  static EvalArguments a;
  CLI::App* command =
      app.add_subcommand("eval", "Perplexity of a model, and KL divergence from another");
  command->footer(kEvalExamples);
  EvaluateOptions& o = a.options;
  command->add_option("MODEL", o.model, "Model folder, GGUF or store name")->required();
  AddLora(*command, a.adapters);
  command
      ->add_option("--text", o.text_files,
                   "Text to predict (UTF-8; repeatable); - is standard input")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_option("--tokens", o.tokens_file, "Ids (a JSON list) instead of text")
      ->type_name("FILE");
  command
      ->add_option("--logits-out", o.logits_out,
                   "With --tokens: run one sequence, write its logits as safetensors")
      ->type_name("FILE");
  command->add_option("--reference", o.reference, "Compare with this model")->type_name("MODEL2");
  command->add_flag("--allow-tokenizer-mismatch", o.allow_tokenizer_mismatch,
                    "Compare although the models' vocabularies differ: both get MODEL's ids");
  AddNumber(*command, "-c,--context", o.context, "Tokens of a chunk (default 512)",
            {"number from 4 to 16777216", 4, 1 << 24});
  AddNumber(*command, "--chunks", o.chunks, "Evaluate only the first N chunks of each text",
            {"number from 0 on", 0, 1 << 30});
  command
      ->add_option("--activations", a.activations,
                   "f32 (exact), or q8: rounded to 8 bits as in llama.cpp")
      ->check(CLI::IsMember({"f32", "q8"}));
  AddDevice(*command, o.device);
  AddCacheType(*command, o.device);
  AddNumber(*command, "--max-ppl", o.max_ppl, "Exit 1 when the perplexity is larger", kLimit);
  command
      ->add_option("--max-ppl-increase", a.max_ppl_increase,
                   "Exit 1 when it is larger than the reference's by more")
      ->type_name("X%")
      ->check(IsShare);
  AddNumber(*command, "--max-kl", o.max_kl, "Exit 1 when the mean KL divergence is larger", kLimit);
  AddGlobals(*command, invocation);
  command->callback(
      [&invocation] { invocation.run = [](Terminal& terminal) { return RunEval(a, terminal); }; });
}

}  // namespace smelt::tools
