#include "lib/model/merged_matrix.h"

#include <memory>
#include <utility>

#include "formats/computed_matrix.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

class MergedMatrix : public ComputedMatrix {
 public:
  MergedMatrix(RecipeMatrix base, uint32_t bits)
      : ComputedMatrix("merged", bits),
        base_(base),
        merged_(base.name(), base.rows(), base.columns(),
                [base](uint64_t first, uint64_t count, float* out) {
                  return base.ReadRows(first, count, out);
                }) {}

  absl::Status Add(TensorChange change) { return merged_.Add(std::move(change)); }

  uint64_t tile_rows() const override { return base_.tile_rows(); }
  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    return merged_.Read(first, count, out);
  }

 private:
  RecipeMatrix base_;
  MergedRows merged_;
};

}  // namespace

absl::Status MergeInto(TensorChange change, RawTensor& base) {
  std::shared_ptr<MergedMatrix> merged;
  if (const auto* earlier = dynamic_cast<const MergedMatrix*>(base.computed.get())) {
    merged = std::make_shared<MergedMatrix>(*earlier);
  } else {
    SMELT_ASSIGN_OR_RETURN(RecipeMatrix matrix, RecipeMatrix::Of(base));
    merged = std::make_shared<MergedMatrix>(std::move(matrix),
                                            base.computed == nullptr ? 0 : base.computed->bits());
  }
  SMELT_RETURN_IF_ERROR(merged->Add(std::move(change)));
  base.dtype = RawType::kF32;
  base.strides = ContiguousStrides(base.shape);
  base.computed = std::move(merged);
  return absl::OkStatus();
}

}  // namespace smelt
