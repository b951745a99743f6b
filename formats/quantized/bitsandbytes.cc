// bitsandbytes NF4 and FP4: codes of a table along the flattened matrix, a scale for every block,
// which may itself be quantized in blocks.
#include <algorithm>
#include <array>
#include <utility>

#include "formats/quantized/module.h"
#include "formats/quantized/stored_matrix.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

struct Parts {
  StoredMatrix codes;  ///< bytes, the first of two values high
  std::vector<float> table;
  uint64_t columns = 0, block = 0;
  StoredMatrix scales;  ///< of blocks: F32, or codes of `scale_table`
  std::vector<float> scale_table, scale_scales;
  uint64_t scale_block = 0;
  float scale_offset = 0;
};

class BlockMatrix : public ComputedMatrix {
 public:
  BlockMatrix(std::string format, Parts parts)
      : ComputedMatrix(std::move(format), 4), parts_(std::move(parts)) {}

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    static const PerThread<ByteBuffer> buffer;
    if (count == 0) return absl::OkStatus();
    const uint64_t begin = first * parts_.columns, end = begin + count * parts_.columns;
    const uint64_t first_byte = begin / 2, bytes = (end + 1) / 2 - first_byte;
    std::byte* const in = buffer->Reserve(bytes);
    SMELT_RETURN_IF_ERROR(parts_.codes.Read(first_byte, bytes, in));
    const uint64_t first_block = begin / parts_.block,
                   blocks = (end - 1) / parts_.block + 1 - first_block;
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> scales, Scales(first_block, blocks));
    std::array<std::array<float, 2>, 256> pairs;  // the two values of each byte
    for (size_t byte = 0; byte < 256; ++byte)
      pairs[byte] = {parts_.table[byte >> 4], parts_.table[byte & 15]};
    for (uint64_t b = 0; b < blocks; ++b) {
      const uint64_t from = std::max(begin, (first_block + b) * parts_.block),
                     to = std::min(end, (first_block + b + 1) * parts_.block);
      uint64_t i = from;
      for (; i % 2 == 0 && i + 2 <= to; i += 2) {
        const std::array<float, 2>& pair = pairs[static_cast<uint8_t>(in[i / 2 - first_byte])];
        out[i - begin] = pair[0] * scales[b];
        out[i + 1 - begin] = pair[1] * scales[b];
      }
      for (; i < to; ++i) {
        const auto pair = static_cast<uint8_t>(in[i / 2 - first_byte]);
        out[i - begin] = parts_.table[i % 2 == 0 ? pair >> 4 : pair & 15] * scales[b];
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::vector<float>> Scales(uint64_t first, uint64_t count) const {
    std::vector<float> out(count);
    if (parts_.scale_table.empty()) {
      SMELT_RETURN_IF_ERROR(parts_.scales.ReadScales(first, count, out.data()));
      return out;
    }
    std::vector<uint8_t> codes(count);
    SMELT_RETURN_IF_ERROR(
        parts_.scales.Read(first, count, reinterpret_cast<std::byte*>(codes.data())));
    for (uint64_t i = 0; i < count; ++i) {
      const float scale = parts_.scale_scales[(first + i) / parts_.scale_block];
      out[i] = parts_.scale_table[codes[i]] * scale;
      out[i] += parts_.scale_offset;
    }
    return out;
  }

  Parts parts_;
};

/// quant_state: a JSON text in bytes.
absl::StatusOr<JsonValue> ReadState(const QuantizedModule& module, const RawTensor& tensor) {
  SMELT_ASSIGN_OR_RETURN(const StoredMatrix bytes, StoredMatrix::Make(tensor, 1));
  constexpr uint64_t kLimit = 1 << 16;
  if (BitsOf(tensor.dtype) != 8 || tensor.elements() > kLimit)
    return module.Bad(tensor, "expected a short JSON text in bytes");
  std::string text(tensor.elements(), '\0');
  SMELT_RETURN_IF_ERROR(
      bytes.Read(0, tensor.elements(), reinterpret_cast<std::byte*>(text.data())));
  return ParseJsonValue(text, tensor.name);
}

absl::Status ReadNested(const QuantizedModule& module, const JsonValue& state, uint64_t blocks,
                        Parts& parts) {
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const table, module.Need(".weight.nested_quant_map"));
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const scales, module.Need(".weight.nested_absmax"));
  SMELT_ASSIGN_OR_RETURN(parts.scale_table, ReadAllFloats(*table, 256));
  const JsonValue* block = state.FindNonNull("nested_blocksize");
  const auto size = block == nullptr ? std::nullopt : block->as_int();
  if (!size || *size < 1 || parts.scale_table.size() != 256)
    return module.Bad(*table, "no table of 256 scales, or no nested_blocksize");
  parts.scale_block = static_cast<uint64_t>(*size);
  const uint64_t wanted = (blocks + parts.scale_block - 1) / parts.scale_block;
  if (scales->elements() != wanted) return module.Bad(*scales, Cat("expected ", wanted, " scales"));
  SMELT_ASSIGN_OR_RETURN(parts.scale_scales, ReadAllFloats(*scales, wanted));
  const JsonValue* offset = state.FindNonNull("nested_offset");
  const auto number = offset == nullptr ? std::nullopt : offset->as_double();
  if (!number) return module.Bad(*scales, "its quant_state has no nested_offset");
  parts.scale_offset = static_cast<float>(*number);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<QuantizedWeight> ReadBitsAndBytes4(const QuantizedModule& module) {
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const absmax, module.Need(".weight.absmax"));
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const table, module.Need(".weight.quant_map"));
  const RawTensor* tensor = module.Find(".weight.quant_state.bitsandbytes__nf4");
  const bool nf4 = tensor != nullptr;
  if (!nf4) {
    tensor = module.Find(".weight.quant_state.bitsandbytes__fp4");
  }
  if (tensor == nullptr) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(module.stem),
                 ".weight.quant_state.bitsandbytes__nf4 (or __fp4) is missing: it says the shape "
                 "of ",
                 Escape(module.codes.name), "; download the folder again");
  }
  SMELT_ASSIGN_OR_RETURN(const JsonValue state, ReadState(module, *tensor));
  QuantizedWeight weight;
  const JsonValue* shape = state.FindNonNull("shape");
  uint64_t elements = 1;
  if (shape != nullptr && shape->as_array() != nullptr) {
    for (const JsonValue& extent : *shape->as_array()) {
      const auto n = extent.as_int();
      if (!n || *n < 1 || *n > 1 << 28 ||
          elements > (uint64_t{1} << 48) / static_cast<uint64_t>(*n))
        return module.Bad(*tensor, "its shape is none");
      elements *= static_cast<uint64_t>(*n);
      weight.shape.push_back(static_cast<uint64_t>(*n));
    }
  }
  const JsonValue* block = state.FindNonNull("blocksize");
  const auto size = block == nullptr ? std::nullopt : block->as_int();
  if (weight.shape.empty() || !size || *size < 1)
    return module.Bad(*tensor, "it has no shape or no blocksize");
  Parts parts;
  parts.columns = weight.shape.back();
  parts.block = static_cast<uint64_t>(*size);
  const uint64_t blocks = (elements + parts.block - 1) / parts.block;
  RawTensor bytes = module.codes;  // the type in which they are stored says nothing
  const uint64_t stored = bytes.elements() * BitsOf(bytes.dtype) / 8;
  if (stored != (elements + 1) / 2) {
    return module.Bad(*tensor, Cat("the shape needs ", (elements + 1) / 2, " bytes"));
  }
  bytes.dtype = RawType::kU8;
  bytes.shape = {stored};
  bytes.strides = {1};
  SMELT_ASSIGN_OR_RETURN(parts.codes, StoredMatrix::Make(bytes, 1));
  SMELT_ASSIGN_OR_RETURN(parts.table, ReadAllFloats(*table, 16));
  if (parts.table.size() != 16) return module.Bad(*table, "expected 16 values");
  if (absmax->elements() != blocks) return module.Bad(*absmax, Cat("expected ", blocks, " scales"));
  SMELT_ASSIGN_OR_RETURN(parts.scales, StoredMatrix::Make(*absmax, 1));
  if (absmax->dtype == RawType::kU8) {
    SMELT_RETURN_IF_ERROR(ReadNested(module, state, blocks, parts));
  } else if (!HoldsNumbers(absmax->dtype)) {
    return module.Bad(*absmax, "expected numbers");
  }
  weight.matrix = std::make_shared<BlockMatrix>(
      nf4 ? "bitsandbytes NF4, 4 bits" : "bitsandbytes FP4, 4 bits", std::move(parts));
  return weight;
}

}  // namespace smelt
