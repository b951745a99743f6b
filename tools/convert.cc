// smelt convert: a published model (or a GGUF) to a checked GGUF.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "smelt/text.h"
#include "tools/adapters.h"
#include "tools/convert_command.h"
#include "tools/device.h"
#include "tools/format.h"
#include "tools/numbers.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

constexpr char kConvertExamples[] =
    "Examples:\n"
    "  smelt convert Llama-3.2-1B --type q4_k_m\n"
    "  smelt convert ./model -o model.gguf               16-bit: bf16 stays bf16, everything else "
    "f16\n"
    "  smelt convert part-00001-of-00003.gguf --type copy -o whole.gguf\n"
    "  smelt convert ./model --type q8_0 --split-size 4G -o big.gguf   big-00001-of-0000N.gguf\n"
    "  smelt convert ./model --type q4_k_m --tensor-type 'ffn_down=q6_k' --dry-run\n"
    "  smelt convert ./model --type q4_k_m,q5_k_m,q8_0 -o outputs/   three files from one read\n"
    "  smelt convert ./model --target-size 4.2G --effort best   each tensor's type chosen for "
    "that\n"
    "  smelt convert old.gguf --type copy --metadata general.name=Better -o new.gguf\n"
    "  smelt convert ./tokenizer-files --vocab-only -o vocab.gguf\n"
    "  smelt convert ./base --lora ./my-adapter --lora ./style=0.5 --type q4_k_m\n"
    "  smelt convert base-q4_k_m.gguf --lora ./my-adapter --type copy --allow-requantize\n"
    "  smelt convert ./my-adapter --base ./base --adapter-only -o my-adapter.gguf\n"
    "Types: auto f32 f16 bf16 q8_0 q6_k q5_k_m q5_k_s q5_1 q5_0 q4_k_m q4_k_s q4_1 q4_0 iq4_nl "
    "iq4_xs nvfp4 mxfp4_moe q3_k_l q3_k_m q3_k_s iq3_m iq3_s iq3_xs iq3_xxs q2_k q2_k_s q2_0 iq2_m "
    "iq2_s iq2_xs iq2_xxs tq2_0 tq1_0 iq1_m iq1_s q1_0 copy.\n"
    "The result is evaluated against the source before it gets its name, with --device on a "
    "graphics card; what decides bytes is computed on the processor. An interrupted run "
    "resumes when it is started again.";

absl::Status Usage(std::string message) { return absl::InvalidArgumentError(std::move(message)); }

// REGEX=TYPE, split at the last equals sign.
bool Split(const std::string& text, std::vector<std::pair<std::string, std::string>>& out) {
  const size_t at = text.rfind('=');
  if (at == std::string::npos || at == 0) return false;
  out.emplace_back(text.substr(0, at), text.substr(at + 1));
  return true;
}

// "q4_k_m,q8_0": its parts.
std::vector<std::string> SplitTypes(const std::string& text) {
  std::vector<std::string> types;
  size_t begin = 0;
  for (size_t end = 0; end != std::string::npos; begin = end + 1) {
    end = text.find(',', begin);
    types.push_back(text.substr(begin, end == std::string::npos ? end : end - begin));
  }
  return types;
}

// What went wrong with some of the outputs; ok where nothing did.
absl::Status Failure(const std::vector<ConvertOutcome>& outcomes) {
  size_t failed = 0;
  absl::Status first;
  for (const ConvertOutcome& o : outcomes) {
    failed += o.status.ok() ? 0 : 1;
    first.Update(o.status);
  }
  if (failed < 2) return first;
  // Which, the table says; what to do about it, the first.
  absl::Status all(first.code(), std::to_string(failed) + " of " + std::to_string(outcomes.size()) +
                                     " outputs failed; " + std::string(first.message()));
  first.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { all.SetPayload(url, payload); });
  return all;
}

/// One output of each type.
int RunSeveral(const ConvertArguments& arguments, const std::vector<std::string>& types,
               Terminal& terminal) {
  ConvertOptions options = arguments.options;
  const Observer observer = terminal.MakeObserver();
  if (arguments.dry_run) {
    const absl::StatusOr<std::vector<PlanSummary>> plans =
        PlanConversions(options, types, observer);
    if (!plans.ok()) return terminal.Fail(plans.status());
    if (terminal.json()) terminal.Print(ToJson(*plans));
    for (const PlanSummary& plan : *plans)
      if (!terminal.json()) PrintPlan(plan, terminal);
    return kDone;
  }
  bool told = false;
  options.on_plan = [&](const PlanSummary& plan) {
    if (!std::exchange(told, true)) SayPlan(plan, terminal);
  };
  const absl::StatusOr<std::vector<ConvertOutcome>> outcomes =
      ConvertToTypes(options, types, observer);
  if (!outcomes.ok()) return terminal.Fail(outcomes.status());
  SayOutcomes(*outcomes, terminal);
  const absl::Status failure = Failure(*outcomes);
  if (!failure.ok()) return terminal.Fail(failure, ListToJson(*outcomes), "outputs");
  if (terminal.json()) terminal.Print(ToJson(*outcomes));
  return kDone;
}

int RunVocabulary(const ConvertOptions& options, const Observer& observer, Terminal& terminal) {
  VocabularyRequest request;
  request.source = options.source;
  request.output = options.output;
  request.pre = options.pre;
  request.allow_tokenizer_mismatch = options.allow_tokenizer_mismatch;
  request.force = options.force;
  request.metadata = options.metadata;
  const absl::StatusOr<VocabularyResult> result = ConvertVocabulary(request, observer);
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
    return kDone;
  }
  terminal.Say("writing   " + OneLine(result->output, 300) + "   " +
               OneLine(result->tokenizer, 40) +
               (result->pre.empty() ? "" : ", " + OneLine(result->pre, 40)) + ", " +
               std::to_string(result->tokens) + " tokens, " + Bytes(result->bytes));
  terminal.Say("done      " + OneLine(result->output, 300) + "        try: smelt tokenize " +
               ShellQuoted(result->output) + " \"Once upon a time\"");
  return kDone;
}

int RunConvert(ConvertArguments& arguments, Terminal& terminal) {
  if (const std::string problem = Complete(arguments); !problem.empty())
    return terminal.FailUsage(problem);
  ConvertOptions& options = arguments.options;
  if (const std::vector<std::string> types = SplitTypes(options.type); types.size() > 1)
    return RunSeveral(arguments, types, terminal);
  const Observer observer = terminal.MakeObserver();
  if (arguments.vocab_only) return RunVocabulary(options, observer, terminal);
  if (arguments.dry_run) {
    const absl::StatusOr<PlanSummary> plan = PlanConversion(options, observer);
    if (!plan.ok()) return terminal.Fail(plan.status());
    terminal.json() ? terminal.Print(ToJson(*plan)) : PrintPlan(*plan, terminal);
    return kDone;
  }
  options.on_plan = [&](const PlanSummary& plan) { SayPlan(plan, terminal); };
  std::optional<EvaluateResult> missed;
  options.on_validation = [&](const EvaluateResult& validation) {
    if (!validation.passed) missed = validation;
  };
  const absl::StatusOr<ConvertResult> result = Convert(options, observer);
  if (!result.ok()) {
    if (!missed) return terminal.Fail(result.status());
    SayValidation(*missed, options.type, terminal);
    return terminal.Fail(result.status(), ToJson(*missed));
  }
  terminal.json() ? terminal.Print(ToJson(*result)) : SayResult(*result, terminal);
  return kDone;
}

}  // namespace

std::string Complete(ConvertArguments& a) {
  ConvertOptions& o = a.options;
  o.tensor_types.clear();
  o.metadata.clear();
  for (const std::string& text : a.tensor_types) {
    if (!Split(text, o.tensor_types))
      return "--tensor-type \"" + text + "\": write REGEX=TYPE, such as ffn_down=q6_k";
  }
  for (const std::string& text : a.metadata) {
    absl::StatusOr<MetadataEdit> edit = ParseMetadataEdit(text);
    if (!edit.ok()) return "--metadata " + std::string(edit.status().message());
    o.metadata.push_back(*std::move(edit));
  }
  o.adapters = ParseAdapters(a.adapters);
  o.allow_fallback = !a.no_fallback;
  o.validate = a.validate == "off"    ? Validate::kOff
               : a.validate == "full" ? Validate::kFull
                                      : Validate::kQuick;
  if (!a.max_ppl_increase.empty()) {
    const absl::StatusOr<double> share = ParseShare(a.max_ppl_increase, "--max-ppl-increase");
    if (!share.ok())
      return std::string(share.status().message().data(), share.status().message().size());
    o.max_ppl_increase = *share;
  }
  if (o.validate == Validate::kOff && (o.max_ppl_increase || o.max_kl))
    return "--max-ppl-increase and --max-kl are limits of the check, which --validate off leaves "
           "out";
  return "";
}

std::string IsShare(const std::string& text) {
  const absl::StatusOr<double> share = ParseShare(text, "");
  return share.ok() ? "" : "\"" + OneLine(text, 40) + "\" is not a share: write 2% or 0.02";
}

absl::StatusOr<double> ParseShare(std::string_view text, std::string_view option) {
  const bool percent = text.ends_with('%');
  const std::optional<double> number =
      ParseNumber<double>(percent ? text.substr(0, text.size() - 1) : text);
  if (!number || *number < 0 || (!percent && *number >= 1)) {
    return Usage(std::string(option) + " \"" + OneLine(text, 40) +
                 "\": write a share such as 2% or 0.02");
  }
  return percent ? *number / 100 : *number;
}

void AddConversionOptions(CLI::App& command, ConvertArguments& a) {
  ConvertOptions& o = a.options;
  command
      .add_option("-t,--type", o.type,
                  "Type of the weights (default: auto); convert and quantize take several, "
                  "q4_k_m,q8_0: an output of each from one read")
      ->type_name("T");
  command.add_flag("--pure", o.pure, "One type for all matrices instead of the preset's mixture");
  command.add_option("--output-tensor-type", o.output_tensor_type, "Type of output.weight")
      ->type_name("T");
  command.add_option("--token-embedding-type", o.token_embedding_type, "Type of token_embd.weight")
      ->type_name("T");
  command
      .add_option("--tensor-type", a.tensor_types,
                  "Type of tensors whose name matches (repeatable)")
      ->type_name("REGEX=T")
      ->allow_extra_args(false);
  command
      .add_option(
          "--metadata", a.metadata,
          "Set a GGUF key, KEY=@FILE to a file's content, or remove one, KEY- (repeatable); "
          "VALUE may be TYPE:VALUE, e.g. u32:5, and for an id the token's text")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command.add_flag("--no-fallback", a.no_fallback,
                   "Refuse where a type's blocks do not divide a tensor's rows, instead of taking "
                   "a type that fits");
  command
      .add_option("--effort", o.effort,
                  "What is done for a smaller loss: fast (least squared error), normal (default: "
                  "what matters more is kept more exact), or best (weights are rounded together, "
                  "by what goes into them on a calibration text; takes many times as long)")
      ->check(CLI::IsMember({"fast", "normal", "best"}));
  command.add_flag("--allow-requantize", o.allow_requantize,
                   "Accept a source that is quantized already (errors add up)");
  command
      .add_option(
          "--imatrix", o.imatrix,
          "Importance matrix (GGUF or .dat, as `smelt imatrix` or llama-imatrix writes it): "
          "columns whose inputs are large are kept more exact; auto: gathered from a text while "
          "OUT is written")
      ->type_name("FILE|auto");
  command
      .add_option("--calibration", o.calibration_files,
                  "Text (UTF-8; repeatable) that --effort best and --imatrix auto gather on "
                  "(default: a bundled one)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  AddNumber(command, "--calibration-tokens", o.calibration_tokens,
            "How many tokens of it, at most (default: by the model's size)",
            {"number from 1 on", 1, 1 << 30});
  command
      .add_option("--statistics", o.statistics,
                  "Keep what --effort best and --imatrix auto gather: written if absent, read "
                  "instead if present, so that the same OUT can be made again on any machine "
                  "(--dry-run says how large)")
      ->type_name("FILE");
  AddLora(command, a.adapters);
  command
      .add_option(
          "--base", o.base,
          "The model that SRC, an adapter, belongs to: a folder or a GGUF (default: as the adapter "
          "says)")
      ->type_name("DIR");
  command.add_option("--pre", o.pre, "Use this pre-tokenizer name")->type_name("NAME");
  command.add_flag("--allow-tokenizer-mismatch", o.allow_tokenizer_mismatch,
                   "Go on although the GGUF vocabulary encodes some text differently");
  command
      .add_option("--validate", a.validate,
                  "Check of the result against the source: quick, full or off")
      ->check(CLI::IsMember({"quick", "full", "off"}));
  command
      .add_option("--text", o.text_files,
                  "Text of the check (UTF-8; repeatable; default: a bundled one)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  AddDevice(command, o.device, "What computes the check");
  command
      .add_option("--max-ppl-increase", a.max_ppl_increase,
                  "Largest accepted increase of perplexity, e.g. 2%")
      ->type_name("X%")
      ->check(IsShare);
  AddNumber(command, "--max-kl", o.max_kl, "Largest accepted mean KL divergence", kLimit);
}

void AddConvertOptions(CLI::App& command, ConvertArguments& a, Invocation& invocation) {
  ConvertOptions& o = a.options;
  command
      .add_option("-o,--output", o.output,
                  "File to write (or an existing folder; with several types a folder, DIR/ is "
                  "made); default: NAME-TYPE.gguf here, of a size to order NAME-SIZE.gguf")
      ->type_name("OUT");
  AddConversionOptions(command, a);
  CLI::Option* size =
      command
          .add_option_function<std::string>(
              "--split-size", [&o](const std::string& text) { o.split_size = *ParseBytes(text); },
              "Write parts OUT-00001-of-0000N.gguf of at most this size: 4G, 500M (powers of "
              "1000)")
          ->type_name("SIZE")
          ->check([](const std::string& text) {
            return ParseBytes(text) ? std::string() : NotAllowed(text, "size: write 4G or 500M");
          });
  command
      .add_option_function<std::string>(
          "--target-size", [&o](const std::string& text) { o.target_size = *ParseBytes(text); },
          "Choose each tensor's type so that OUT takes at most this, 4.2G (powers of 1000), and "
          "loses least: what errors in each cost is measured first")
      ->type_name("SIZE")
      ->check([](const std::string& text) {
        return ParseBytes(text) ? std::string() : NotAllowed(text, "size: write 4.2G or 500M");
      });
  AddNumber(command, "--target-bpw", o.target_bpw, "The same for so many bits per weight",
            {"number of bits: write 4.25", 0.5})
      ->excludes(command.get_option("--target-size"));
  command
      .add_option(
          "--tensor-type-file", o.tensor_types_file,
          "Rows REGEX=T, as --tensor-type has them; with a size to order written if absent, "
          "taken instead of measuring if present")
      ->type_name("FILE");
  AddNumber(command, "--split-tensors", o.split_tensors, "Write parts of at most N tensors",
            {"number of tensors from 1 on", uint64_t{1}})
      ->excludes(size);
  command.add_flag("--dry-run", a.dry_run,
                   "Print the plan: every tensor, type and why, exact bytes; write nothing");
  command.add_option("--plan", o.plan_file, "Plan as JSON: written if absent, replayed if present")
      ->type_name("FILE");
  command.add_flag(
      "--keep-rejected", o.keep_rejected,
      "Keep a result that missed the check as OUT.rejected (a new file, unless --force)");
  command.add_flag("-f,--force", o.force, "Replace an existing OUT");
  AddGlobals(command, invocation);
  command.callback([&a, &invocation] {
    invocation.run = [&a](Terminal& terminal) { return RunConvert(a, terminal); };
  });
}

void AddConvert(CLI::App& app, Invocation& invocation) {
  static ConvertArguments arguments;
  CLI::App* command = app.add_subcommand(
      "convert", "A model to a GGUF, quantized on the way, checked against its source");
  command->footer(kConvertExamples);
  command
      ->add_option(
          "SRC", arguments.options.source,
          "Model folder, hub snapshot, GGUF or store name; with --vocab-only also tokenizer "
          "files")
      ->required();
  AddConvertOptions(*command, arguments, invocation);
  command
      ->add_option("--mtp", arguments.options.mtp,
                   "Draft head (multi-token prediction): keep or drop; default: kept where a GGUF "
                   "has a place for it")
      ->check(CLI::IsMember({"keep", "drop"}));
  command->add_flag("--adapter-only", arguments.options.adapter_only,
                    "Write the adapter (SRC, or that of --lora) as a GGUF of its own, which "
                    "llama.cpp loads beside the base (f32, f16 or bf16)");
  CLI::Option* vocab_only = command->add_flag(
      "--vocab-only", arguments.vocab_only,
      "Write the vocabulary alone, from the tokenizer files alone: a GGUF without tensors");
  // What is about weights has nothing to act on.
  for (const char* name : {"--type",
                           "--pure",
                           "--output-tensor-type",
                           "--token-embedding-type",
                           "--tensor-type",
                           "--no-fallback",
                           "--effort",
                           "--allow-requantize",
                           "--imatrix",
                           "--calibration",
                           "--calibration-tokens",
                           "--statistics",
                           "--split-size",
                           "--split-tensors",
                           "--target-size",
                           "--target-bpw",
                           "--tensor-type-file",
                           "--dry-run",
                           "--plan",
                           "--validate",
                           "--text",
                           "--device",
                           "--device-memory",
                           "--no-device-check",
                           "--max-ppl-increase",
                           "--max-kl",
                           "--keep-rejected",
                           "--mtp",
                           "--adapter-only"})
    vocab_only->excludes(command->get_option(name));
}

}  // namespace smelt::tools
