#include "lib/jobs/import_source.h"

#include <glob.h>
#include <pwd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "formats/model_folder.h"
#include "formats/ollama/modelfile.h"
#include "formats/ollama/name.h"
#include "formats/ollama/store.h"
#include "lib/base/ascii.h"
#include "lib/base/atomic_file.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/folder_settings.h"

namespace smelt {
namespace {

/// A Modelfile holds prompts and licences, not weights.
constexpr uint64_t kMostModelfileBytes = 16 << 20;

std::string HomeOf(const std::string& user) {
  if (user.empty()) {
    const char* home = std::getenv("HOME");
    return home == nullptr ? "" : home;
  }
  const struct passwd* entry = getpwnam(user.c_str());
  return entry == nullptr ? "" : entry->pw_dir;
}

/// `path` as a Modelfile in `folder` means it: ~ and ~user are homes, the rest is relative to the
/// folder.
std::string Resolved(const std::string& path, const std::string& folder) {
  if (path.starts_with('~')) {
    const size_t end = std::min(path.find('/'), path.size());
    if (const std::string home = HomeOf(path.substr(1, end - 1)); !home.empty()) {
      return home + path.substr(end);
    }
  }
  if (path.empty()) return folder;
  return path.starts_with('/') || folder == "." ? path : Cat(folder, "/", path);
}

/// "P" of P-00001-of-00003.gguf, and the number of parts; of other files the whole name.
std::string ModelOfPart(std::string name) {
  constexpr std::string_view kForm = "-00000-of-00000.gguf";
  if (name.size() < kForm.size()) return name;
  const size_t begin = name.size() - kForm.size();
  for (size_t i = 0; i < kForm.size(); ++i) {
    if (kForm[i] == '0' ? !IsDigit(name[begin + i]) : kForm[i] != name[begin + i]) return name;
  }
  return name.erase(begin, kForm.find("-of"));
}

/// The first file that a pattern such as model-*.gguf names: a split GGUF is opened by its first
/// part. Empty when there is none; an error when they are several models.
absl::StatusOr<std::string> FirstMatch(const std::string& pattern) {
  if (pattern.find_first_of("*?[") == std::string::npos) return "";
  glob_t found = {};
  const int failed = glob(pattern.c_str(), 0, nullptr, &found);
  const size_t count = failed == 0 ? found.gl_pathc : 0;
  const std::vector<std::string> files(found.gl_pathv, found.gl_pathv + count);
  globfree(&found);
  if (files.empty()) return "";
  for (const std::string& file : files) {
    if (!file.ends_with(".gguf") || ModelOfPart(file) == ModelOfPart(files.front())) continue;
    return Error(ErrorCode::kInvalidInput, Escape(pattern), ": matches ", files.size(),
                 " files that are not the parts of one model, such as ", Escape(files.front(), 60),
                 " and ", Escape(file, 60), "; name one of them");
  }
  return files.front();
}

absl::Status TakeFromStore(const std::string& text, const std::string& store,
                           ImportSource& source) {
  SMELT_ASSIGN_OR_RETURN(ollama::Name name, ollama::ParseName(text));
  name = ollama::InSpellingOf(store, name);
  absl::StatusOr<ollama::Manifest> manifest = ollama::LoadManifest(store, name);
  if (!manifest.ok()) return manifest.status();
  source.base = name.Short();
  SMELT_ASSIGN_OR_RETURN(source.model, ollama::ResolveStoreName(text, store));
  source.inherited = *std::move(manifest);
  return absl::OkStatus();
}

/// A file, a folder, a pattern of files or a name.
absl::Status TakeModel(const std::string& text, const std::string& path, const std::string& store,
                       const Observer& observer, ImportSource& source) {
  std::string found = path;
  if (!Exists(path)) {
    SMELT_ASSIGN_OR_RETURN(found, FirstMatch(path));
  }
  if (found.empty()) {
    const absl::Status status = TakeFromStore(text, store, source);
    const bool known = !source.base.empty();  // the store has a model of this name
    if (status.ok() || known || CodeOf(status) == ErrorCode::kInvalidInput) return status;
    return Error(ErrorCode::kNotFound, Escape(text), ": neither a file or folder (", Escape(path),
                 ") nor a model in the store ", Escape(store));
  }
  SMELT_ASSIGN_OR_RETURN(ModelPlace place, LocateModel(found));
  if (!place.note.empty()) observer.Note(place.note);
  source.model = std::move(place.path);
  return absl::OkStatus();
}

absl::Status TakeModelfile(const ImportOptions& options, const std::string& store,
                           const Observer& observer, ImportSource& source) {
  const std::string& file = options.modelfile;
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(file, kMostModelfileBytes));
  SMELT_ASSIGN_OR_RETURN(const std::vector<ollama::ModelfileLine> lines,
                         ollama::ParseModelfile(text, file));
  SMELT_ASSIGN_OR_RETURN(source.settings, ollama::ModelSettings::Of(lines, file));
  const std::string folder = DirectoryOf(file);
  bool taken = !options.source.empty();
  for (const ollama::ModelfileLine& line : lines) {
    const std::string path = Resolved(line.value, folder);
    if (line.command == ollama::Command::kAdapter) {
      if (!Exists(path)) {
        return Error(ErrorCode::kNotFound, Escape(file), ", line ", line.line, ": no adapter ",
                     Escape(path));
      }
      source.adapters = {path};  // the last one counts, as for Ollama
    }
    if (line.command != ollama::Command::kFrom || !options.source.empty()) continue;
    if (taken) {
      return Error(ErrorCode::kUnsupported, Escape(file), ", line ", line.line,
                   ": a second FROM; one model is imported, whose parts a pattern names "
                   "(model-*.gguf)");
    }
    taken = true;
    if (const absl::Status status = TakeModel(line.value, path, store, observer, source);
        !status.ok()) {
      return Prefixed(Cat(Escape(file), ", line ", line.line, ": "), status);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImportSource> FindImportSource(const ImportOptions& options,
                                              const std::string& store, const Observer& observer) {
  ImportSource source;
  if (options.source.empty() && options.modelfile.empty()) {
    return Error(ErrorCode::kUsage,
                 "nothing to import: name a GGUF, a model folder or a model of the store, or a "
                 "Modelfile with -f");
  }
  if (!options.source.empty()) {
    SMELT_RETURN_IF_ERROR(TakeModel(options.source, options.source, store, observer, source));
  }
  if (!options.modelfile.empty()) {
    SMELT_RETURN_IF_ERROR(TakeModelfile(options, store, observer, source));
  }
  if (IsFolder(source.model)) AddFolderSettings(source.model, observer, source.settings);
  return source;
}

}  // namespace smelt
