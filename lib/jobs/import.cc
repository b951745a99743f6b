// A GGUF into an Ollama store, so that the real Ollama runs it.
#include "smelt/import.h"

#include <algorithm>
#include <string>
#include <utility>

#include "formats/gguf.h"
#include "formats/model_folder.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"
#include "formats/ollama/store.h"
#include "formats/ollama/store_writer.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// How often everything is put in place again when a starting server pruned it before the manifest
/// was there.
constexpr int kAttempts = 3;

absl::StatusOr<GgufFile> CheckModel(const std::string& path, const Observer& observer) {
  if (IsFolder(path)) {
    return Error(ErrorCode::kUnsupported, Escape(path),
                 " is a directory; make a GGUF of it first with `smelt convert`");
  }
  SMELT_ASSIGN_OR_RETURN(GgufFile file, OpenGguf(path));
  const std::string name = Escape(path);
  if (file.files.size() > 1) {
    return Error(ErrorCode::kUnsupported, name,
                 " is one part of a split GGUF; merge the parts first with ",
                 "`smelt convert --type copy`");
  }
  SMELT_RETURN_IF_ERROR(CheckIsModel(file));
  if (file.tensors.empty()) {
    return Error(ErrorCode::kUnsupported, name, ": holds no tensors, only ",
                 file.metadata.Has("tokenizer.ggml.tokens") ? "a vocabulary" : "metadata",
                 "; import a GGUF that has the model's weights");
  }
  SMELT_ASSIGN_OR_RETURN(const std::string architecture,
                         file.metadata.String("general.architecture"));
  if (std::ranges::none_of(file.tensors, [](const GgufTensor& tensor) {
        return tensor.name == "token_embd.weight";
      })) {
    return Error(ErrorCode::kUnsupported, name, ": no language model (general.architecture is ",
                 Escape(architecture, 60),
                 "): it has no tensor token_embd.weight, the embedding of tokens, which every one "
                 "has");
  }
  for (const char* suffix : {".context_length", ".embedding_length"}) {
    const std::string key = architecture + suffix;
    const MetadataValue* value = file.metadata.Find(key);
    if (value == nullptr || !value->AsUint()) {
      observer.Warn(Cat(name, ": no key ", Escape(key),
                        "; `ollama show` of older versions fails on such a file"));
    }
  }
  return file;
}

/// `added` receives the blobs that are new in the store.
absl::StatusOr<ImportResult> Add(const std::string& file, const ollama::Name& name,
                                 ollama::Config config, ollama::StoreWriter& writer,
                                 const Observer& observer, ollama::Manifest& added) {
  const std::string& store = writer.store();
  const absl::StatusOr<ollama::Manifest> old = ollama::LoadManifest(store, name);
  const ollama::BlobProgress progress = [&](uint64_t done, uint64_t total) {
    SMELT_RETURN_IF_ERROR(GoOn());
    observer.Report({.phase = "importing", .done = done, .total = total, .unit = "bytes"});
    return absl::OkStatus();
  };
  const auto note = [&](const ollama::AddedBlob& blob) {
    if (blob.how != "present") added.layers.push_back({"", blob.digest, blob.size, ""});
  };
  for (int attempt = 1;; ++attempt) {
    SMELT_ASSIGN_OR_RETURN(const ollama::AddedBlob model, writer.AddFile(file, progress));
    note(model);
    config.layers = {model.digest};
    SMELT_ASSIGN_OR_RETURN(const ollama::AddedBlob settings,
                           writer.AddText(ollama::WriteConfig(config)));
    note(settings);
    ollama::Manifest manifest;
    manifest.config = {std::string(ollama::kConfigType), settings.digest, settings.size, ""};
    manifest.layers = {{std::string(ollama::kModelLayer), model.digest, model.size, ""}};
    SMELT_RETURN_IF_ERROR(writer.PutManifest(name, manifest));

    // A server that started in between may have pruned blobs that no manifest named yet: look
    // again.
    if (Exists(model.path) && Exists(settings.path)) {
      if (old.ok()) writer.RemoveUnused(*old);
      return ImportResult{.name = name.Short(),
                          .manifest = ollama::ManifestFile(store, name),
                          .blob = model.path,
                          .digest = model.digest,
                          .how = model.how,
                          .bytes = model.size};
    }
    if (attempt == kAttempts) {
      return Error(ErrorCode::kIo, Escape(store),
                   ": the model's files vanish from the store as soon as they ",
                   "are written; another program prunes it");
    }
  }
}

}  // namespace

absl::StatusOr<ImportResult> Import(const ImportOptions& options, const Observer& watcher) try {
  const JobScope job(watcher);
  const Observer& observer = job.observer();
  SMELT_ASSIGN_OR_RETURN(ollama::Name name, ollama::ParseName(options.name));
  std::string store = options.store;
  if (store.empty()) {
    SMELT_ASSIGN_OR_RETURN(store, ollama::StoreForWriting());
  }
  SMELT_ASSIGN_OR_RETURN(const ModelPlace place, LocateModel(options.file));
  if (!place.note.empty()) observer.Note(place.note);
  SMELT_ASSIGN_OR_RETURN(const GgufFile file, CheckModel(place.path, observer));
  SMELT_ASSIGN_OR_RETURN(ollama::Config config, ollama::ConfigOf(file));
  SMELT_ASSIGN_OR_RETURN(ollama::StoreWriter writer, ollama::StoreWriter::Open(store));
  name = ollama::InSpellingOf(store, name);
  ollama::Manifest added;
  absl::StatusOr<ImportResult> result;
  const absl::Status status = Guarded([&] {
    result = Add(place.path, name, std::move(config), writer, observer, added);
    return result.status();
  });
  if (status.ok()) return result;
  writer.RemoveUnused(added);  // nothing of a failed import stays
  return status;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
