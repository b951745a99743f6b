// Block formats on a device against the codecs.
#ifdef SMELT_HAS_VULKAN

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "infer/vulkan/kernels.h"
#include "infer/vulkan/weights.h"
#include "lib/base/status.h"
#include "quant/codec.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

/// One tensor of some rows, as its blocks are.
class OneTensor : public ModelSource {
 public:
  OneTensor(TensorType type, std::vector<std::byte> blocks, uint64_t rows, uint64_t columns)
      : blocks_(std::move(blocks)) {
    TensorInfo info;
    info.name = "blocks";
    info.shape.ne = {columns, rows, 1, 1};
    info.shape.dims = 2;
    info.type = type;
    tensors_.push_back(info);
  }
  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::string& name() const override { return tensors_[0].name; }
  std::string identity() const override { return name(); }
  absl::Status ReadRows(size_t, uint64_t, uint64_t, float*) const override {
    return Error(ErrorCode::kUnsupported, "rows are mapped");
  }
  absl::Status ReadRawRows(size_t, uint64_t, uint64_t, std::byte*) const override {
    return Error(ErrorCode::kUnsupported, "rows are mapped");
  }
  absl::StatusOr<MappedRows> MapRows(size_t) const override {
    MappedRows rows;
    rows.base = blocks_.data();
    rows.stride = *RowBytes(tensors_[0].type, tensors_[0].shape.columns());
    return rows;
  }

 private:
  const std::vector<std::byte> blocks_;
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
};

TEST(VulkanFormats, DecodeBitForBit) {
  SMELT_REQUIRE_VULKAN();
  const auto physical = vulkan::FindPhysicalDevices();
  SMELT_ASSERT_OK(physical);
  const auto device = vulkan::Device::Open(physical->front(), 0);
  SMELT_ASSERT_OK(device);
  vulkan::Kernels kernels(**device);
  SMELT_ASSERT_OK(kernels.Open());
  for (const TensorType type : DecodeTypes()) {
    const std::vector<float> expected = DecodeValues(type);
    // As rows of one block, whose bytes need not be aligned.
    const uint64_t columns = Info(type).quantized ? Info(type).block_elements : 36;
    const uint64_t rows = expected.size() / columns;
    const OneTensor source(type, DecodeBlocks(type), rows, columns);
    const auto weight = vulkan::DeviceWeight::Load(source, 0, WeightUse::kStream);
    SMELT_ASSERT_OK(weight);
    const auto to = (*device)->Allocate(rows * columns * sizeof(float));
    SMELT_ASSERT_OK(to);
    SMELT_ASSERT_OK(kernels.Decode(*weight, to->address()));
    std::vector<float> values(rows * columns);
    SMELT_ASSERT_OK((*device)->Read(*to, 0, std::as_writable_bytes(std::span(values))));
    size_t different = 0, first = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::memcmp(&values[i], &expected[i], sizeof(float)) == 0) continue;
      if (std::isnan(values[i]) && std::isnan(expected[i])) continue;
      if (different++ == 0) first = i;
    }
    EXPECT_EQ(different, 0u) << Info(type).name << ", value " << first << ": " << values[first]
                             << " for " << expected[first];
  }
}

}  // namespace
}  // namespace smelt

#endif
