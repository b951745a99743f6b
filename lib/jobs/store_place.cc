#include "lib/jobs/store_place.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "formats/ollama/store.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/system_error.h"

namespace smelt {

absl::StatusOr<std::string> StoreToRead(const std::string& folder) {
  std::string store = folder;
  if (store.empty()) {
    SMELT_ASSIGN_OR_RETURN(store, ollama::StoreForWriting());
  }
  if (!Exists(store)) {
    return Error(ErrorCode::kNotFound, Escape(store),
                 ": there is no Ollama store; name another folder with --store or OLLAMA_MODELS");
  }
  if (!IsFolder(store)) {
    return Error(ErrorCode::kUsage, Escape(store),
                 " is no folder, so it cannot be an Ollama store");
  }
  if (access(store.c_str(), R_OK | X_OK) != 0) {
    const std::string reason = SystemReason(errno);
    return Error(ErrorCode::kIo, Escape(store), ": this Ollama store cannot be read: ", reason,
                 "; ", ollama::OwnerOf(store), ": run as that user");
  }
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> entries, ListFolder(store));
  const auto is_part = [](const std::string& name) {
    return name == "blobs" || name == "manifests";
  };
  if (!entries.empty() && std::ranges::none_of(entries, is_part)) {
    return Error(ErrorCode::kNotFound, Escape(store),
                 ": is no Ollama store: it has neither blobs nor manifests; name another folder "
                 "with --store or OLLAMA_MODELS");
  }
  return store;
}

absl::StatusOr<ollama::Name> StoredName(const std::string& store, const std::string& text) {
  SMELT_ASSIGN_OR_RETURN(const ollama::Name parsed, ollama::ParseName(text));
  ollama::Name name = ollama::InSpellingOf(store, parsed);
  const std::string path = ollama::ManifestFile(store, name);
  struct stat info;
  if (lstat(path.c_str(), &info) == 0) return name;
  if (errno == EACCES) {
    return Error(ErrorCode::kIo, Escape(path), ": cannot be read: ", SystemReason(EACCES), "; ",
                 ollama::OwnerOf(path), ": run as that user");
  }
  return Error(ErrorCode::kNotFound, "no model \"", Escape(name.Short()), "\" in the Ollama store ",
               Escape(store));
}

}  // namespace smelt
