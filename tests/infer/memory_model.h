// A model in memory with random weights, and a forward pass as plain as the definitions, in double
// precision.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "infer/backend.h"
#include "infer/score.h"
#include "infer/tap.h"
#include "lib/model/layer_spec.h"
#include "lib/model/model_source.h"

namespace smelt::testing {

/// Tensors of random values, stored as f32 or in a block format; mapped or only readable.
class MemoryModel : public ModelSource {
 public:
  explicit MemoryModel(uint64_t seed) : random_(seed) {}

  /// Uniform in [center - spread, center + spread]; in a block format times a number of each
  /// matrix, as NVFP4 has it. Returns the tensor's number.
  TensorRef Add(std::vector<uint64_t> ne, double spread, double center = 0,
                TensorType type = TensorType::kF32);
  /// Recipes that compute cannot be mapped: the engine then reads rows.
  void set_mappable(bool mappable) { mappable_ = mappable; }
  /// Overwrites one value of a tensor that is stored as f32.
  void Set(TensorRef t, size_t element, float value);
  /// The values that the stored bytes mean.
  const std::vector<float>& Values(TensorRef t) const { return values_[static_cast<size_t>(t)]; }
  const Shape& ShapeOf(TensorRef t) const { return tensors_[static_cast<size_t>(t)].shape; }

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::string& name() const override { return name_; }
  std::string identity() const override { return name_; }
  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override;
  absl::Status ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                           std::byte* out) const override;
  absl::StatusOr<MappedRows> MapRows(size_t tensor) const override;

 private:
  std::mt19937_64 random_;
  bool mappable_ = true;
  Metadata metadata_;
  std::string name_ = "memory";
  std::vector<TensorInfo> tensors_;
  std::vector<std::vector<std::byte>> bytes_;
  std::vector<std::vector<float>> values_;
  std::vector<std::vector<float>> factors_;  ///< of each matrix; empty: none
};

/// Logits [position][vocabulary] of one sequence from position 0. With a cache in f16 keys and
/// values are rounded, or what both are made of, after a relative change by `nudge`.
std::vector<std::vector<double>> ReferenceLogits(const ModelSpec& spec, const MemoryModel& model,
                                                 const std::vector<int32_t>& ids,
                                                 CacheType cache = CacheType::kF32,
                                                 double nudge = 0);

/// What goes into the products with a tensor.
struct ReferenceInputs : InputSquares {
  std::vector<double> products;  ///< sums of x x^T, [matrix][column][column]
};

/// What goes into the products of that pass, by tensor, added to `inputs`.
void AddReferenceInputs(const ModelSpec& spec, const MemoryModel& model,
                        const std::vector<int32_t>& ids,
                        std::map<TensorRef, ReferenceInputs>& inputs);

}  // namespace smelt::testing
