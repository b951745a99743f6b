// smelt set: metadata of a GGUF file, changed where it is.
#include "smelt/set.h"

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

#include "smelt/text.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

struct SetArguments {
  SetOptions options;
  std::vector<std::string> edits;
};

int RunSet(SetArguments& a, Terminal& terminal) {
  for (const std::string& text : a.edits) {
    absl::StatusOr<MetadataEdit> edit = ParseMetadataEdit(text);
    if (!edit.ok()) return terminal.Fail(edit.status());
    a.options.edits.push_back(*std::move(edit));
  }
  const absl::StatusOr<SetResult> result = SetMetadata(a.options, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
    return kDone;
  }
  std::string keys;
  for (const std::string& key : result->keys)
    keys += (keys.empty() ? "   " : ", ") + OneLine(key, 60);
  terminal.Say((a.options.dry_run ? "would set " : "set       ") + OneLine(result->file, 300) +
               "   " + result->how + keys);
  return kDone;
}

}  // namespace

void AddSet(CLI::App& app, Invocation& invocation) {
  static SetArguments a;
  CLI::App* command = app.add_subcommand("set", "Metadata of a GGUF file, changed where it is");
  command->footer(
      "Examples:\n"
      "  smelt set model.gguf general.name='My model' general.url-\n"
      "  smelt set model.gguf tokenizer.chat_template=@chat_template.jinja\n"
      "  smelt set model.gguf 'tokenizer.ggml.eos_token_id=<|im_end|>'\n"
      "  smelt set model.gguf                 finish what was interrupted\n"
      "A new header that fits into the old one's place is written there, with a journal beside the "
      "file; otherwise the file is written anew and gets its name when it is complete. A value "
      "keeps the type of its key, or names one (u32:5, str:@text). Edits after which the "
      "tokenizer or the model could not be read are refused.");
  command->add_option("FILE", a.options.file, "A GGUF file")->required();
  command->add_option("EDITS", a.edits,
                      "KEY=VALUE, KEY=@FILE (the file's content), KEY- (the key goes)");
  command->add_flag("--dry-run", a.options.dry_run, "Check the edits, write nothing");
  AddGlobals(*command, invocation);
  command->callback(
      [&invocation] { invocation.run = [](Terminal& terminal) { return RunSet(a, terminal); }; });
}

}  // namespace smelt::tools
