// smelt store: an Ollama store as a place that people keep.
#include "smelt/store.h"

#include <CLI/CLI.hpp>
#include <ctime>
#include <string>
#include <vector>

#include "smelt/bundle.h"
#include "smelt/text.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

struct StoreArguments {
  std::string store, from, to;
  std::vector<std::string> names;
  bool modelfile = false, template_text = false, system = false, license = false, dry_run = false;
  VerifyOptions verify;
  ExportOptions bundle;
};
StoreArguments a;

std::string Day(int64_t seconds) {
  const time_t time = seconds;
  struct tm local;
  char text[32] = "";
  if (localtime_r(&time, &local) != nullptr) strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &local);
  return text;
}

int RunList(Terminal& terminal) {
  const absl::StatusOr<StoreListing> listing = ListStore(a.store);
  if (!listing.ok()) return terminal.Fail(listing.status());
  const Observer observer = terminal.MakeObserver();
  for (const std::string& problem : listing->problems) observer.Warn(problem);
  if (terminal.json()) {
    terminal.Print(ToJson(*listing));
    return kDone;
  }
  size_t width = 4;
  for (const StoreModel& model : listing->models)
    width = std::max(width, Columns(OneLine(model.name, 200)));
  const auto row = [&](const std::string& name, const std::string& id, const std::string& size,
                       const std::string& type, const std::string& modified) {
    return Left(name, width + 2) + Left(id, 14) + Left(size, 10) + Left(type, 24) + modified + "\n";
  };
  std::string text = row("NAME", "ID", "SIZE", "TYPE", "MODIFIED");
  for (const StoreModel& model : listing->models) {
    const std::string type =
        OneLine(model.family + " " + model.parameters + " " + model.file_type, 23);
    text += row(OneLine(model.name, 200), model.id.substr(0, 12), Bytes(model.bytes), type,
                Day(model.modified));
  }
  terminal.Print(text);
  return kDone;
}

std::string Indented(const std::string& title, const std::string& text) {
  if (text.empty()) return "";
  std::string out = title + "\n";
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    out += "  " + OneLine(text.substr(at, end - at), 400) + "\n";
    at = end + 1;
  }
  return out;
}

int RunShow(Terminal& terminal) {
  const absl::StatusOr<StoreDetails> details = ShowStored(a.from, a.store);
  if (!details.ok()) return terminal.Fail(details.status());
  std::string licenses;
  for (const std::string& license : details->licenses)
    licenses += (licenses.empty() ? "" : "\n") + license;
  if (terminal.json()) {
    terminal.Print(ToJson(*details));
  } else if (a.modelfile) {
    terminal.Print(details->modelfile);
  } else if (a.template_text || a.system || a.license) {
    terminal.Print(a.template_text ? details->template_text
                   : a.system      ? details->system
                                   : licenses);
  } else {
    const StoreModel& model = details->model;
    std::string text = OneLine(model.name, 200) + "   " + OneLine(model.family, 60) + ", " +
                       OneLine(model.parameters, 20) + " parameters, " +
                       OneLine(model.file_type, 20) + ", " + Bytes(model.bytes) + ", " +
                       model.id.substr(0, 12) + "\n";
    for (const StoreLayer& layer : details->layers) {
      const size_t kind = layer.media_type.rfind('.');
      text += "  " + Left(OneLine(layer.media_type.substr(kind + 1), 40), 11) +
              Right(Bytes(layer.bytes), 9) + "  " + OneLine(layer.digest, 80) + "\n";
    }
    text += Indented("template", details->template_text) + Indented("system", details->system) +
            Indented("parameters", details->parameters) + Indented("messages", details->messages) +
            Indented("licence", licenses.substr(0, licenses.find('\n')));
    terminal.Print(text);
  }
  return kDone;
}

int RunCopy(Terminal& terminal) {
  const absl::Status status = CopyStored(a.from, a.to, a.store);
  if (!status.ok()) return terminal.Fail(status);
  terminal.json() ? terminal.Print("{}\n")
                  : terminal.Say("copied    " + OneLine(a.from, 200) + " to " + OneLine(a.to, 200));
  return kDone;
}

int RunRemove(Terminal& terminal) {
  const absl::Status status = RemoveStored(a.names, a.store);
  if (!status.ok()) return terminal.Fail(status);
  if (terminal.json()) terminal.Print("{}\n");
  for (const std::string& name : a.names) terminal.Say("removed   " + OneLine(name, 200));
  return kDone;
}

int RunPrune(Terminal& terminal) {
  const absl::StatusOr<PruneResult> result = PruneStore(a.store, a.dry_run);
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
    return kDone;
  }
  for (const std::string& file : result->files) terminal.Print(OneLine(file, 400) + "\n");
  terminal.Say((a.dry_run ? "would go  " : "pruned    ") + std::to_string(result->files.size()) +
               " files, " + Bytes(result->bytes));
  return kDone;
}

int RunStoreVerify(Terminal& terminal) {
  a.verify.store = a.store;
  a.verify.names = a.names;
  const absl::StatusOr<VerifyResult> result = VerifyStore(a.verify, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  std::string first;
  for (const StoreProblem& problem : result->problems) {
    std::string line = problem.what + (problem.names.empty() ? "" : "; needed by ");
    for (const std::string& name : problem.names)
      line += (&name == &problem.names.front() ? "" : ", ") + OneLine(name, 200);
    line += problem.repaired      ? ": repaired"
            : problem.quarantined ? ": moved to the quarantine"
                                  : "";
    if (!terminal.json()) terminal.Print(OneLine(line, 600) + "\n");
    if (!problem.repaired && first.empty()) first = problem.what;
  }
  if (terminal.json()) terminal.Print(ToJson(*result));
  const std::string counts = std::to_string(result->models) + " models, " +
                             std::to_string(result->blobs) + " blobs, " + Bytes(result->bytes) +
                             " read, " + std::to_string(result->orphans.size()) + " orphans";
  if (result->sound()) {
    terminal.Say("verified  " + counts);
    return kDone;
  }
  if (terminal.json()) return kFailed;
  return terminal.Fail(absl::DataLossError(
      counts +
      ": not sound; pull or import the models again that are named, or name files that "
      "may hold what is missing with --repair-from"));
}

int RunExport(Terminal& terminal) {
  a.bundle.names = a.names;
  a.bundle.store = a.store;
  const absl::StatusOr<ExportResult> result = ExportStored(a.bundle, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  if (terminal.json()) {
    terminal.Print(ToJson(*result));
    return kDone;
  }
  std::string names;
  for (const std::string& name : result->names)
    names += (names.empty() ? "" : ", ") + OneLine(name, 200);
  const std::string size = result->output_bytes > 0 && result->output_bytes != result->bytes
                               ? Bytes(result->bytes) + " in " + Bytes(result->output_bytes)
                               : Bytes(result->bytes);
  terminal.Say("exported  " + names + " to " + OneLine(result->output, 300) + "   " + size);
  return kDone;
}

CLI::App* Command(CLI::App& group, Invocation& invocation, const char* name, const char* what,
                  int (*run)(Terminal&)) {
  CLI::App* command = group.add_subcommand(name, what);
  command
      ->add_option("--store", a.store,
                   "The store (default: OLLAMA_MODELS, else Ollama's own folder)")
      ->type_name("DIR");
  AddGlobals(*command, invocation);
  command->callback([&invocation, run] { invocation.run = run; });
  return command;
}

}  // namespace

void AddStore(CLI::App& app, Invocation& invocation) {
  CLI::App* group =
      app.add_subcommand("store", "An Ollama store: list, show, cp, rm, prune, verify, export");
  group->footer(
      "Examples:\n"
      "  smelt store list\n"
      "  smelt store show my-llama --modelfile >Modelfile\n"
      "  smelt store cp my-llama me/my-llama:v1\n"
      "  smelt store rm my-llama\n"
      "  smelt store export my-llama other -o models.tar.zst    smelt import takes it back\n"
      "  smelt store prune --dry-run          what no model needs any more\n"
      "  smelt store verify                   every blob read and compared with its digest");
  group->require_subcommand(1);
  Command(*group, invocation, "list", "The models of the store", RunList);
  CLI::App* show = Command(*group, invocation, "show", "What a model consists of", RunShow);
  show->add_option("NAME", a.from, "[HOST/][NAMESPACE/]MODEL[:TAG]")->required();
  CLI::Option* parts[] = {
      show->add_flag("--modelfile", a.modelfile, "A Modelfile that makes this model again"),
      show->add_flag("--template", a.template_text, "The template alone"),
      show->add_flag("--system", a.system, "The system prompt alone"),
      show->add_flag("--license", a.license, "The licences alone")};
  for (CLI::Option* one : parts) {
    for (CLI::Option* other : parts) {
      if (one != other) one->excludes(other);
    }
  }
  CLI::App* copy = Command(*group, invocation, "cp", "Another name for a model", RunCopy);
  copy->add_option("FROM", a.from, "A model of the store")->required();
  copy->add_option("TO", a.to, "The other name; a model that it named goes")->required();
  CLI::App* remove =
      Command(*group, invocation, "rm", "Remove models, and what no other model needs", RunRemove);
  remove->add_option("NAMES", a.names, "Models of the store")->required();
  CLI::App* prune =
      Command(*group, invocation, "prune",
              "Remove blobs that no model needs and that are over an hour old", RunPrune);
  prune->add_flag("--dry-run", a.dry_run, "Only say what would go");
  CLI::App* out = Command(*group, invocation, "export",
                          "Models as a file, a folder or a bundle, every blob compared with its "
                          "digest; an interrupted run goes on when it is started again",
                          RunExport);
  out->add_option("NAMES", a.names, "Models of the store")->required();
  out->add_option("-o,--output", a.bundle.output,
                  "NAME.gguf: the weights of one model; NAME.tar.zst: a bundle of all that the "
                  "models consist of, for smelt import; else a folder, an Ollama store of its own")
      ->type_name("OUT")
      ->required();
  out->add_flag("--force", a.bundle.force, "Replace an existing file");
  CLI::App* verify = Command(*group, invocation, "verify",
                             "Read every blob and compare it with its digest; exit status 1 when "
                             "something is missing or damaged",
                             RunStoreVerify);
  verify->add_option("NAMES", a.names, "Models of the store (default: all)");
  verify->add_flag("--quarantine", a.verify.quarantine,
                   "Move damaged blobs to the store's folder smelt-quarantine, so that a pull "
                   "fetches them again");
  verify
      ->add_option("--repair-from", a.verify.repair_from,
                   "A file that may be the content of a missing or damaged blob (repeatable)")
      ->type_name("FILE")
      ->allow_extra_args(false);
}

}  // namespace smelt::tools
