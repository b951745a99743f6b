#include "quant/float_codecs.h"

#include <cstring>

#include "quant/block_bytes.h"
#include "quant/block_kernels.h"

namespace smelt {
namespace {

/// What the three have in common: no integer form, and elements that must be finite.
class FloatCodec : public Codec {
 public:
  explicit FloatCodec(TensorType type) : type_(type) {}
  TensorType type() const override { return type_; }
  void DotQ8(const std::byte*, uint64_t, uint64_t, const Activations8&, float*) const override {}
  uint32_t unpack_group() const override { return 0; }
  bool unpack_has_minimum() const override { return false; }
  CodeRange unpack_range() const override { return {}; }
  void Unpack8(const std::byte*, uint64_t, Unpacked8) const override {}

 protected:
  /// First of `count` unsigned elements whose exponent bits (`mask`) are all set.
  template <typename Bits>
  static bool AllFinite(const std::byte* in, uint64_t count, Bits mask, uint64_t* block) {
    for (uint64_t i = 0; i < count; ++i) {
      Bits bits;
      std::memcpy(&bits, in + i * sizeof(Bits), sizeof(Bits));
      if ((bits & mask) == mask) {
        *block = i;
        return false;
      }
    }
    return true;
  }

 private:
  TensorType type_;
};

class F32Codec final : public FloatCodec {
 public:
  F32Codec() : FloatCodec(TensorType::kF32) {}
  void Decode(const std::byte* in, uint64_t count, float* out) const override {
    std::memcpy(out, in, count * sizeof(float));
  }
  bool Validate(const std::byte* in, uint64_t count, uint64_t* block) const override {
    return AllFinite<uint32_t>(in, count, 0x7f800000u, block);
  }
  float Dot(const std::byte* row, const float* x, uint64_t count) const override {
    return DotF32(reinterpret_cast<const float*>(row), x, count);
  }
};

class F16Codec final : public FloatCodec {
 public:
  F16Codec() : FloatCodec(TensorType::kF16) {}
  void Decode(const std::byte* in, uint64_t count, float* out) const override {
    F16ToF32(in, count, out);
  }
  bool Validate(const std::byte* in, uint64_t count, uint64_t* block) const override {
    return AllFinite<uint16_t>(in, count, 0x7c00u, block);
  }
  float Dot(const std::byte* row, const float* x, uint64_t count) const override {
    return DotF16(row, x, count);
  }
};

class Bf16Codec final : public FloatCodec {
 public:
  Bf16Codec() : FloatCodec(TensorType::kBF16) {}
  void Decode(const std::byte* in, uint64_t count, float* out) const override {
    Bf16ToF32(in, count, out);
  }
  bool Validate(const std::byte* in, uint64_t count, uint64_t* block) const override {
    return AllFinite<uint16_t>(in, count, 0x7f80u, block);
  }
  float Dot(const std::byte* row, const float* x, uint64_t count) const override {
    return DotBf16(row, x, count);
  }
};

/// The three formats are written value by value; nothing about inputs changes that.
using ConvertFn = void (*)(const float* x, size_t count, std::byte* out);

void CopyF32(const float* x, size_t count, std::byte* out) {
  std::memcpy(out, x, count * sizeof(float));
}

class FloatEncoder final : public Encoder {
 public:
  FloatEncoder(TensorType type, ConvertFn convert) : type_(type), convert_(convert) {}
  TensorType type() const override { return type_; }
  void Encode(uint64_t rows, uint64_t columns, const float* x, const InputStatistics&,
              std::byte* out, EncodeScratch&) const override {
    convert_(x, rows * columns, out);
  }

 private:
  TensorType type_;
  ConvertFn convert_;
};

}  // namespace

const Codec* FindFloatCodec(TensorType type) {
  static const F32Codec f32;
  static const F16Codec f16;
  static const Bf16Codec bf16;
  switch (type) {
    case TensorType::kF32:
      return &f32;
    case TensorType::kF16:
      return &f16;
    case TensorType::kBF16:
      return &bf16;
    default:
      return nullptr;
  }
}

const Encoder* FindFloatEncoder(TensorType type) {
  static const FloatEncoder f32(TensorType::kF32, CopyF32), f16(TensorType::kF16, F32ToF16),
      bf16(TensorType::kBF16, F32ToBf16);
  switch (type) {
    case TensorType::kF32:
      return &f32;
    case TensorType::kF16:
      return &f16;
    case TensorType::kBF16:
      return &bf16;
    default:
      return nullptr;
  }
}

}  // namespace smelt
