// Importance matrices: how large the inputs of every weight are, column by column, on some text.
// Files are those of llama-imatrix: GGUF, or .dat.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/devices.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct ImportanceOptions {
  std::string model;                    ///< directory, GGUF or store name
  std::vector<std::string> text_files;  ///< each cut into chunks by itself; "-" = standard input
  std::string output;                   ///< a name ending in .dat is written in the older format
  uint64_t context = 512;               ///< tokens of a chunk
  uint64_t chunks = 0;                  ///< of each text; 0 = all
  bool process_output = false;          ///< also of output.weight, where a model has one
  /// Merged into the model first: paths, and times how strong they were trained.
  std::vector<std::pair<std::string, double>> adapters = {};
  DeviceOptions device = {};  ///< what computes
  bool force = false;         ///< replace an existing output
};

/// What a file says of one tensor. Importance of a column: mean square of its inputs.
struct ImportanceTensor {
  std::string name;
  uint64_t columns = 0;          ///< 0: a .dat does not tell them from experts
  std::vector<uint64_t> tokens;  ///< that went into each expert (or head); one entry where there
                                 ///< are none; of a .dat: chunks
  uint64_t values = 0;           ///< columns of all experts
  uint64_t zeros = 0;            ///< of them, whose inputs were always 0
  double mean = 0, smallest = 0, largest = 0;  ///< over the columns of experts with tokens
};

struct ImportanceSummary {
  std::string file, format;           ///< "gguf" or "dat"
  std::vector<std::string> datasets;  ///< texts
  uint64_t chunks = 0, chunk_size = 0;
  uint64_t bytes = 0;
  uint64_t tokens = 0;  ///< that were processed now; 0 when merged or shown
  double seconds = 0;
  std::string device = {};  ///< what computed now: DeviceInfo::id; empty when merged or shown
  std::vector<ImportanceTensor> tensors;  ///< sorted by name
};

/// Runs the texts through the model, layer by layer, and writes the file.
SMELT_EXPORT absl::StatusOr<ImportanceSummary> MakeImportance(const ImportanceOptions& options,
                                                              const Observer& observer = {});

/// Adds up the sums and counts of several files of one model.
SMELT_EXPORT absl::StatusOr<ImportanceSummary> MergeImportance(
    const std::vector<std::string>& files, const std::string& output, bool force,
    const Observer& observer = {});

/// What a file says. Everything in it is checked.
SMELT_EXPORT absl::StatusOr<ImportanceSummary> ShowImportance(const std::string& file,
                                                              const Observer& observer = {});

}  // namespace smelt
