#include "infer/vulkan/weights.h"

#include <algorithm>
#include <vector>

#include "lib/base/ascii.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

constexpr uint64_t kTileBytes = 4ull << 20;
constexpr uint64_t kOverrun = 64;  // shaders read whole words and octets

}  // namespace

absl::StatusOr<std::shared_ptr<const DeviceWeight>> DeviceWeight::Load(const ModelSource& source,
                                                                       TensorRef tensor,
                                                                       WeightUse use) {
  auto weight = std::make_shared<DeviceWeight>();
  weight->values_ = use == WeightUse::kValues;
  weight->name_ = source.tensors()[static_cast<size_t>(tensor)].name;
  SMELT_ASSIGN_OR_RETURN(
      weight->host_,
      cpu::CpuWeight::Load(source, tensor, weight->values_ ? use : WeightUse::kStream));
  const cpu::CpuWeight& host = *weight->host_;
  const TensorType type =
      !weight->values_ && host.mapped() ? host.codec().type() : TensorType::kF32;
  const uint64_t row_bytes = RowBytes(type, host.columns()).value_or(0);
  if (row_bytes == 0 || row_bytes > UINT32_MAX || host.rows() > UINT32_MAX) {
    return Error(ErrorCode::kUnsupported, "tensor '", Escape(weight->name_),
                 "' is too large for a device; use --device cpu");
  }
  weight->row_bytes_ = static_cast<uint32_t>(row_bytes);
  weight->format_ = LowerAscii(Info(type).name);
  return std::shared_ptr<const DeviceWeight>(std::move(weight));
}

absl::Status DeviceWeight::Bring(Device& device) const {
  if (memory_.size() != 0) return absl::OkStatus();
  absl::Status status = BringRows(device);
  if (!status.ok()) {
    memory_ = Memory();
    return Prefixed(Cat("tensor '", Escape(name_), "': "), status);
  }
  return status;
}

absl::Status DeviceWeight::BringRows(Device& device) const {
  const uint64_t rows = host_->rows(), bytes = rows * row_bytes_;
  SMELT_ASSIGN_OR_RETURN(memory_, device.Allocate(bytes + kOverrun));
  if (values_) {
    return device.Write(memory_, 0, {reinterpret_cast<const std::byte*>(host_->values()), bytes});
  }
  if (host_->mapped() && host_->has_factors()) {
    std::vector<float> factors(rows);
    for (uint64_t i = 0; i < rows; ++i) factors[i] = host_->factor(i);
    SMELT_ASSIGN_OR_RETURN(factors_, device.Allocate(rows * sizeof(float)));
    SMELT_RETURN_IF_ERROR(device.Write(factors_, 0, std::as_bytes(std::span(factors))));
  }
  if (host_->mapped() && host_->contiguous())
    return device.Write(memory_, 0, {host_->row(0), bytes});
  const uint64_t whole = host_->mapped() ? 1 : host_->tile_rows();
  const uint64_t tile = std::max<uint64_t>(1, kTileBytes / row_bytes_ / whole) * whole;
  std::vector<float> decoded;
  for (uint64_t first = 0; first < rows; first += tile) {
    SMELT_RETURN_IF_ERROR(GoOn());
    const uint64_t count = std::min(tile, rows - first);
    if (host_->mapped()) {
      for (uint64_t r = first; r < first + count; ++r)
        SMELT_RETURN_IF_ERROR(device.Write(memory_, r * row_bytes_, {host_->row(r), row_bytes_}));
      continue;
    }
    const uint64_t columns = host_->columns();
    decoded.resize(count * columns);
    SMELT_RETURN_IF_ERROR(host_->Decode(first, count, 0, columns, decoded.data(), columns));
    SMELT_RETURN_IF_ERROR(
        device.Write(memory_, first * row_bytes_, std::as_bytes(std::span(decoded))));
  }
  return absl::OkStatus();
}

}  // namespace smelt::vulkan
