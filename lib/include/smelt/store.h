// An Ollama store as a place that people keep: what is in it, and in what state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct StoreModel {
  std::string name;  ///< without the parts that are Ollama's defaults
  std::string id;    ///< SHA-256 of the manifest, 64 digits
  uint64_t bytes = 0;
  int64_t modified = 0;                               ///< Unix time of the manifest
  std::string format, family, parameters, file_type;  ///< of its configuration
};

struct StoreListing {
  std::string store;
  std::vector<StoreModel> models;     ///< the last modified first
  std::vector<std::string> problems;  ///< manifests that cannot be read, and why
};

/// In each function an empty `store` is OLLAMA_MODELS or the default folder; names are looked up in
/// the spelling of the store.
SMELT_EXPORT absl::StatusOr<StoreListing> ListStore(const std::string& store = "");

struct StoreLayer {
  std::string media_type, digest, from;
  uint64_t bytes = 0;
};

struct StoreDetails {
  StoreModel model;
  std::vector<StoreLayer> layers;
  std::string template_text, system, parameters, messages;  ///< the last two as JSON
  std::vector<std::string> licenses;
  std::string renderer, parser, least_ollama;
  std::string modelfile;  ///< that makes this model again
};

SMELT_EXPORT absl::StatusOr<StoreDetails> ShowStored(const std::string& name,
                                                     const std::string& store = "");

/// `to` becomes another name of `from`; a model that it named before goes.
SMELT_EXPORT absl::Status CopyStored(const std::string& from, const std::string& to,
                                     const std::string& store = "");

/// Removes names, all of which must exist, and the blobs that no manifest names any more. Where a
/// manifest cannot be read, blobs stay.
SMELT_EXPORT absl::Status RemoveStored(const std::vector<std::string>& names,
                                       const std::string& store = "");

struct PruneResult {
  std::vector<std::string> files;  ///< that went, or would
  uint64_t bytes = 0;
};

/// Removes what no manifest names: blobs and unfinished downloads that are more than an hour old
/// (younger ones may be on their way to a manifest). kInvalidInput when a manifest cannot be read.
SMELT_EXPORT absl::StatusOr<PruneResult> PruneStore(const std::string& store = "",
                                                    bool dry_run = false);

struct VerifyOptions {
  std::vector<std::string> names;  ///< empty: the whole store, orphans too
  std::string store;
  /// Damaged blobs go to the folder smelt-quarantine of the store, so that a pull gets them again.
  bool quarantine = false;
  /// Files that may be the content of missing or damaged blobs: the ones that are take their place.
  std::vector<std::string> repair_from;
};

struct StoreProblem {
  enum class Kind { kBadManifest, kMissing, kWrongSize, kDamaged };
  Kind kind = Kind::kMissing;
  std::string path;                ///< of the manifest (or what lies among them), or of the blob
  std::string what;                ///< a sentence
  std::vector<std::string> names;  ///< models that need the blob
  bool repaired = false, quarantined = false;
};

struct VerifyResult {
  std::string store;
  uint64_t models = 0, blobs = 0, bytes = 0;  ///< that were read
  std::vector<StoreProblem> problems;
  std::vector<std::string> orphans;  ///< blobs that no manifest names

  /// True when there was no problem, or every one is repaired.
  SMELT_EXPORT bool sound() const;
};

/// Reads every blob and compares size and SHA-256 with its name and its manifests.
SMELT_EXPORT absl::StatusOr<VerifyResult> VerifyStore(const VerifyOptions& options,
                                                      const Observer& observer = {});

}  // namespace smelt
