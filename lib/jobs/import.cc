// A model into an Ollama store, so that the real Ollama runs it.
#include "smelt/import.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "formats/gguf.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"
#include "formats/ollama/store.h"
#include "formats/ollama/store_writer.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/hash.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/hashed_output.h"
#include "lib/jobs/import_source.h"
#include "lib/jobs/import_template.h"
#include "lib/jobs/metadata_edit.h"
#include "lib/model/open.h"

namespace smelt {
namespace {

/// How often everything is put in place again when a starting server pruned it before the manifest
/// was there.
constexpr int kAttempts = 3;
constexpr uint64_t kMostConfigBytes = 1 << 20;
constexpr uint64_t kMostTemplateBytes = 4 << 20;

absl::Status CheckModel(const GgufFile& file, const Observer& observer) {
  const std::string name = Escape(file.files.front()->name());
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
  return absl::OkStatus();
}

absl::StatusOr<bool> IsGguf(const std::string& path) {
  if (IsFolder(path)) return false;
  SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> file, OpenFile(path));
  return LooksLikeGguf(*file);
}

/// The source's GGUF where it is one file that stays as it is; nothing where it must be converted.
absl::StatusOr<std::optional<GgufFile>> FileAsItIs(const ImportOptions& options,
                                                   const ImportSource& source) {
  const bool merged = !source.adapters.empty() && !options.adapter_layer;
  if (options.convert_ggufs || merged || !options.chat_template.empty()) return std::nullopt;
  SMELT_ASSIGN_OR_RETURN(const bool gguf, IsGguf(source.model));
  if (!gguf) return std::nullopt;
  SMELT_ASSIGN_OR_RETURN(GgufFile file, OpenGguf(source.model));
  if (file.files.size() > 1) return std::nullopt;  // parts are joined
  return file;
}

/// How the source becomes one GGUF.
absl::StatusOr<ConvertOptions> Conversion(const ImportOptions& options,
                                          const ImportSource& source) {
  ConvertOptions conversion = options.conversion;
  SMELT_ASSIGN_OR_RETURN(const bool gguf, IsGguf(source.model));
  if (gguf && !options.convert_ggufs) conversion.type = "copy";
  conversion.source = source.model;
  if (options.adapter_layer) conversion.adapters.clear();
  for (const std::string& adapter : source.adapters) {
    if (!options.adapter_layer) conversion.adapters.emplace_back(adapter, 1);
  }
  if (!options.chat_template.empty()) {
    SMELT_ASSIGN_OR_RETURN(const std::string text,
                           ReadTextFile(options.chat_template, kMostTemplateBytes));
    conversion.metadata.emplace_back("tokenizer.chat_template", Cat("str:", text));
  }
  return conversion;
}

/// Everything that a name in the store stands for, ready to be added.
struct Model {
  std::string file;  ///< a GGUF
  bool converted = false;
  FileHash hash;  ///< of what was converted
  /// A GGUF that becomes a layer of its own; empty: none.
  std::string adapter;
  bool adapter_converted = false;
  ollama::Config config;
  ImportedTemplate chat;
  const ImportSource* source = nullptr;
};

class Importer {
 public:
  Importer(const ImportOptions& options, ollama::Name name, ollama::StoreWriter& writer,
           const Observer& observer)
      : options_(options), name_(std::move(name)), writer_(writer), observer_(observer) {}

  absl::StatusOr<ImportResult> Add(Model model) {
    const absl::StatusOr<ollama::Manifest> old = ollama::LoadManifest(writer_.store(), name_);
    std::optional<ollama::AddedBlob> weights;
    for (int attempt = 1;; ++attempt) {
      if (!weights || !Exists(weights->path)) {
        SMELT_ASSIGN_OR_RETURN(weights, AddWeights(model));
        Note(*weights);
      }
      std::vector<ollama::AddedBlob> blobs = {*weights};
      const absl::Status status = AddRest(model, *weights, blobs);
      for (const ollama::AddedBlob& blob : blobs) Note(blob);

      // A server that started in between may have pruned blobs that no manifest named yet, another
      // import may have removed what it had replaced: look again.
      const bool there = std::ranges::all_of(blobs, [](const auto& b) { return Exists(b.path); });
      if (status.ok() && there) {
        if (old.ok()) writer_.RemoveUnused(*old);
        writer_.RemoveUnused(new_);  // parameters of a format, merged with others since
        return ImportResult{.name = name_.Short(),
                            .manifest = ollama::ManifestFile(writer_.store(), name_),
                            .blob = weights->path,
                            .digest = weights->digest,
                            .how = weights->how,
                            .chat_format = model.chat.format,
                            .bytes = weights->size,
                            .conversion = {}};
      }
      if (there && CodeOf(status) != ErrorCode::kNotFound) return status;
      // What was converted was moved into the store, and is gone with its blob.
      const bool lost =
          (model.converted && !Exists(weights->path)) || (model.adapter_converted && !there);
      if (attempt == kAttempts || lost) {
        return Error(ErrorCode::kIo, Escape(writer_.store()),
                     ": the model's files vanish from the store as soon as they ",
                     "are written; another program prunes it");
      }
    }
  }

  /// Nothing of a failed import stays.
  void Undo() { writer_.RemoveUnused(new_); }

 private:
  void Note(const ollama::AddedBlob& blob) {
    if (blob.how != "present") new_.layers.push_back({"", blob.digest, blob.size, ""});
  }

  absl::StatusOr<ollama::AddedBlob> AddWeights(const Model& model) {
    const ollama::BlobProgress progress = [this](uint64_t done, uint64_t total) {
      SMELT_RETURN_IF_ERROR(GoOn());
      observer_.Report({.phase = "importing", .done = done, .total = total, .unit = "bytes"});
      return absl::OkStatus();
    };
    if (model.converted) return writer_.Adopt(model.file, model.hash, progress);
    for (const ollama::Layer& layer : model.source->inherited.layers) {
      const bool weights = layer.media_type == ollama::kModelLayer;
      if (weights && ollama::BlobFile(writer_.store(), layer.digest) == model.file)
        return writer_.Keep(layer);
    }
    return writer_.AddFile(model.file, progress, options_.copy);
  }

  /// Layers, configuration, manifest.
  absl::Status AddRest(const Model& model, const ollama::AddedBlob& weights,
                       std::vector<ollama::AddedBlob>& blobs) {
    const ImportSource& source = *model.source;
    ollama::Manifest manifest;
    manifest.layers.push_back({std::string(ollama::kModelLayer), weights.digest, weights.size,
                               model.converted ? "" : source.base});
    if (!model.adapter.empty()) {
      SMELT_ASSIGN_OR_RETURN(ollama::AddedBlob adapter,
                             model.adapter_converted
                                 ? writer_.Adopt(model.adapter, {}, nullptr)
                                 : writer_.AddFile(model.adapter, nullptr, options_.copy));
      manifest.layers.push_back(
          {std::string(ollama::kAdapterLayer), adapter.digest, adapter.size, ""});
      blobs.push_back(std::move(adapter));
    }
    SMELT_ASSIGN_OR_RETURN(
        manifest.layers,
        ollama::AddSettings(model.chat.settings, std::move(manifest.layers), writer_, blobs));
    for (ollama::Layer layer : source.inherited.layers) {
      if (layer.media_type == ollama::kModelLayer) continue;
      SMELT_ASSIGN_OR_RETURN(ollama::AddedBlob kept, writer_.Keep(layer));
      blobs.push_back(std::move(kept));
      layer.from = source.base;
      manifest.layers.push_back(std::move(layer));
    }
    SMELT_ASSIGN_OR_RETURN(
        manifest.layers,
        ollama::AddSettings(source.settings, std::move(manifest.layers), writer_, blobs));
    ollama::Config config = model.config;
    config.adapters = static_cast<size_t>(
        std::ranges::count(manifest.layers, ollama::kAdapterLayer, &ollama::Layer::media_type));
    for (const ollama::Layer& layer : manifest.layers) config.layers.push_back(layer.digest);
    SMELT_ASSIGN_OR_RETURN(ollama::AddedBlob written, writer_.AddText(ollama::WriteConfig(config)));
    manifest.config = {std::string(ollama::kConfigType), written.digest, written.size, ""};
    blobs.push_back(std::move(written));
    return writer_.PutManifest(name_, manifest);
  }

  const ImportOptions& options_;
  const ollama::Name name_;
  ollama::StoreWriter& writer_;
  const Observer& observer_;
  ollama::Manifest new_;  ///< blobs that were not in the store before
};

/// The configuration of the file, with what its chat format, the model in the store and the
/// Modelfile say besides: later ones count.
absl::StatusOr<ollama::Config> ConfigFor(const GgufFile& file, const ImportSource& source,
                                         const ollama::ModelSettings& chat,
                                         const std::string& store) {
  SMELT_ASSIGN_OR_RETURN(ollama::Config config, ollama::ConfigOf(file));
  const auto set = [&](const auto& from) {
    if (!from.renderer.empty()) config.renderer = from.renderer;
    if (!from.parser.empty()) config.parser = from.parser;
    if (!from.least_ollama.empty()) config.least_ollama = from.least_ollama;
  };
  set(chat);
  if (!source.inherited.config.digest.empty()) {
    const std::string path = ollama::BlobFile(store, source.inherited.config.digest);
    SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMostConfigBytes));
    SMELT_ASSIGN_OR_RETURN(const ollama::Config base, ollama::ReadConfig(text, path));
    set(base);
  }
  set(source.settings);
  return config;
}

/// What the file's keys say of the model: configuration and template.
absl::Status Describe(const GgufFile& file, const ImportOptions& options, const std::string& store,
                      const Observer& observer, Model& model) {
  SMELT_RETURN_IF_ERROR(CheckModel(file, observer));
  SMELT_ASSIGN_OR_RETURN(model.chat, TemplateFor(file.metadata, model.source->name(), *model.source,
                                                 options, observer));
  SMELT_ASSIGN_OR_RETURN(model.config, ConfigFor(file, *model.source, model.chat.settings, store));
  return absl::OkStatus();
}

/// The adapter that becomes a layer: a GGUF as it is, a folder converted into the staging folder.
absl::Status TakeAdapter(const ImportOptions& options, const ImportSource& source,
                         const ollama::Name& name, ollama::StoreWriter& writer,
                         const Observer& observer, Model& model) {
  if (!options.adapter_layer || source.adapters.empty()) return absl::OkStatus();
  model.adapter = source.adapters.front();
  SMELT_ASSIGN_OR_RETURN(const bool gguf, IsGguf(model.adapter));
  if (gguf) {
    SMELT_ASSIGN_OR_RETURN(const GgufFile file, OpenGguf(model.adapter));
    if (file.metadata.StringOr("general.type", "").value_or("") == "adapter")
      return absl::OkStatus();
    return Error(ErrorCode::kUnsupported, Escape(model.adapter),
                 ": is no adapter (general.type says so), so it cannot be a layer beside a model");
  }
  ConvertOptions conversion;
  conversion.source = model.adapter;
  conversion.base = source.model;
  conversion.adapter_only = true;
  conversion.force = true;
  SMELT_ASSIGN_OR_RETURN(
      model.adapter, writer.StagingPath(Cat(name.ManifestPath(), "\n", source.adapters.front())));
  conversion.output = model.adapter;
  model.adapter_converted = true;
  return Convert(conversion, observer).status();
}

/// Before the work of a conversion: that the model gets a template, where one is required.
absl::Status CheckTemplate(const ImportOptions& options, const ConvertOptions& conversion,
                           const ImportSource& source) {
  OpenOptions open;
  open.base = conversion.base;
  open.pre = conversion.pre;
  open.allow_tokenizer_mismatch = conversion.allow_tokenizer_mismatch;
  SMELT_ASSIGN_OR_RETURN(const OpenedModel model, OpenModel(source.model, open));
  Metadata metadata = model.source->metadata();
  SMELT_ASSIGN_OR_RETURN(const MetadataEdits edits, ResolveEdits(conversion.metadata, metadata));
  SMELT_RETURN_IF_ERROR(EditMetadata(edits, metadata));
  return TemplateFor(metadata, source.name(), source, options, Observer()).status();
}

absl::StatusOr<ImportResult> ImportInto(const std::string& store, ollama::Name name,
                                        const ImportOptions& options, const Observer& observer) {
  SMELT_ASSIGN_OR_RETURN(const ImportSource source, FindImportSource(options, store, observer));
  SMELT_RETURN_IF_ERROR(CheckForOllama(source.settings, options.for_ollama, observer));
  SMELT_ASSIGN_OR_RETURN(const std::optional<GgufFile> as_it_is, FileAsItIs(options, source));
  Model model{.file = source.model,
              .converted = !as_it_is.has_value(),
              .hash = {},
              .adapter = {},
              .adapter_converted = false,
              .config = {},
              .chat = {},
              .source = &source};
  if (as_it_is) SMELT_RETURN_IF_ERROR(Describe(*as_it_is, options, store, observer, model));
  ConvertOptions conversion;
  if (model.converted) {
    SMELT_ASSIGN_OR_RETURN(conversion, Conversion(options, source));
    if (options.require_template) SMELT_RETURN_IF_ERROR(CheckTemplate(options, conversion, source));
  }
  SMELT_ASSIGN_OR_RETURN(ollama::StoreWriter writer, ollama::StoreWriter::Open(store));
  name = ollama::InSpellingOf(store, name);
  std::optional<ConvertResult> converted;
  if (model.converted) {
    SMELT_ASSIGN_OR_RETURN(model.file,
                           writer.StagingPath(Cat(name.ManifestPath(), "\n", source.model)));
    conversion.output = model.file;
    conversion.force = true;  // a left-over of a killed import
    SMELT_ASSIGN_OR_RETURN(converted, ConvertAndHash(conversion, observer, model.hash));
    const absl::Status described = Guarded([&]() -> absl::Status {
      SMELT_ASSIGN_OR_RETURN(const GgufFile file, OpenGguf(model.file));
      return Describe(file, options, store, observer, model);
    });
    if (!described.ok()) {
      unlink(model.file.c_str());
      return described;
    }
  }
  if (const absl::Status taken =
          Guarded([&] { return TakeAdapter(options, source, name, writer, observer, model); });
      !taken.ok()) {
    if (model.converted) unlink(model.file.c_str());
    return taken;
  }
  Importer importer(options, std::move(name), writer, observer);
  absl::StatusOr<ImportResult> result;
  const absl::Status status = Guarded([&] {
    result = importer.Add(std::move(model));
    return result.status();
  });
  if (!status.ok()) {
    importer.Undo();
    return status;
  }
  result->conversion = std::move(converted);
  if (result->conversion) {  // it was moved into the store
    result->conversion->output = result->blob;
    for (OutputFile& file : result->conversion->files) file.path = result->blob;
  }
  return result;
}

}  // namespace

absl::StatusOr<ImportResult> Import(const ImportOptions& options, const Observer& watcher) try {
  const JobScope job(watcher);
  SMELT_ASSIGN_OR_RETURN(ollama::Name name, ollama::ParseName(options.name));
  if (options.adapter_layer && options.for_ollama == "0.34") {
    return Error(ErrorCode::kUsage,
                 "Ollama 0.34 runs no adapter layers any more; without --adapter-layer the adapter "
                 "is merged into the weights");
  }
  std::string store = options.store;
  if (store.empty()) {
    SMELT_ASSIGN_OR_RETURN(store, ollama::StoreForWriting());
  }
  return ImportInto(store, std::move(name), options, job.observer());
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
