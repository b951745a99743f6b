#include "lib/jobs/fill.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numeric>

#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/source_place.h"
#include "lib/model/recipe.h"
#include "quant/codec.h"
#include "quant/encoder.h"

namespace smelt {
namespace {

/// What one worker needs for one tile; reused for all of its tiles.
struct Scratch {
  std::unique_ptr<float[]> values;
  uint64_t capacity = 0;
  std::vector<std::byte> bytes;
  std::vector<float> importance;
  EncodeScratch encode;

  float* Values(uint64_t n) {
    if (n > capacity) {
      values = std::make_unique_for_overwrite<float[]>(n);
      capacity = n;
    }
    return values.get();
  }
};

Effort EffortOf(const Plan& plan) {
  return EffortNamed(plan.options.effort).value_or(Effort::kNormal);
}

// Stored bytes that are the output's bytes.
bool PassesThrough(const TensorInfo& info, TensorType type) {
  return info.type == type && (info.recipe == nullptr || info.recipe->only_gathers());
}

// Column of the element that spoils a block: the first that is not finite, else the largest.
uint64_t WorstColumn(const float* values, uint64_t n) {
  uint64_t worst = 0;
  for (uint64_t i = 0; i < n; ++i) {
    if (!std::isfinite(values[i])) return i;
    if (std::fabs(values[i]) > std::fabs(values[worst])) worst = i;
  }
  return worst;
}

/// Shared state of the workers.
class TileFiller : public Filler {
 public:
  TileFiller(std::span<const FillTarget> targets, const ModelSource& source,
             const Observer& observer, MemoryPeak& peak)
      : targets_(targets), source_(source), observer_(observer), peak_(peak) {
    for (const FillTarget& target : targets) {
      std::vector<const PlannedTensor*>& planned = planned_.emplace_back(source.tensors().size());
      for (const PlannedTensor& t : target.plan->tensors) {
        total_ += t.bytes;
        planned[t.source] = &t;
      }
      done_ += target.output->done_bytes;
      fingerprints_.push_back(target.plan->Fingerprint());
    }
  }

  absl::Status WriteHeaders() {
    for (const FillTarget& target : targets_) {
      for (size_t i = 0; i < target.plan->files.size(); ++i)
        SMELT_RETURN_IF_ERROR(target.output->files[i]->WriteAt(0, target.plan->files[i].header));
    }
    Report(0);
    return absl::OkStatus();
  }

  absl::Status Encode(std::span<const SourceMatrix> matrices,
                      const GatheredStatistics& gathered) override {
    std::vector<SourceTile> tiles;
    for (const SourceMatrix& m : matrices) {
      const PlannedTensor* const t = Planned(m.tensor);
      const uint64_t count = t == nullptr ? 0 : t->tiles_per_matrix();
      for (uint64_t n = 0; n < count; ++n) tiles.push_back({m.tensor, m.matrix * count + n});
    }
    return EncodeTiles(tiles, gathered);
  }

  absl::Status Encode(std::span<const size_t> tensors) override {
    std::vector<SourceTile> tiles;
    for (const size_t tensor : tensors) {
      const PlannedTensor* const t = Planned(tensor);
      for (uint64_t n = 0; t != nullptr && n < t->tiles; ++n) tiles.push_back({tensor, n});
    }
    return EncodeTiles(tiles, {});
  }

 private:
  /// A tensor's tiles are the same in all plans that have it.
  struct SourceTile {
    size_t tensor = 0;  ///< of the source
    uint64_t tile = 0;  ///< of the tensor
    friend auto operator<=>(const SourceTile&, const SourceTile&) = default;
  };

  /// A tensor as any of the plans has it, or nullptr.
  const PlannedTensor* Planned(size_t tensor) const {
    for (const std::vector<const PlannedTensor*>& planned : planned_)
      if (planned[tensor] != nullptr) return planned[tensor];
    return nullptr;
  }

  absl::Status EncodeTiles(std::span<const SourceTile> tiles, const GatheredStatistics& gathered) {
    gathered_ = &gathered;
    std::vector<Scratch> scratch(static_cast<size_t>(Threads()));
    SMELT_RETURN_IF_ERROR(
        ParallelForWorkers(tiles.size(), 1, [&](uint64_t begin, uint64_t end, int worker) {
          for (uint64_t i = begin; i < end && !stopped_.load(std::memory_order_relaxed); ++i) {
            absl::Status status = FillTile(tiles[i], scratch[static_cast<size_t>(worker)]);
            if (!status.ok()) Stop(tiles[i], std::move(status));
          }
        }));
    return error_;
  }

  // The error of the lowest tile wins, so that messages do not depend on the order of threads more
  // than they must.
  void Stop(const SourceTile& tile, absl::Status status) {
    stopped_.store(true, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    if (error_.ok() || tile < error_tile_) {
      error_ = std::move(status);
      error_tile_ = tile;
    }
  }

  absl::Status FillTile(const SourceTile& which, Scratch& scratch) {
    const float* values = nullptr;
    for (size_t i = 0; i < targets_.size(); ++i) {
      const PlannedTensor* const planned = planned_[i][which.tensor];
      if (planned == nullptr) continue;
      const uint64_t number = planned->first_tile + which.tile;
      if (targets_[i].output->done[number]) continue;
      SMELT_RETURN_IF_ERROR(GoOn());
      const Plan& plan = *targets_[i].plan;
      const Tile tile = plan.TileAt(number);
      SMELT_RETURN_IF_ERROR(MakeTile(plan, tile, scratch, values));
      PartialOutput& output = *targets_[i].output;
      SMELT_RETURN_IF_ERROR(output.files[tile.file]->WriteAt(tile.offset, scratch.bytes));
      SMELT_RETURN_IF_ERROR(
          output.journals[tile.file]->Add(number, TileHash(fingerprints_[i], scratch.bytes)));
      if (output.hash != nullptr) SMELT_RETURN_IF_ERROR(output.hash->Written(number));
      Report(tile.bytes);
    }
    return absl::OkStatus();
  }

  // Leaves the tile's bytes, padding included, in scratch.bytes. `values`: its rows as f32, once
  // they were read.
  absl::Status MakeTile(const Plan& plan, const Tile& tile, Scratch& scratch,
                        const float*& values) {
    const PlannedTensor& planned = plan.tensors[tile.tensor];
    const TensorInfo& info = source_.tensors()[planned.source];
    const uint64_t columns = planned.shape.columns();
    scratch.bytes.resize(tile.bytes + tile.padding);
    std::memset(scratch.bytes.data() + tile.bytes, 0, tile.padding);
    if (PassesThrough(info, planned.type)) {
      SMELT_RETURN_IF_ERROR(
          source_.ReadRawRows(planned.source, tile.first_row, tile.rows, scratch.bytes.data()));
    } else {
      if (values == nullptr) {
        float* out = scratch.Values(tile.rows * columns);
        SMELT_RETURN_IF_ERROR(source_.ReadRows(planned.source, tile.first_row, tile.rows, out));
        values = out;
      }
      SMELT_ASSIGN_OR_RETURN(const InputStatistics statistics, StatisticsOf(plan, tile, scratch));
      FindEncoder(planned.type, EffortOf(plan))
          ->Encode(tile.rows, columns, values, statistics, scratch.bytes.data(), scratch.encode);
    }
    return CheckTile(info, planned, tile, values, scratch);
  }

  absl::StatusOr<InputStatistics> StatisticsOf(const Plan& plan, const Tile& tile,
                                               Scratch& scratch) const {
    const PlannedTensor& planned = plan.tensors[tile.tensor];
    if (planned.importance < 0 && !*gathered_) return InputStatistics{};
    const uint64_t matrix = tile.first_row / planned.matrix_rows();
    scratch.importance.assign(planned.shape.columns(), 0.0f);
    InputStatistics statistics{.importance = scratch.importance};
    if (*gathered_) statistics.factor = (*gathered_)(planned, matrix, scratch.importance);
    if (statistics.factor != nullptr && statistics.factor->columns() != scratch.importance.size()) {
      return Error(ErrorCode::kInternal, "tensor ", Escape(planned.name),
                   ": what was gathered of its inputs is of ", statistics.factor->columns(),
                   " columns, it has ", scratch.importance.size());
    }
    const auto zero = [](float value) { return value == 0; };
    if (planned.importance < 0 || !std::ranges::all_of(scratch.importance, zero)) return statistics;
    SMELT_RETURN_IF_ERROR(plan.importance->ReadImportance(static_cast<size_t>(planned.importance),
                                                          matrix, scratch.importance));
    return statistics;
  }

  absl::Status CheckTile(const TensorInfo& info, const PlannedTensor& planned, const Tile& tile,
                         const float* values, const Scratch& scratch) const {
    const Codec* codec = FindCodec(planned.type);
    const uint64_t columns = planned.shape.columns();
    uint64_t block = 0;
    if (codec == nullptr || codec->Validate(scratch.bytes.data(), tile.rows * columns, &block))
      return absl::OkStatus();
    const uint64_t size = Info(planned.type).block_elements;
    const uint64_t row = block * size / columns, first = block * size % columns;
    if (values == nullptr) {
      return Error(ErrorCode::kInvalidInput, "tensor ", Escape(planned.name),
                   ": not a number or infinite at ",
                   SourcePlaceOf(info, tile.first_row + row, first), ": weights must be finite");
    }
    const uint64_t column = first + WorstColumn(values + row * columns + first, size);
    return Error(
        ErrorCode::kUnsupported, "tensor ", Escape(planned.name), ": the value ",
        static_cast<double>(values[row * columns + column]), " at ",
        SourcePlaceOf(info, tile.first_row + row, column), ", is beyond what ",
        Info(planned.type).name, " can hold",
        Info(planned.type).quantized ? " (its scale would be infinite)" : "",
        planned.type == TensorType::kBF16 ? "; try --type f32" : "; try --type bf16 or f32");
  }

  void Report(uint64_t bytes) {
    peak_.Sample();
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    observer_.Report({.phase = "writing", .done = done_, .total = total_, .unit = "bytes"});
  }

  const std::span<const FillTarget> targets_;
  const ModelSource& source_;
  const Observer& observer_;
  MemoryPeak& peak_;
  const GatheredStatistics* gathered_ = nullptr;
  std::vector<uint64_t> fingerprints_;
  std::vector<std::vector<const PlannedTensor*>> planned_;  ///< [target][tensor of the source]
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  absl::Status error_;
  SourceTile error_tile_;
  uint64_t done_ = 0, total_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Filler>> Filler::Open(std::span<const FillTarget> targets,
                                                     const ModelSource& source,
                                                     const Observer& observer, MemoryPeak& peak) {
  auto filler = std::make_unique<TileFiller>(targets, source, observer, peak);
  SMELT_RETURN_IF_ERROR(filler->WriteHeaders());
  return std::unique_ptr<Filler>(std::move(filler));
}

absl::Status Fill(std::span<const FillTarget> targets, const ModelSource& source,
                  const Observer& observer, MemoryPeak& peak) {
  if (targets.empty()) return absl::OkStatus();
  const JobScope job(observer);
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Filler> filler,
                         Filler::Open(targets, source, job.observer(), peak));
  std::vector<size_t> all(source.tensors().size());
  std::iota(all.begin(), all.end(), size_t{0});
  return filler->Encode(all);
}

}  // namespace smelt
