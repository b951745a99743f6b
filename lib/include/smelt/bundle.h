// Models out of an Ollama store, and back into one: as a file, a folder, or a bundle, which is one
// compressed archive of all that the models consist of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct ExportOptions {
  std::vector<std::string> names;  ///< models of the store
  std::string store;               ///< empty: OLLAMA_MODELS or the default folder
  /// NAME.gguf: the weights of one model; NAME.tar.zst: a bundle; else a folder, which becomes an
  /// Ollama store or gets the models if it is one.
  std::string output;
  bool force = false;  ///< replace an existing file
};

struct ExportResult {
  std::string output;
  std::string kind;                ///< "gguf", "store", "bundle"
  std::vector<std::string> names;  ///< as the store spells them
  uint64_t blobs = 0;              ///< of all models; those that several share count once
  uint64_t bytes = 0;              ///< of these blobs
  uint64_t output_bytes = 0;       ///< of the file that was made
};

/// Every blob is compared with its digest on the way. A bundle is a ustar archive of `blobs/` and
/// then `manifests/`, laid out as in a store, compressed by zstd in frames of 8 MiB with a table of
/// them at the end (the seekable format). The same models give the same bytes.
SMELT_EXPORT absl::StatusOr<ExportResult> ExportStored(const ExportOptions& options,
                                                       const Observer& observer = {});

struct BundleOptions {
  std::string bundle;
  std::string name;   ///< what its one model is to be called; empty: the bundle's names
  std::string store;  ///< empty: OLLAMA_MODELS or the default folder
};

struct BundleResult {
  std::vector<std::string> names;
  uint64_t blobs = 0, present = 0;  ///< of the bundle; that the store had already
  uint64_t bytes = 0;               ///< of all of these
};

/// Whether a file is compressed as bundles are. False on any error.
SMELT_EXPORT bool LooksLikeBundle(const std::string& path);

/// Names appear when all blobs of all models are there and right. An import that was interrupted
/// goes on where it was; of a bundle that is refused nothing stays. kInvalidInput for other paths
/// than a store's, links, blobs that are not what their names say, and manifests whose blobs the
/// bundle lacks.
SMELT_EXPORT absl::StatusOr<BundleResult> ImportBundle(const BundleOptions& options,
                                                       const Observer& observer = {});

}  // namespace smelt
