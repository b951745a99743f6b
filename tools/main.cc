// The `smelt` program: chooses a command; see the file of the same name.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <map>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "smelt/runtime.h"
#include "smelt/version.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/numbers.h"
#include "tools/signals.h"
#include "tools/usage.h"

namespace smelt::tools {

void AddGlobals(CLI::App& command, Invocation& invocation) {
  AddNumber(command, "--threads", invocation.globals.threads,
            "Worker threads (default: the cores that the process may use)",
            {"number from 1 to 4096", 1, 4096});
  AddQuietAndJson(command, invocation);
}

void AddQuietAndJson(CLI::App& command, Invocation& invocation) {
  command.add_flag("-q,--quiet", invocation.globals.quiet,
                   "Say nothing but errors, warnings and what was asked for");
  command.add_flag("--json", invocation.globals.json, "Print the result (or the failure) as JSON");
}

namespace {

constexpr char kDescription[] =
    "smelt turns published models into validated GGUF files and runs them.\n"
    "A MODEL is a folder (config.json and weights), a GGUF file, or a name in the Ollama store.";

constexpr char kMainExamples[] =
    "Examples:\n"
    "  smelt convert Llama-3.2-1B --type q4_k_m      a folder to a quantized, checked GGUF\n"
    "  smelt eval model.gguf --text eval.txt         its perplexity\n"
    "  smelt run model.gguf \"Once upon a time\"       text from it\n"
    "  smelt import model.gguf my-model              into the Ollama store\n"
    "Exit status: 0 done, 1 refused, failed or a limit missed, 2 wrong usage; stopped by a "
    "signal:\n"
    "128 + its number, and a conversion resumes when it is started again.\n"
    "`smelt COMMAND --help` tells more.";

// What the parser says; its "--name: At Most 1 required but received 2" as a sentence.
std::string Sentence(const CLI::ParseError& error) {
  const std::string text = error.what();
  const size_t twice = text.find(": At Most 1 required");
  return OneLine(twice == text.npos ? text : text.substr(0, twice) + " is given more than once",
                 250);
}

// Which command's help answers a usage error.
std::string HelpHint(const CLI::App& app) {
  std::string command = "smelt";
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    command += " " + at->get_name();
  }
  return command + " --help";
}

// Words such as m-00001-of-00003.gguf that differ in the number of the part alone, which a shell
// puts in the place of m-*.gguf.
bool SeveralParts(const std::vector<std::string>& words) {
  std::map<std::string, std::string> parts;  // a name without its number, and the first such word
  for (const std::string& word : words) {
    const size_t of = word.rfind("-of-");
    if (of == word.npos) continue;
    if (!word.ends_with(".gguf") && !word.ends_with(".safetensors") && !word.ends_with(".bin"))
      continue;
    const size_t stem = word.substr(0, of).find_last_not_of("0123456789");
    const auto [first, fresh] = parts.emplace(word.substr(0, stem + 1) + word.substr(of), word);
    if (!fresh && first->second != word) return true;
  }
  return false;
}
constexpr std::string_view kPartsOfOne =
    "several parts of a split model: of a GGUF name the first part alone, whose other parts are "
    "found beside it; of weights in a folder name the folder";

// A standard stream that is closed would leave its number to the next file that is opened, a
// model's, which then takes what is printed.
void KeepStandardFiles() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    [[maybe_unused]] const int taken = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

int Main(std::vector<std::string> words) {
  const auto options_end = std::find(words.begin(), words.end(), "--");
  const bool json = std::find(words.begin(), options_end, "--json") != options_end;
  KeepStandardFiles();
  CatchSignals(json);
  SurviveShrinkingFiles();
  CLI::App app(kDescription, "smelt");
  app.footer(kMainExamples);
  app.set_version_flag("--version", "smelt " + std::string(Version()));
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  Invocation invocation;
  AddConvert(app, invocation);
  AddQuantize(app, invocation);
  AddEval(app, invocation);
  AddBench(app, invocation);
  AddRun(app, invocation);
  AddImatrix(app, invocation);
  AddImport(app, invocation);
  AddStore(app, invocation);
  AddSet(app, invocation);
  AddInspect(app, invocation);
  AddDiff(app, invocation);
  AddVerify(app, invocation);
  AddTokenize(app, invocation);
  AddFamilies(app, invocation);
  AddDevices(app, invocation);
  AddTemplate(app, invocation);
  if (words.empty()) words.push_back("--help");
  CommandLine line = LookThrough(app, words);
  if (SeveralParts({words.begin(), std::find(words.begin(), words.end(), "--")})) {
    line.mistake = kPartsOfOne;
  }
  if (!line.mistake.empty()) {
    invocation.globals.json = json;
    return Terminal(invocation.globals).FailUsage(line.mistake);
  }
  try {
    std::reverse(line.words.begin(), line.words.end());  // as the parser wants them
    app.parse(std::move(line.words));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      std::ostringstream text;
      app.exit(error, text);
      Terminal terminal(invocation.globals);
      terminal.Print(text.str());
      return terminal.Finish(kDone);
    }
    invocation.globals.json = json;
    Terminal terminal(invocation.globals);
    return terminal.FailUsage(Sentence(error) + "; try `" + HelpHint(app) + "`");
  }
  UseThreads(invocation.globals.threads);
  Terminal terminal(invocation.globals);
  int status = kFailed;
  try {
    status = invocation.run(terminal);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    status = terminal.Fail(absl::InternalError(std::string("unexpected failure: ") + error.what()));
  }
  return terminal.Finish(status);
}

}  // namespace

// Allocates nothing.
static int FailWithoutMemory(bool json) {
  std::fputs("smelt: out of memory; try fewer --threads\n", stderr);
  if (json) {
    std::fputs(
        "{\"error\":{\"code\":\"out_of_memory\",\"message\":\"out of memory; try fewer "
        "--threads\"}}\n",
        stdout);
  }
  std::fflush(stdout);
  return kFailed;
}

}  // namespace smelt::tools

int main(int argc, char** argv) {
  try {
    return smelt::tools::Main({argv + 1, argv + argc});
  } catch (const std::bad_alloc&) {  // of this program itself; the library's are statuses
    const bool json = std::any_of(argv + 1, argv + argc, [](const char* argument) {
      return std::string_view(argument) == "--json";
    });
    return smelt::tools::FailWithoutMemory(json);
  }
}
