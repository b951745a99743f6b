// How fast a model runs on this machine, and how near that is to what its memory allows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/devices.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct BenchOptions {
  std::string model;
  uint64_t prompt = 512;                 ///< tokens read at once; 0: not measured
  uint64_t generate = 128;               ///< tokens one after the other; 0: not measured
  std::vector<uint64_t> contexts = {0};  ///< tokens that lie before
  std::vector<int> threads = {};         ///< empty: as many as the process may use
  int repeats = 5;
  Activations activations = Activations::kUsual;
  DeviceOptions device = AnyDevice();  ///< what computes
  bool repack = true;                  ///< see GenerateOptions
};

/// Of the repeats, tokens a second.
struct BenchSpeed {
  double median = 0, low = 0, high = 0;
};

/// What a device was told to do for one token of the generation.
struct BenchCommands {
  double dispatches = 0;  ///< runs of a shader
  double barriers = 0;    ///< those that waited for others before them
  double submits = 0;     ///< hand-overs to the driver
};

struct BenchRow {
  int threads = 0;
  uint64_t context = 0;
  std::optional<BenchSpeed> prompt = {}, generation = {};
  /// Read for one token of the generation: weights, and keys and values of what lies before.
  uint64_t bytes_per_token = 0;
  /// Multiplications and additions of one: of products, attention and recurrent states.
  uint64_t operations_per_token = 0;
  std::optional<BenchCommands> commands_per_token = {};  ///< of a device, where it generated
  /// Of the processor alone: measured with as many threads, bytes a second, and the share of it
  /// that the generation (median) uses.
  std::optional<double> read_bandwidth = {}, bandwidth_share = {};
};

struct BenchResult {
  std::string model;
  std::string device = "cpu";                                ///< what computed: DeviceInfo::id
  std::optional<uint64_t> device_layers = {};                ///< as in GenerateResult
  std::string activations = {};                              ///< as in GenerateResult
  std::vector<std::pair<std::string, uint64_t>> types = {};  ///< and bytes of each, most first
  /// Of weights that were copied to the order in which generation reads them fastest.
  uint64_t repacked_bytes = 0;
  std::vector<BenchRow> rows = {};
};

/// Feeds ids drawn at random (the same each time), which a sampler would take no part in. kUsage
/// for no tokens at all, no repeats, or threads below 1.
SMELT_EXPORT absl::StatusOr<BenchResult> Bench(const BenchOptions& options,
                                               const Observer& observer = {});

}  // namespace smelt
