// smelt tokenize: text to ids with a model's tokenizer.
#include "smelt/tokenize.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

struct Arguments {
  std::string model, text;
  bool jsonl = false, no_special = false;
};
Arguments arguments;

// "123  'piece'" lines for people.
std::string ToText(const TextTokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string out;
  for (int32_t id : ids) {
    const std::string quoted = nlohmann::json(tokenizer.Piece(id))
                                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out += Right(std::to_string(id), 8) + "  " + OneLine(quoted, 400) + "\n";
  }
  return out;
}

int RunLines(const TextTokenizer& tokenizer, const TokenizeFlags& flags, Terminal& terminal) {
  std::string line;
  for (uint64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.empty()) continue;
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
      return terminal.Fail(absl::InvalidArgumentError(
          "line " + std::to_string(number) + " of standard input is no {\"text\": ...} object"));
    }
    const absl::StatusOr<std::vector<int32_t>> ids =
        tokenizer.Encode(json["text"].get<std::string>(), flags);
    if (!ids.ok()) return terminal.Fail(ids.status());
    terminal.Print(IdsToJson(*ids));
  }
  return kDone;
}

int Run(Terminal& terminal) {
  if (arguments.text.empty() && !arguments.jsonl)
    return terminal.FailUsage("give a TEXT, or - for standard input");
  const absl::StatusOr<TextTokenizer> tokenizer =
      TextTokenizer::Open(arguments.model, terminal.MakeObserver());
  if (!tokenizer.ok()) return terminal.Fail(tokenizer.status());
  const TokenizeFlags flags{.add_special = !arguments.no_special, .parse_special = true};
  if (arguments.jsonl) return RunLines(*tokenizer, flags, terminal);
  std::string text = arguments.text;
  if (text == "-") text.assign(std::istreambuf_iterator<char>(std::cin), {});
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer->Encode(text, flags);
  if (!ids.ok()) return terminal.Fail(ids.status());
  terminal.Print(terminal.json() ? IdsToJson(*ids) : ToText(*tokenizer, *ids));
  return kDone;
}

}  // namespace

void AddTokenize(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("tokenize", "Text to ids with a model's tokenizer");
  command->footer(
      "Examples:\n"
      "  smelt tokenize ./model \"Hello, world!\"\n"
      "  smelt tokenize model.gguf --jsonl < texts.jsonl     one {\"text\":...} a line in, "
      "{\"ids\":[...]} a line out");
  command->add_option("MODEL", arguments.model, "Model folder, GGUF or store name")->required();
  command->add_option("TEXT", arguments.text, "The text; - is standard input");
  command->add_flag("--jsonl", arguments.jsonl, "One JSON object per line in and out");
  command->add_flag("--no-special", arguments.no_special, "No beginning or end tokens");
  AddGlobals(*command, invocation);
  command->callback([&invocation] { invocation.run = Run; });
}

}  // namespace smelt::tools
