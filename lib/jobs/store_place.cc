#include "lib/jobs/store_place.h"

#include "formats/ollama/store.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"

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
  return store;
}

absl::StatusOr<ollama::Name> StoredName(const std::string& store, const std::string& text) {
  SMELT_ASSIGN_OR_RETURN(const ollama::Name parsed, ollama::ParseName(text));
  ollama::Name name = ollama::InSpellingOf(store, parsed);
  if (NameExists(ollama::ManifestFile(store, name))) return name;
  return Error(ErrorCode::kNotFound, "no model \"", Escape(name.Short()), "\" in the Ollama store ",
               Escape(store));
}

}  // namespace smelt
