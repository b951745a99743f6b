// An Ollama store on disk: where it is, and from names to files.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"

namespace smelt::ollama {

/// Folders to look for models in, best first: OLLAMA_MODELS alone if set, else the user's own store
/// and that of the installed service. They need not exist.
std::vector<std::string> StoreCandidates();

/// The store to write to: OLLAMA_MODELS, else the candidate that exists, else the user's own.
/// kNotFound without HOME; kIo when the only store is the service's and this user may not write to
/// it.
absl::StatusOr<std::string> StoreForWriting();

/// What is below `manifests/`, sorted.
struct Manifests {
  std::vector<Name> names;          ///< of valid paths
  std::vector<std::string> strays;  ///< other files where a tag is expected: Ollama does not prune
                                    ///< while there are any
  std::vector<absl::Status> unreadable;  ///< folders: who knows which blobs are needed?
};
Manifests ListManifests(const std::string& store);
/// The names alone.
std::vector<Name> ListNames(const std::string& store);

/// The name in the spelling of the store: each part that some manifest uses for the same part in
/// another letter case is taken over from there (an exact match wins, then the first in byte
/// order). Ollama does so before it creates, shows or runs.
Name InSpellingOf(const std::string& store, const Name& name);

/// Who may: "it belongs to user ollama" of the file, or of the nearest folder above it that is
/// there.
std::string OwnerOf(const std::string& path);

std::string ManifestFile(const std::string& store, const Name& name);
/// Path of a digest's blob; empty when `digest` is none.
std::string BlobFile(const std::string& store, std::string_view digest);

/// kNotFound when the store has no such manifest.
absl::StatusOr<Manifest> LoadManifest(const std::string& store, const Name& name);

/// The GGUF of a model in the store: its blob's path, which exists and has the size that the
/// manifest says. Of a split one the first part; PartsOfBlob finds the others.
absl::StatusOr<std::string> ResolveStoreName(std::string_view text, const std::string& store);

/// The blobs of a split GGUF of `count` parts whose first one is at `path`: where `path` is a blob
/// of a store and some model of it has that one and so many model layers. Empty where not.
std::vector<std::string> PartsOfBlob(const std::string& path, uint64_t count);

/// A model that was found in one of the StoreCandidates.
struct StoredModel {
  std::string store;
  Name name;  ///< in the store's spelling
  Manifest manifest;
};

/// What `text` names where it is no path that exists: nothing where no store has it, or its
/// manifest cannot be read.
std::optional<StoredModel> FindStored(const std::string& text);

/// The adapter layers of a model, in the order in which Ollama applies them: their blobs' paths,
/// which exist, have the sizes that the manifest says, and begin as GGUFs.
absl::StatusOr<std::vector<std::string>> AdaptersOf(const StoredModel& model);

/// What a user typed where a model is expected: a path that exists, or else the name of a model in
/// one of the StoreCandidates. kNotFound names both possibilities.
absl::StatusOr<std::string> ResolveModelArgument(const std::string& text);

}  // namespace smelt::ollama
