#include "formats/quantized/float4_matrix.h"

#include <cstring>
#include <utility>
#include <vector>

#include "lib/base/float8.h"
#include "lib/base/per_thread.h"

namespace smelt {
namespace {

class Float4Matrix : public ComputedMatrix {
 public:
  Float4Matrix(std::string format, Float4Parts parts)
      : ComputedMatrix(std::move(format), 4), parts_(std::move(parts)) {}

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    static const PerThread<ByteBuffer> buffer;
    const uint64_t bytes = parts_.values.columns(), groups = parts_.scales.columns();
    std::byte* const in = buffer->Reserve(count * bytes);
    SMELT_RETURN_IF_ERROR(parts_.values.Read(first, count, in));
    std::vector<float> scales(count * groups);
    SMELT_RETURN_IF_ERROR(ReadScales(first, count, scales.data()));
    const uint64_t half = parts_.group / 2;
    for (uint64_t i = 0; i < count * groups; ++i) {
      const float scale = scales[i];
      for (uint64_t j = 0; j < half; ++j) {
        const auto pair = static_cast<uint8_t>(in[i * half + j]);
        *out++ = kE2M1[pair & 15] * scale;
        *out++ = kE2M1[pair >> 4] * scale;
      }
    }
    return absl::OkStatus();
  }

  std::optional<TensorType> block_type() const override {
    if (!parts_.biased_exponents || parts_.group != 32) return std::nullopt;
    return TensorType::kMXFP4;
  }

  /// A block: the exponent, then value i low and value i + 16 high in byte i.
  absl::Status ReadBlocks(uint64_t first, uint64_t count, std::byte* out) const override {
    static const PerThread<ByteBuffer> buffer;
    constexpr uint64_t kPairs = 16;
    const uint64_t groups = parts_.scales.columns(), blocks = count * groups;
    std::byte* const in = buffer->Reserve(blocks * (kPairs + 1));
    std::byte* const exponents = in + blocks * kPairs;
    SMELT_RETURN_IF_ERROR(parts_.values.Read(first, count, in));
    SMELT_RETURN_IF_ERROR(parts_.scales.Read(first, count, exponents));
    for (uint64_t b = 0; b < blocks; ++b) {
      const std::byte* const pairs = in + b * kPairs;
      *out++ = exponents[b];
      const auto value = [&](uint64_t i) {
        const auto pair = static_cast<uint8_t>(pairs[i / 2]);
        return static_cast<uint8_t>(i % 2 == 0 ? pair & 15 : pair >> 4);
      };
      for (uint64_t i = 0; i < kPairs; ++i)
        *out++ = static_cast<std::byte>(value(i) | value(i + kPairs) << 4);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadScales(uint64_t first, uint64_t count, float* out) const {
    const uint64_t n = count * parts_.scales.columns();
    if (parts_.biased_exponents) {
      std::vector<uint8_t> exponents(n);
      SMELT_RETURN_IF_ERROR(
          parts_.scales.Read(first, count, reinterpret_cast<std::byte*>(exponents.data())));
      for (uint64_t i = 0; i < n; ++i) out[i] = E8M0ToF32(exponents[i]);
    } else {
      SMELT_RETURN_IF_ERROR(parts_.scales.ReadFloats(first, count, out));
    }
    for (uint64_t i = 0; i < n; ++i) out[i] = out[i] * parts_.factor / parts_.divisor;
    return absl::OkStatus();
  }

  Float4Parts parts_;
};

}  // namespace

std::shared_ptr<const ComputedMatrix> MakeFloat4Matrix(std::string format, Float4Parts parts) {
  return std::make_shared<Float4Matrix>(std::move(format), std::move(parts));
}

}  // namespace smelt
