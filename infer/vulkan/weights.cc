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
  HostRows rows(source, tensor);
  if (use != WeightUse::kValues) SMELT_RETURN_IF_ERROR(rows.Map());
  auto weight = std::make_shared<DeviceWeight>(std::move(rows));
  const HostRows& host = weight->host_;
  const TensorType type = host.mapped() ? host.type() : TensorType::kF32;
  const uint64_t row_bytes = RowBytes(type, host.columns()).value_or(0);
  if (row_bytes == 0 || row_bytes > UINT32_MAX || host.rows() > UINT32_MAX) {
    return Error(ErrorCode::kUnsupported, "tensor '", Escape(host.name()),
                 "' is too large for a device; use --device cpu");
  }
  weight->row_bytes_ = static_cast<uint32_t>(row_bytes);
  weight->format_ = LowerAscii(Info(type).name);
  weight->integer_ = host.mapped() && host.codec().unpack_group() != 0;
  for (const bool rounded : {false, true}) {
    const std::string of = (rounded ? "8_" : "_") + weight->format_;
    weight->vector_shaders_[rounded] = "matvec" + of;
    weight->matrix_shaders_[rounded] = "matmul" + of;
  }
  return std::shared_ptr<const DeviceWeight>(std::move(weight));
}

absl::Status DeviceWeight::Bring(Device& device) const {
  if (rows_.present()) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(rows_, BringRows(device, 0, host_.rows()));
  return absl::OkStatus();
}

absl::StatusOr<DeviceRows> DeviceWeight::BringRows(Device& device, uint64_t first,
                                                   uint64_t count) const {
  const auto bring = [&]() -> absl::StatusOr<DeviceRows> {
    SMELT_ASSIGN_OR_RETURN(Memory rows, device.Allocate(count * row_bytes_ + kOverrun));
    SMELT_RETURN_IF_ERROR(Write(device, rows, first, count));
    Memory factors;
    if (host_.mapped() && host_.has_factors()) {
      std::vector<float> values(count);
      for (uint64_t i = 0; i < count; ++i) values[i] = host_.factor(first + i);
      SMELT_ASSIGN_OR_RETURN(factors, device.Allocate(count * sizeof(float)));
      SMELT_RETURN_IF_ERROR(device.Write(factors, 0, std::as_bytes(std::span(values))));
    }
    return DeviceRows(std::move(rows), std::move(factors), first, row_bytes_);
  };
  absl::StatusOr<DeviceRows> rows = bring();
  if (!rows.ok()) return Prefixed(Cat("tensor '", Escape(host_.name()), "': "), rows.status());
  return rows;
}

absl::Status DeviceWeight::Write(Device& device, const Memory& to, uint64_t first,
                                 uint64_t count) const {
  const uint64_t bytes = count * row_bytes_;
  if (host_.mapped() && host_.contiguous()) return device.Write(to, 0, {host_.row(first), bytes});
  const uint64_t together = host_.mapped() ? 1 : host_.tile_rows();
  const uint64_t tile = std::max<uint64_t>(1, kTileBytes / row_bytes_ / together) * together;
  const uint64_t columns = host_.columns();
  std::vector<float> decoded;
  for (uint64_t at = 0; at < count; at += tile) {
    SMELT_RETURN_IF_ERROR(GoOn());
    const uint64_t some = std::min(tile, count - at);
    if (host_.mapped()) {
      for (uint64_t r = at; r < at + some; ++r)
        SMELT_RETURN_IF_ERROR(device.Write(to, r * row_bytes_, {host_.row(first + r), row_bytes_}));
      continue;
    }
    decoded.resize(some * columns);
    SMELT_RETURN_IF_ERROR(host_.Decode(first + at, some, 0, columns, decoded.data(), columns));
    SMELT_RETURN_IF_ERROR(device.Write(to, at * row_bytes_, std::as_bytes(std::span(decoded))));
  }
  return absl::OkStatus();
}

}  // namespace smelt::vulkan
