#include "formats/quantized/float4_matrix.h"

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "lib/base/float8.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kNvfp4Groups = 4;  // of a block of GGUF's

/// The two values of each byte.
constexpr auto kPairs = [] {
  std::array<std::array<float, 2>, 256> pairs{};
  for (size_t byte = 0; byte < 256; ++byte) pairs[byte] = {kE2M1[byte & 15], kE2M1[byte >> 4]};
  return pairs;
}();

/// Pairs of neighbours as pairs of value i and value i + n, 2 n values in all.
void SplitHalves(const std::byte* pairs, uint64_t n, std::byte* out) {
  const auto value = [&](uint64_t i) {
    const auto pair = static_cast<uint8_t>(pairs[i / 2]);
    return static_cast<uint8_t>(i % 2 == 0 ? pair & 15 : pair >> 4);
  };
  for (uint64_t i = 0; i < n; ++i) out[i] = static_cast<std::byte>(value(i) | value(i + n) << 4);
}

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
        const std::array<float, 2>& pair = kPairs[static_cast<uint8_t>(in[i * half + j])];
        *out++ = pair[0] * scale;
        *out++ = pair[1] * scale;
      }
    }
    return absl::OkStatus();
  }

  std::optional<TensorType> block_type() const override {
    if (biased_exponents() && parts_.group == 32) return TensorType::kMXFP4;
    const bool nvfp4 = parts_.scales.dtype() == RawType::kF8_E4M3 && parts_.group == 16 &&
                       parts_.scales.columns() % kNvfp4Groups == 0;
    return nvfp4 ? std::optional(TensorType::kNVFP4) : std::nullopt;
  }
  float block_factor() const override { return parts_.factor / parts_.divisor; }

  /// A block: the scales of its groups, then group by group value i low and value i + group / 2
  /// high in byte i.
  absl::Status ReadBlocks(uint64_t first, uint64_t count, std::byte* out) const override {
    static const PerThread<ByteBuffer> buffer;
    const uint64_t half = parts_.group / 2, groups = count * parts_.scales.columns();
    const uint64_t in_block = biased_exponents() ? 1 : kNvfp4Groups;
    std::byte* const in = buffer->Reserve(groups * (half + 1));
    std::byte* const scales = in + groups * half;
    SMELT_RETURN_IF_ERROR(parts_.values.Read(first, count, in));
    SMELT_RETURN_IF_ERROR(parts_.scales.Read(first, count, scales));
    if (!biased_exponents()) SMELT_RETURN_IF_ERROR(CheckPositive(first, scales, groups));
    for (uint64_t g = 0; g < groups; g += in_block) {
      std::memcpy(out, scales + g, in_block);
      out += in_block;
      for (uint64_t i = g; i < g + in_block; ++i) {
        SplitHalves(in + i * half, half, out);
        out += half;
      }
    }
    return absl::OkStatus();
  }

 private:
  bool biased_exponents() const { return parts_.scales.dtype() == RawType::kF8_E8M0; }

  /// GGUF's scales have no sign.
  absl::Status CheckPositive(uint64_t first, const std::byte* scales, uint64_t n) const {
    const uint64_t columns = parts_.scales.columns();
    for (uint64_t i = 0; i < n; ++i) {
      const auto bits = static_cast<uint8_t>(scales[i]);
      if (bits < 0x7f || bits == 0x80) continue;
      return Error(ErrorCode::kInvalidInput, "tensor ", Escape(parts_.scales.tensor().name),
                   " has the value ", Cat(kE4M3[bits]), " at row ", first + i / columns,
                   ", column ", i % columns, " (counted from 0): scales are positive numbers");
    }
    return absl::OkStatus();
  }

  absl::Status ReadScales(uint64_t first, uint64_t count, float* out) const {
    const uint64_t n = count * parts_.scales.columns();
    SMELT_RETURN_IF_ERROR(parts_.scales.ReadScales(first, count, out));
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
