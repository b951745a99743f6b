// An Ollama store as a place that people keep: list, show, copy, remove.
#include "smelt/store.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "formats/ollama/manifest.h"
#include "formats/ollama/model_settings.h"
#include "formats/ollama/modelfile.h"
#include "formats/ollama/name.h"
#include "formats/ollama/store.h"
#include "formats/ollama/store_writer.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/hash.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/store_place.h"

namespace smelt {
namespace {

/// Templates, prompts and licences are small; a layer that is larger is none of them.
constexpr uint64_t kMostTextBytes = 16 << 20;

absl::StatusOr<StoreModel> Describe(const std::string& store, const ollama::Name& name) {
  const std::string path = ollama::ManifestFile(store, name);
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMostTextBytes));
  SMELT_ASSIGN_OR_RETURN(const ollama::Manifest manifest, ollama::LoadManifest(store, name));
  StoreModel model;
  model.name = name.Short();
  model.id = Sha256Hex(std::as_bytes(std::span(text)));
  struct stat info;
  if (stat(path.c_str(), &info) == 0) model.modified = info.st_mtim.tv_sec;
  model.bytes = manifest.config.size;
  for (const ollama::Layer& layer : manifest.layers) model.bytes += layer.size;
  // An absent or partial configuration empties columns, as in Ollama's own list.
  const std::string blob = ollama::BlobFile(store, manifest.config.digest);
  const absl::StatusOr<std::string> json =
      blob.empty() ? absl::StatusOr<std::string>("") : ReadTextFile(blob, kMostTextBytes);
  if (!json.ok()) return model;
  if (const absl::StatusOr<ollama::Config> config = ollama::ReadConfig(*json, blob); config.ok()) {
    model.format = config->format;
    model.family = config->family;
    model.parameters = config->parameters;
    model.file_type = config->file_type;
  }
  return model;
}

/// The Modelfile's commands for what `details` holds.
/// A Modelfile's paths are relative to its own folder, and this one may be put anywhere.
std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

absl::StatusOr<std::vector<ollama::ModelfileLine>> CommandsOf(const StoreDetails& details,
                                                              const std::string& store) {
  using ollama::Command;
  std::vector<ollama::ModelfileLine> lines;
  const auto add = [&lines](Command command, std::string value, std::string key = "") {
    if (value.empty() && key.empty()) return;
    lines.push_back({command, std::move(key), std::move(value), lines.size() + 1});
  };
  for (const StoreLayer& layer : details.layers) {
    const std::string blob = ollama::BlobFile(store, layer.digest);
    if (layer.media_type == ollama::kModelLayer) add(Command::kFrom, blob);
    if (layer.media_type == ollama::kAdapterLayer) add(Command::kAdapter, blob);
  }
  const auto file_of = [&](std::string_view media_type) {
    std::string file;
    for (const StoreLayer& layer : details.layers) {
      if (layer.media_type == media_type) file = ollama::BlobFile(store, layer.digest);
    }
    return file;
  };
  for (const StoreLayer& layer : details.layers) {
    if (layer.media_type == ollama::kProjectorLayer)
      add(Command::kFrom, ollama::BlobFile(store, layer.digest));
  }
  add(Command::kTemplate, details.template_text);
  add(Command::kSystem, details.system);
  add(Command::kRenderer, details.renderer);
  add(Command::kParser, details.parser);
  add(Command::kRequires, details.least_ollama);
  if (!details.parameters.empty()) {
    SMELT_ASSIGN_OR_RETURN(
        const ollama::Parameters parameters,
        ollama::Parameters::Read(details.parameters, file_of(ollama::kParamsLayer)));
    for (const auto& [name, value] : parameters.values()) {
      for (std::string& text : ollama::ParameterTexts(value)) {
        add(Command::kParameter, std::move(text), name);
      }
    }
  }
  for (const std::string& license : details.licenses) {
    lines.push_back({Command::kLicense, "", license, lines.size() + 1});
  }
  if (!details.messages.empty()) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<ollama::Message> messages,
                           ollama::ReadMessages(details.messages, file_of(ollama::kMessagesLayer)));
    for (const ollama::Message& message : messages) {
      add(Command::kMessage, message.content, message.role);
    }
  }
  return lines;
}

absl::Status ReadLayer(const std::string& store, const ollama::Layer& layer,
                       StoreDetails& details) {
  std::string* place = nullptr;
  if (layer.media_type == ollama::kTemplateLayer || layer.media_type == ollama::kPromptLayer) {
    place = &details.template_text;
  } else if (layer.media_type == ollama::kSystemLayer) {
    place = &details.system;
  } else if (layer.media_type == ollama::kParamsLayer) {
    place = &details.parameters;
  } else if (layer.media_type == ollama::kMessagesLayer) {
    place = &details.messages;
  } else if (layer.media_type == ollama::kLicenseLayer) {
    place = &details.licenses.emplace_back();
  }
  if (place == nullptr) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(*place,
                         ReadTextFile(ollama::BlobFile(store, layer.digest), kMostTextBytes));
  return absl::OkStatus();
}

absl::StatusOr<StoreDetails> Show(const std::string& store, const std::string& text) {
  SMELT_ASSIGN_OR_RETURN(const ollama::Name name, StoredName(store, text));
  SMELT_ASSIGN_OR_RETURN(const ollama::Manifest manifest, ollama::LoadManifest(store, name));
  StoreDetails details;
  SMELT_ASSIGN_OR_RETURN(details.model, Describe(store, name));
  for (const ollama::Layer& layer : manifest.layers) {
    details.layers.push_back({layer.media_type, layer.digest, layer.from, layer.size});
    SMELT_RETURN_IF_ERROR(ReadLayer(store, layer, details));
  }
  if (const std::string blob = ollama::BlobFile(store, manifest.config.digest); !blob.empty()) {
    SMELT_ASSIGN_OR_RETURN(const std::string json, ReadTextFile(blob, kMostTextBytes));
    SMELT_ASSIGN_OR_RETURN(const ollama::Config config, ollama::ReadConfig(json, blob));
    details.renderer = config.renderer;
    details.parser = config.parser;
    details.least_ollama = config.least_ollama;
  }
  SMELT_ASSIGN_OR_RETURN(const std::vector<ollama::ModelfileLine> lines,
                         CommandsOf(details, AbsolutePath(store)));
  details.modelfile = Cat("# To build a new Modelfile based on this, replace FROM with:\n# FROM ",
                          details.model.name, "\n\n", ollama::ModelfileText(lines));
  return details;
}

absl::Status Copy(const std::string& store, const std::string& from, const std::string& to) {
  SMELT_ASSIGN_OR_RETURN(const ollama::Name source, StoredName(store, from));
  SMELT_ASSIGN_OR_RETURN(ollama::Name target, ollama::ParseName(to));
  target = ollama::InSpellingOf(store, target);
  if (source == target) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const std::string text,
                         ReadTextFile(ollama::ManifestFile(store, source), kMostTextBytes));
  SMELT_ASSIGN_OR_RETURN(const ollama::Manifest manifest, ollama::LoadManifest(store, source));
  const absl::StatusOr<ollama::Manifest> old = ollama::LoadManifest(store, target);
  SMELT_ASSIGN_OR_RETURN(ollama::StoreWriter writer, ollama::StoreWriter::Open(store));
  SMELT_RETURN_IF_ERROR(writer.PutManifestText(target, text));
  if (old.ok()) writer.RemoveUnused(*old);
  return absl::OkStatus();
}

absl::Status Remove(const std::string& store, const std::vector<std::string>& names) {
  std::vector<ollama::Name> found;
  for (const std::string& text : names) {  // all of them, before anything goes
    SMELT_ASSIGN_OR_RETURN(ollama::Name name, StoredName(store, text));
    if (std::ranges::find(found, name) == found.end()) found.push_back(std::move(name));
  }
  SMELT_ASSIGN_OR_RETURN(ollama::StoreWriter writer, ollama::StoreWriter::Open(store));
  for (const ollama::Name& name : found) {
    const absl::StatusOr<ollama::Manifest> manifest = ollama::LoadManifest(store, name);
    SMELT_RETURN_IF_ERROR(writer.RemoveManifest(name));
    if (manifest.ok()) writer.RemoveUnused(*manifest);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StoreListing> ListStore(const std::string& folder) try {
  StoreListing listing;
  SMELT_ASSIGN_OR_RETURN(listing.store, StoreToRead(folder));
  const ollama::Manifests manifests = ollama::ListManifests(listing.store);
  if (manifests.names.empty() && !manifests.unreadable.empty()) return manifests.unreadable.front();
  for (const absl::Status& folder : manifests.unreadable)
    listing.problems.emplace_back(folder.message());
  for (const ollama::Name& name : manifests.names) {
    absl::StatusOr<StoreModel> model = Describe(listing.store, name);
    if (model.ok()) {
      listing.models.push_back(*std::move(model));
    } else {
      listing.problems.emplace_back(model.status().message());
    }
  }
  std::ranges::stable_sort(listing.models, std::greater(), &StoreModel::modified);
  return listing;
} catch (...) {
  return CaughtError();
}

absl::StatusOr<StoreDetails> ShowStored(const std::string& name, const std::string& folder) try {
  SMELT_ASSIGN_OR_RETURN(const std::string store, StoreToRead(folder));
  return Show(store, name);
} catch (...) {
  return CaughtError();
}

absl::Status CopyStored(const std::string& from, const std::string& to,
                        const std::string& folder) try {
  SMELT_ASSIGN_OR_RETURN(const std::string store, StoreToRead(folder));
  return Copy(store, from, to);
} catch (...) {
  return CaughtError();
}

absl::Status RemoveStored(const std::vector<std::string>& names, const std::string& folder) try {
  SMELT_ASSIGN_OR_RETURN(const std::string store, StoreToRead(folder));
  return Remove(store, names);
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
