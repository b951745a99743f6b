// What is known about the inputs of one layer's matrices: importance, and second moments of those
// that are rounded with them.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "infer/tap.h"
#include "lib/jobs/importance_tap.h"
#include "lib/model/model_source.h"

namespace smelt {

/// A matrix that a tensor has one or several of.
struct MatrixRef {
  TensorRef tensor = kNoTensor;
  uint64_t index = 0;

  friend auto operator<=>(const MatrixRef&, const MatrixRef&) = default;
};

/// Gives the memory of a second moment back.
struct ReleaseGram {
  uint64_t mapped = 0;  ///< bytes of a temporary file; 0: ordinary memory
  void operator()(float* memory) const;
};

/// One second moment and the matrices that share it.
class SharedGram {
 public:
  static absl::StatusOr<std::unique_ptr<SharedGram>> Make(uint64_t columns, bool in_file);

  InputGram gram;
  std::vector<MatrixRef> matrices;  ///< in the order in which they asked

  uint64_t bytes() const { return gram.columns * gram.columns * sizeof(float); }

 private:
  std::unique_ptr<float[], ReleaseGram> sums_;
};

class StatisticsTap : public ImportanceTap {
 public:
  /// Second moments up to this are kept in memory, more of a layer's in temporary files.
  static constexpr uint64_t kInMemory = 64ull << 20;

  /// `moments`: by source tensor, whether its second moment is asked for.
  StatisticsTap(const ModelSource& source, std::vector<bool> moments)
      : ImportanceTap(source, true), wanted_(std::move(moments)) {}

  absl::StatusOr<InputGram*> Gram(TensorRef tensor, uint64_t index, uint64_t columns,
                                  InputGram* same) override;

  const std::vector<std::unique_ptr<SharedGram>>& grams() const { return grams_; }
  /// Forgets everything.
  void Clear();

 private:
  const std::vector<bool> wanted_;
  std::vector<std::unique_ptr<SharedGram>> grams_;
  std::map<MatrixRef, SharedGram*> of_matrix_;
  uint64_t in_memory_ = 0;
};

}  // namespace smelt
