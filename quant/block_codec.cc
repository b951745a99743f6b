#include "quant/block_codec.h"

#include <cmath>

#include "quant/block_kernels.h"
#include "quant/int8_dot.h"

namespace smelt {
namespace {

const uint8_t* Bytes(const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); }

void UnpackBlocks(const BlockFormat& format, const uint8_t* in, size_t blocks, int8_t* codes,
                  float* scales, float* minimums) {
  UnpackBlockFn unpack = FindVectorUnpack(format.type);
  if (unpack == nullptr)
    unpack = format.fast_unpack != nullptr ? format.fast_unpack : format.unpack;
  const uint32_t groups = format.groups();
  for (size_t b = 0; b < blocks; ++b) {
    unpack(in + b * format.bytes, codes + b * format.elements, scales + b * groups,
           minimums + b * groups);
  }
}

/// Calls fn(buffer, first element, count) for steps of up to kStep elements in the common form.
template <typename Fn>
void ForEachStep(const BlockFormat& format, const std::byte* in, uint64_t count, const Fn& fn) {
  StepBuffer buffer;
  for (uint64_t first = 0; first < count; first += kStep) {
    const size_t n = count - first < kStep ? count - first : kStep;
    UnpackBlocks(format, Bytes(in) + first / format.elements * format.bytes, n / format.elements,
                 buffer.codes, buffer.scales, buffer.minimums);
    fn(buffer, first, n);
  }
}

}  // namespace

void BlockCodec::Decode(const std::byte* in, uint64_t count, float* out) const {
  ForEachStep(format_, in, count, [&](const StepBuffer& step, uint64_t first, size_t n) {
    ExpandCodes(step.codes, step.scales, format_.minimum ? step.minimums : nullptr, n,
                format_.group, out + first);
  });
}

bool BlockCodec::Validate(const std::byte* in, uint64_t count, uint64_t* block) const {
  const uint64_t blocks = count / format_.elements;
  for (uint64_t b = 0; b < blocks; ++b) {
    if (!format_.valid(Bytes(in) + b * format_.bytes)) {
      *block = b;
      return false;
    }
  }
  return true;
}

float BlockCodec::Dot(const std::byte* row, const float* x, uint64_t count) const {
  float sum = 0;
  ForEachStep(format_, row, count, [&](const StepBuffer& step, uint64_t first, size_t n) {
    sum += DotCodes(step.codes, step.scales, format_.minimum ? step.minimums : nullptr, n,
                    format_.group, x + first);
  });
  return sum;
}

void BlockCodec::DotQ8(const std::byte* weights, uint64_t rows, uint64_t columns,
                       const Activations8& x, float* out) const {
  if (const Int8DotFn dot = FindInt8Dot(format_.type)) {
    dot(reinterpret_cast<const uint8_t*>(weights), rows, columns, x, out);
    return;
  }
  const uint64_t row_bytes = columns / format_.elements * format_.bytes;
  for (uint64_t r = 0; r < rows; ++r) {
    float sum = 0;
    ForEachStep(format_, weights + r * row_bytes, columns,
                [&](const StepBuffer& step, uint64_t first, size_t n) {
                  sum +=
                      DotCodesQ8(step.codes, step.scales, format_.minimum ? step.minimums : nullptr,
                                 n, format_.group, x, first);
                });
    out[r] = sum;
  }
}

CodeRange BlockCodec::unpack_range() const {
  // A code of few bits takes exactly the values that the encoder uses; a whole byte may be -128,
  // and tables have values of their own.
  const bool few_bits = format_.code_max != 0 && format_.code_max < 127;
  if (!few_bits) return {};
  return {static_cast<int8_t>(format_.code_min), static_cast<int8_t>(format_.code_max)};
}

void BlockCodec::Unpack8(const std::byte* in, uint64_t count, Unpacked8 out) const {
  float unused[kMaxBlockGroups];
  const uint32_t groups = format_.groups();
  if (out.minimums != nullptr) {
    UnpackBlocks(format_, Bytes(in), count / format_.elements, out.codes, out.scales, out.minimums);
    return;
  }
  for (uint64_t b = 0; b < count / format_.elements; ++b) {
    UnpackBlocks(format_, Bytes(in) + b * format_.bytes, 1, out.codes + b * format_.elements,
                 out.scales + b * groups, unused);
  }
}

}  // namespace smelt
