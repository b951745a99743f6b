#include "lib/model/merged_matrix.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/recipe.h"

namespace smelt {
namespace {

constexpr uint64_t kColumns = 1024;  // of A that are read at once

class MergedMatrix : public ComputedMatrix {
 public:
  MergedMatrix(const RawTensor& base, LowRank change)
      : ComputedMatrix("merged", base.computed == nullptr ? 0 : base.computed->bits()),
        change_(std::move(change)) {
    recipe_.leaves.push_back(RawLeaf{base, base.shape[1], false});
    info_.name = base.name;
    info_.shape.dims = 2;
    info_.shape.ne = {base.shape[1], base.shape[0], 1, 1};
    info_.recipe = &recipe_;
  }

  absl::Status Check() { return CheckRecipe(info_); }
  uint64_t tile_rows() const override { return info_.tile_rows; }

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    const uint64_t columns = info_.shape.columns(), rank = change_.a.rows();
    SMELT_RETURN_IF_ERROR(ReadRecipeRows(info_, first, count, out));
    std::vector<float> left(count * rank);  // of each row, what each rank adds to it
    SMELT_RETURN_IF_ERROR(ReadFactors(change_.turned ? change_.a : change_.b, change_.turned, first,
                                      count, left.data()));
    std::vector<float> right(rank * kColumns), sum(kColumns);
    for (uint64_t column = 0; column < columns; column += kColumns) {
      const uint64_t n = std::min(kColumns, columns - column);
      SMELT_RETURN_IF_ERROR(ReadFactors(change_.turned ? change_.b : change_.a, change_.turned,
                                        column, n, right.data(), true));
      for (uint64_t i = 0; i < count; ++i) {
        std::fill_n(sum.data(), n, 0.0f);
        for (uint64_t k = 0; k < rank; ++k) {
          const float factor = left[i * rank + k];
          const float* const line = right.data() + k * n;
          for (uint64_t c = 0; c < n; ++c) sum[c] += factor * line[c];
        }
        float* const row = out + i * columns + column;
        for (uint64_t c = 0; c < n; ++c) row[c] += change_.scale * sum[c];
      }
    }
    return change_.magnitudes ? SetLengths(first, count, out) : absl::OkStatus();
  }

 private:
  /// Factors of rows or columns [first, +count). Stored (rank, all) or, `of_outputs`, (all, rank);
  /// wanted (count, rank), or (rank, count) for columns.
  static absl::Status ReadFactors(const StoredMatrix& stored, bool turned, uint64_t first,
                                  uint64_t count, float* out, bool columns = false) {
    const bool by_rank = turned != columns;  // stored with a line for every rank
    const uint64_t rank = by_rank ? stored.rows() : stored.columns();
    if (by_rank == columns) {
      return by_rank ? stored.ReadFloats(0, rank, first, count, out)
                     : stored.ReadFloats(first, count, out);
    }
    std::vector<float> lines(rank * count);
    SMELT_RETURN_IF_ERROR(by_rank ? stored.ReadFloats(0, rank, first, count, lines.data())
                                  : stored.ReadFloats(first, count, lines.data()));
    const uint64_t height = by_rank ? rank : count, width = by_rank ? count : rank;
    for (uint64_t i = 0; i < height; ++i) {
      for (uint64_t j = 0; j < width; ++j) out[j * height + i] = lines[i * width + j];
    }
    return absl::OkStatus();
  }

  absl::Status SetLengths(uint64_t first, uint64_t count, float* out) const {
    const uint64_t columns = info_.shape.columns();
    std::vector<float> lengths(count);
    SMELT_RETURN_IF_ERROR(change_.magnitudes->ReadFloats(first, count, lengths.data()));
    for (uint64_t i = 0; i < count; ++i) {
      float* const row = out + i * columns;
      double square = 0;
      for (uint64_t c = 0; c < columns; ++c) square += static_cast<double>(row[c]) * row[c];
      const float factor = lengths[i] / static_cast<float>(std::sqrt(square));
      for (uint64_t c = 0; c < columns; ++c) row[c] *= factor;
    }
    return absl::OkStatus();
  }

  LowRank change_;
  Recipe recipe_;
  TensorInfo info_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const ComputedMatrix>> MergeLowRank(const RawTensor& base,
                                                                   LowRank change) {
  const StoredMatrix &a = change.a, &b = change.b;
  if (base.shape.size() != 2) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(base.name), " of shape ",
                 ShapeText(base.shape), " is no matrix, and adapters of others are not merged");
  }
  const uint64_t outputs = base.shape[change.turned ? 1 : 0],
                 inputs = base.shape[change.turned ? 0 : 1];
  if (a.columns() != inputs || b.rows() != outputs || a.rows() != b.columns() || a.rows() == 0) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(a.tensor().name), " of shape ",
                 ShapeText(a.tensor().shape), " and its lora_B of ", ShapeText(b.tensor().shape),
                 " do not fit ", Escape(base.name), " of ", ShapeText(base.shape),
                 ": is this the base that the adapter was trained on?");
  }
  if (change.magnitudes && change.turned) {
    return Error(
        ErrorCode::kUnsupported, "tensor ", Escape(change.magnitudes->tensor().name),
        ": DoRA of embeddings, and of matrices that are stored inputs first, is not merged; "
        "merge it with peft (merge_and_unload)");
  }
  if (change.magnitudes && change.magnitudes->tensor().elements() != outputs) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(change.magnitudes->tensor().name),
                 " of shape ", ShapeText(change.magnitudes->tensor().shape), " has no length for ",
                 "each of the ", outputs, " rows");
  }
  auto merged = std::make_shared<MergedMatrix>(base, std::move(change));
  SMELT_RETURN_IF_ERROR(merged->Check());
  return std::shared_ptr<const ComputedMatrix>(std::move(merged));
}

}  // namespace smelt
