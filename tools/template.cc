// smelt template: a conversation as the text that a model continues.
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "smelt/chat_template.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/usage.h"

namespace smelt::tools {
namespace {

constexpr char kTemplateExamples[] =
    "Examples:\n"
    "  smelt template model.gguf                            the template that the model carries\n"
    "  smelt template model.gguf --messages chat.json       what it makes of a conversation\n"
    "  smelt template chat.jinja --messages - <chat.json    a template of one's own\n"
    "  smelt template model.gguf --jsonl <chats.jsonl       many, a line each\n"
    "A conversation is a JSON list of messages, [{\"role\": \"user\", \"content\": \"Hi\"}], or "
    "an\n"
    "object {\"messages\", \"tools\", \"add_generation_prompt\", \"kwargs\", \"now\"} of which "
    "only\n"
    "the messages are required; \"now\" is the local time that the template sees\n"
    "(\"2025-01-15T10:30:00\"). With --jsonl each line out is {\"result\"} or {\"error\"}.";

struct TemplateArguments {
  ChatTemplateOptions options;
  std::string messages;
  bool jsonl = false;
};

std::string ToLine(const absl::StatusOr<std::string>& result) {
  nlohmann::ordered_json json;
  if (result.ok()) {
    json["result"] = *result;
  } else {
    json["error"] = std::string(result.status().message());
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

int RunTemplate(const TemplateArguments& arguments, Terminal& terminal) {
  if (arguments.jsonl && !arguments.messages.empty())
    return terminal.FailUsage("--jsonl reads standard input: it and --messages exclude each other");
  const absl::StatusOr<ChatRenderer> renderer =
      ChatRenderer::Open(arguments.options, terminal.MakeObserver());
  if (!renderer.ok()) return terminal.Fail(renderer.status());
  if (arguments.jsonl) {
    for (std::string line; std::getline(std::cin, line);)
      terminal.Print(ToLine(renderer->Render(line)));
    return kDone;
  }
  absl::StatusOr<std::string> result = renderer->text();
  if (!arguments.messages.empty()) {
    std::ifstream file(arguments.messages);
    std::istream& in = arguments.messages == "-" ? std::cin : file;
    const std::string text(std::istreambuf_iterator<char>(in), {});
    if (in.bad() || (arguments.messages != "-" && !file.is_open()))
      return terminal.FailInput(OneLine(arguments.messages, 200) + " cannot be read");
    result = renderer->Render(text);
    if (!result.ok()) return terminal.Fail(result.status());
  }
  terminal.Print(terminal.json() ? ToLine(result) : *result);
  return kDone;
}

}  // namespace

void AddTemplate(CLI::App& app, Invocation& invocation) {
  static TemplateArguments a;
  CLI::App* command =
      app.add_subcommand("template", "A model's chat template, and what it renders");
  command->footer(kTemplateExamples);
  command
      ->add_option("MODEL", a.options.source,
                   "Model folder, GGUF, store name, or a template's file")
      ->required();
  command->add_option("--messages", a.messages, "The conversation, as JSON (- = standard input)")
      ->type_name("FILE");
  command->add_flag("--jsonl", a.jsonl, "Conversations from standard input, a line each");
  command->add_option("--bos", a.options.bos, "Text of the beginning token (default: the model's)")
      ->type_name(kMaybeEmpty);
  command->add_option("--eos", a.options.eos, "Text of the end token (default: the model's)")
      ->type_name(kMaybeEmpty);
  AddGlobals(*command, invocation);
  command->callback([&invocation] {
    invocation.run = [](Terminal& terminal) { return RunTemplate(a, terminal); };
  });
}

}  // namespace smelt::tools
