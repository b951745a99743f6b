// The rows of a table that a batch begins with, read by the host: few, of what may be the largest
// tensor of a model.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/host_rows.h"
#include "lib/model/model_source.h"

namespace smelt {

class Embedding {
 public:
  Embedding() = default;
  /// `positions`: a table of learned ones, or kNoTensor. `source` outlives it.
  static absl::StatusOr<Embedding> Open(const ModelSource& source, TensorRef table,
                                        TensorRef positions, float scale);

  /// x = scale * table[ids] (+ positions[position]), for the tokens of a batch of the backend.
  absl::Status Fill(std::span<const int32_t> ids, Backend& backend, const Batch& batch,
                    Buffer& x) const;

 private:
  absl::Status ReadRow(int32_t id, uint64_t position, std::span<float> row) const;

  std::optional<HostRows> table_, positions_;
  float scale_ = 1;
};

}  // namespace smelt
