#include "formats/computed_matrix.h"

namespace smelt {
namespace {

class Rows : public ComputedMatrix {
 public:
  Rows(std::shared_ptr<const ComputedMatrix> whole, uint64_t first)
      : ComputedMatrix(whole->format(), whole->bits()), whole_(std::move(whole)), first_(first) {}

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    return whole_->ReadRows(first_ + first, count, out);
  }
  uint64_t tile_rows() const override { return whole_->tile_rows(); }
  std::optional<TensorType> block_type() const override { return whole_->block_type(); }
  float block_factor() const override { return whole_->block_factor(); }
  absl::Status ReadBlocks(uint64_t first, uint64_t count, std::byte* out) const override {
    return whole_->ReadBlocks(first_ + first, count, out);
  }

 private:
  std::shared_ptr<const ComputedMatrix> whole_;
  uint64_t first_;
};

}  // namespace

RawTensor OuterSlice(const RawTensor& tensor, uint64_t first, uint64_t count) {
  RawTensor part = tensor;
  part.shape[0] = count;
  part.offset += first * static_cast<uint64_t>(tensor.strides[0]) * BitsOf(tensor.dtype) / 8;
  if (tensor.computed != nullptr) {
    uint64_t rows = first;
    for (size_t i = 1; i + 1 < tensor.shape.size(); ++i) rows *= tensor.shape[i];
    part.computed = std::make_shared<Rows>(tensor.computed, rows);
  }
  return part;
}

}  // namespace smelt
