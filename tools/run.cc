// smelt run: text from a model.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "smelt/generate.h"
#include "tools/adapters.h"
#include "tools/chat.h"
#include "tools/commands.h"
#include "tools/device.h"
#include "tools/format.h"
#include "tools/numbers.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

constexpr char kRunExamples[] =
    "Examples:\n"
    "  smelt run model.gguf \"Once upon a time\"\n"
    "  smelt run ./model \"The capital of France is\" -n 20 --temp 0\n"
    "  smelt run model.gguf --prompt-file story.txt --stop \"The end\"\n"
    "  git log -1 | smelt run model.gguf              the prompt from a pipe\n"
    "  smelt run model.gguf -- \"- a list\"            a prompt that begins with a dash\n"
    "  smelt run model.gguf --chat                    a conversation, by the model's chat "
    "template\n"
    "  smelt run model.gguf --chat \"What is a star?\"  one question\n"
    "Ctrl-C stops the text. --json says why it ended: finish_reason is stop (the model's end or a\n"
    "--stop text), length (-n) or interrupted.";

struct RunArguments {
  GenerateOptions options;
  std::optional<std::string> prompt;
  std::string ids_file;
  bool chat = false;
  ChatArguments conversation;
  std::vector<std::string> adapters;
};

constexpr int64_t kMostTokens = 1'000'000'000'000;  // more are a mistake

// The ids of --prompt-ids; an empty string when all is well.
std::string ReadIds(const std::string& path, std::vector<int32_t>& ids) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return OneLine(path, 200) + " cannot be read";
  const nlohmann::json json = nlohmann::json::parse(text.str(), nullptr, false);
  if (!json.is_array()) return OneLine(path, 200) + " holds no JSON list of token ids";
  for (const nlohmann::json& item : json) {
    if (!item.is_number_integer() || item < 0 || item > INT32_MAX) {
      return OneLine(path, 200) + ": element " + std::to_string(ids.size()) + " is no token id";
    }
    ids.push_back(item.get<int32_t>());
  }
  return "";
}

int RunRun(RunArguments& arguments, Terminal& terminal) {
  GenerateOptions& options = arguments.options;
  options.adapters = ParseAdapters(arguments.adapters);
  if (arguments.chat) {
    if (!arguments.ids_file.empty())
      return terminal.FailUsage(
          "--chat and --prompt-ids exclude each other: a conversation is text");
    arguments.conversation.prompt = arguments.prompt;
    return RunChat(options, arguments.conversation, terminal);
  }
  const int given = (arguments.prompt ? 1 : 0) + (arguments.ids_file.empty() ? 0 : 1) +
                    (options.prompt_file.empty() ? 0 : 1);
  if (given > 1) return terminal.FailUsage("give one of PROMPT, --prompt-file and --prompt-ids");
  if (given == 0 && isatty(STDIN_FILENO) != 0) {
    return terminal.FailUsage(
        "give a PROMPT, --prompt-file FILE or --prompt-ids FILE, or pipe a text in; try `smelt run "
        "--help`");
  }
  options.prompt = arguments.prompt.value_or("");
  if (given == 0 || options.prompt == "-") options.prompt_file = "-";
  if (!arguments.ids_file.empty()) {
    options.use_prompt_ids = true;
    if (const std::string problem = ReadIds(arguments.ids_file, options.prompt_ids);
        !problem.empty()) {
      return terminal.FailInput(problem);
    }
  }
  if (!terminal.json()) options.on_text = [&](std::string_view piece) { terminal.Print(piece); };
  Observer observer = terminal.MakeObserver();
  observer.cancelled = [&, asked = observer.cancelled] { return asked() || terminal.OutputLost(); };
  const absl::StatusOr<GenerateResult> result = Generate(options, observer);
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
  } else if (!result->text.ends_with('\n')) {
    terminal.Print("\n");
  }
  const std::string generated = std::to_string(result->ids.size());
  if (terminal.OutputLost()) return kFailed;  // Finish says so
  if (result->finish_reason == FinishReason::kInterrupted)
    return terminal.FailInterrupted("interrupted after " + generated + " generated tokens");
  if (terminal.json()) return kDone;
  std::string note = "prompt " + std::to_string(result->prompt_ids.size()) + " tokens at " +
                     Significant(result->prompt_tokens_per_second, 3) + " tokens/s, generated " +
                     generated + " at " + Significant(result->tokens_per_second, 3) + " tokens/s";
  if (result->device != "cpu") note += " on " + result->device + " in " + result->activations;
  if (options.temperature > 0) note += ", seed " + std::to_string(result->seed);
  terminal.Note(note);
  return kDone;
}

}  // namespace

void AddRun(CLI::App& app, Invocation& invocation) {
  static RunArguments a;
  CLI::App* command = app.add_subcommand("run", "Text from a model");
  command->footer(kRunExamples);
  GenerateOptions& o = a.options;
  command->add_option("MODEL", o.model, "Model folder, GGUF or store name")->required();
  AddLora(*command, a.adapters);
  command->add_option("PROMPT", a.prompt,
                      "Text to go on from; -, or none with a pipe: standard input");
  command
      ->add_option("--prompt-file", o.prompt_file,
                   "The prompt is this file's text, without its last end of line")
      ->type_name("FILE");
  command->add_option("--prompt-ids", a.ids_file, "Ids (a JSON list) instead, taken as they are")
      ->type_name("FILE");
  AddNumber(*command, "-n,--max-tokens", o.max_tokens,
            "Tokens to generate at most (default 128; of an answer: until it ends)",
            {"number of tokens from 0 on", 0, kMostTokens});
  AddNumber(*command, "--temp", o.temperature,
            "Temperature (default 0.8); 0: always the most probable token", {"number"});
  AddNumber(*command, "--top-k", o.top_k, "Choose among the k most probable (default 40); 0: all",
            {"number"});
  AddNumber(*command, "--top-p", o.top_p,
            "Choose among those that make up this probability (default 0.95)", {"number"});
  AddNumber(*command, "--min-p", o.min_p,
            "Drop tokens below this share of the most probable (default 0.05)", {"number"});
  AddNumber(*command, "--repeat-penalty", o.repeat_penalty,
            "Penalty for the last 64 tokens (default 1: none)", {"number"});
  AddNumber(*command, "--seed", o.seed,
            "Same seed, same text (default: another one each time, shown)",
            {"seed: write a number from 0 on, or leave it out"});
  command->add_option("--stop", o.stop, "End before this text, which is not printed (repeatable)")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", o.ignore_eos, "Do not stop at end-of-generation tokens");
  CLI::Option* chat = command->add_flag(
      "--chat", a.chat,
      "Talk: PROMPT is a question; without one, on a terminal, a conversation (/clear, /bye)");
  ChatArguments& c = a.conversation;
  command->add_option("--system", c.system, "System message of the conversation")
      ->type_name("TEXT")
      ->needs(chat);
  command->add_option("--tools", c.tools_file, "Tools that the model is told of (a JSON list)")
      ->type_name("FILE")
      ->needs(chat);
  command
      ->add_option("--chat-template", c.chat_template,
                   "Jinja template in the place of the model's own")
      ->type_name("FILE")
      ->needs(chat);
  command
      ->add_option(
          "--think", c.think,
          "What a model thinks before it answers: show, hide, or off (for models that can)")
      ->check(CLI::IsMember({"show", "hide", "off"}))
      ->needs(chat);
  AddActivations(*command, o.activations);
  AddDevice(*command, o.device);
  AddNoRepack(*command, o.repack);
  AddGenerationDevice(*command, o.device);
  AddGlobals(*command, invocation);
  command->callback([&invocation, command] {
    a.conversation.limited = command->get_option("--max-tokens")->count() > 0;
    invocation.run = [](Terminal& terminal) { return RunRun(a, terminal); };
  });
}

}  // namespace smelt::tools
