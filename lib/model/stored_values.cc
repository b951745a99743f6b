#include "lib/model/stored_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "lib/base/float16.h"
#include "lib/base/status.h"
#include "quant/codec.h"

namespace smelt {
namespace {

template <typename Stored, typename Fn>
void Convert(const std::byte* in, uint64_t step, uint64_t n, float* out, const Fn& fn) {
  for (uint64_t i = 0; i < n; ++i) {
    Stored value;
    std::memcpy(&value, in + i * step, sizeof value);
    out[i] = fn(value);
  }
}

}  // namespace

void DecodeElements(RawType type, const std::byte* in, uint64_t step, uint64_t n, float* out) {
  if (type == RawType::kF64) {
    return Convert<double>(in, step, n, out, [](double v) { return static_cast<float>(v); });
  }
  const uint64_t size = BitsOf(type) / 8;
  if (step == size) {
    FindCodec(*SameTensorType(type))->Decode(in, n, out);
  } else if (type == RawType::kF32) {
    Convert<float>(in, step, n, out, [](float v) { return v; });
  } else if (type == RawType::kF16) {
    Convert<uint16_t>(in, step, n, out, F16ToF32);
  } else {
    Convert<uint16_t>(in, step, n, out, Bf16ToF32);
  }
}

void CopyElements(const std::byte* in, uint64_t step, uint64_t n, uint64_t size, std::byte* out) {
  if (step == size) {
    std::memcpy(out, in, n * size);
    return;
  }
  for (uint64_t i = 0; i < n; ++i) std::memcpy(out + i * size, in + i * step, size);
}

std::string_view NotFiniteText(float value) {
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "+Inf" : "-Inf";
}

std::optional<uint64_t> FirstNotFinite(const float* values, uint64_t n) {
  constexpr uint64_t kBlock = 1024;
  for (uint64_t begin = 0; begin < n; begin += kBlock) {
    const uint64_t end = std::min(n, begin + kBlock);
    uint32_t bad = 0;  // no early exit inside a block: the loop vectorises
    for (uint64_t i = begin; i < end; ++i) {
      bad |=
          static_cast<uint32_t>((std::bit_cast<uint32_t>(values[i]) & 0x7f800000u) == 0x7f800000u);
    }
    if (bad == 0) continue;
    for (uint64_t i = begin; i < end; ++i) {
      if ((std::bit_cast<uint32_t>(values[i]) & 0x7f800000u) == 0x7f800000u) return i;
    }
  }
  return std::nullopt;
}

}  // namespace smelt
