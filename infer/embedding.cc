#include "infer/embedding.h"

#include <algorithm>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kBlockBytes = 4ull << 20;  // of rows that are read together

}  // namespace

absl::StatusOr<Embedding> Embedding::Open(const ModelSource& source, TensorRef table,
                                          TensorRef positions, float scale) {
  Embedding embedding;
  embedding.scale_ = scale;
  SMELT_RETURN_IF_ERROR(embedding.table_.emplace(source, table).Map());
  if (positions != kNoTensor)
    SMELT_RETURN_IF_ERROR(embedding.positions_.emplace(source, positions).Map());
  return embedding;
}

absl::Status Embedding::ReadRow(int32_t id, uint64_t position, std::span<float> row) const {
  const size_t width = row.size();
  SMELT_RETURN_IF_ERROR(table_->Decode(static_cast<uint64_t>(id), 1, 0, width, row.data(), width));
  for (float& v : row) v *= scale_;
  if (!positions_) return absl::OkStatus();
  if (position >= positions_->rows()) {
    return Error(ErrorCode::kInvalidInput, "position ", position, " is beyond the model's ",
                 positions_->rows(), " learned positions; use a shorter context");
  }
  std::vector<float> place(width);
  SMELT_RETURN_IF_ERROR(positions_->Decode(position, 1, 0, width, place.data(), width));
  for (size_t i = 0; i < width; ++i) row[i] += place[i];
  return absl::OkStatus();
}

absl::Status Embedding::Fill(std::span<const int32_t> ids, Backend& backend, const Batch& batch,
                             Buffer& x) const {
  std::vector<uint64_t> positions;
  for (const Sequence& s : batch.sequences)
    for (uint64_t t = 0; t < s.tokens; ++t) positions.push_back(s.position + t);
  const uint64_t width = table_->columns();
  const uint64_t block = std::max<uint64_t>(1, kBlockBytes / (width * sizeof(float)));
  std::vector<float> rows;
  for (uint64_t first = 0; first < ids.size(); first += block) {
    const uint64_t count = std::min<uint64_t>(block, ids.size() - first);
    rows.resize(count * width);
    SMELT_RETURN_IF_ERROR(ParallelFor(count, 64, [&](uint64_t begin, uint64_t end) {
      for (uint64_t t = begin; t < end; ++t) {
        SMELT_RETURN_IF_ERROR(ReadRow(ids[first + t], positions[first + t],
                                      std::span(rows).subspan(t * width, width)));
      }
      return absl::OkStatus();
    }));
    SMELT_RETURN_IF_ERROR(backend.Write(batch, static_cast<uint32_t>(first), rows, x));
  }
  return absl::OkStatus();
}

}  // namespace smelt
