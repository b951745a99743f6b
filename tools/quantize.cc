// smelt quantize: `convert` under the name that people know for GGUF to GGUF.
#include <CLI/CLI.hpp>

#include "tools/convert_command.h"

namespace smelt::tools {

void AddQuantize(CLI::App& app, Invocation& invocation) {
  static ConvertArguments arguments;
  CLI::App* command =
      app.add_subcommand("quantize", "The same for a GGUF (or bare matrices with --validate off)");
  command->footer(
      "Examples:\n"
      "  smelt quantize model-f16.gguf --type q4_k_m -o model-q4_k_m.gguf\n"
      "  smelt quantize matrices.safetensors --pure --type q6_k --validate off -o out.gguf");
  command
      ->add_option("IN", arguments.options.source,
                   "GGUF, model folder, store name, or a safetensors file of matrices")
      ->required();
  AddConvertOptions(*command, arguments, invocation);
}

}  // namespace smelt::tools
