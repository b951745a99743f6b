// Values of 8 bits, FP8 or integers, with scales to multiply with: of fp8, fbgemm_fp8, ModelOpt,
// compressed-tensors (float, int, naive), Mistral's and DeepSeek's own layouts.
#include <array>
#include <string>
#include <utility>

#include "formats/quantized/module.h"
#include "formats/quantized/scaled_matrix.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kUsualBlock = 128;

/// Rows and columns of a block, of config.json; 0: it does not say.
std::array<uint64_t, 2> BlockOf(const QuantizationConfig& config) {
  std::array<uint64_t, 2> block = {0, 0};
  const JsonValue* said =
      config.dictionary == nullptr ? nullptr : config.dictionary->FindNonNull("weight_block_size");
  if (said == nullptr || said->as_array() == nullptr || said->as_array()->size() != 2) return block;
  for (size_t i = 0; i < 2; ++i) {
    const auto number = (*said->as_array())[i].as_int();
    if (number && *number > 0) block[i] = static_cast<uint64_t>(*number);
  }
  return block;
}

uint64_t Blocks(uint64_t n, uint64_t block) { return (n - 1) / block + 1; }

/// What of `n` values a block has when there are `blocks` of them: one for all, one each, what
/// config.json says; where it says nothing (0), the usual size or an even division. 0: none fits.
uint64_t BlockSize(uint64_t n, uint64_t blocks, uint64_t said) {
  if (blocks == 1) return n;
  if (n == 0 || blocks == 0) return 0;
  if (blocks == n) return 1;
  const uint64_t size = said != 0 ? said : kUsualBlock;
  if (Blocks(n, size) == blocks) return size;
  return said == 0 && n % blocks == 0 ? n / blocks : 0;
}

const RawTensor* FindScale(const QuantizedModule& module) {
  for (const std::string_view ending :
       {".weight_scale_inv", ".weight_scale", "_scale_inv", "_scale", ".scale", ".qscale_weight"}) {
    if (const RawTensor* scale = module.Find(ending)) return scale;
  }
  return nullptr;
}

/// ", blocks of 128 x 128".
std::string ScalesText(const ScaledParts& parts) {
  const bool all_rows = parts.block_rows >= parts.matrix_rows,
             all_columns = parts.block_columns >= parts.values.columns();
  if (all_rows && all_columns) return ", one scale";
  if (all_columns && parts.block_rows == 1) return ", a scale a row";
  if (all_rows && parts.block_columns == 1) return ", a scale a column";
  if (parts.block_rows == 1) return Cat(", groups of ", parts.block_columns);
  return Cat(", blocks of ", parts.block_rows, " x ", parts.block_columns);
}

/// Values that are what they are.
class CastMatrix : public ComputedMatrix {
 public:
  explicit CastMatrix(StoredMatrix values)
      : ComputedMatrix("FP8 without scales", 8), values_(std::move(values)) {}
  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    return values_.ReadFloats(first, count, out);
  }

 private:
  StoredMatrix values_;
};

}  // namespace

absl::StatusOr<QuantizedWeight> ReadEightBits(const QuantizedModule& module) {
  const RawTensor& values = module.codes;
  const RawTensor* const scale = FindScale(module);
  if (scale == nullptr) return module.Need(".weight_scale").status();
  if (values.shape.size() < 2 || !HoldsNumbers(scale->dtype))
    return module.Bad(*scale, "not the scales of a matrix");
  ScaledParts parts;
  SMELT_ASSIGN_OR_RETURN(parts.values, StoredMatrix::Make(values));
  parts.matrix_rows = values.shape[values.shape.size() - 2];
  const uint64_t columns = values.shape.back();
  const uint64_t matrices = parts.matrix_rows == 0 ? 0 : parts.values.rows() / parts.matrix_rows;
  // Its last two dimensions are those of the blocks, as far as there are so many; in one dimension
  // it is that of all rows, or of all matrices.
  uint64_t scale_rows = 1, scale_columns = 1;
  if (scale->shape.size() >= 2) {
    scale_columns = scale->shape.back();
    scale_rows = scale->shape[scale->shape.size() - 2];
  } else if (scale->elements() == parts.values.rows() && scale->elements() != matrices) {
    scale_rows = parts.matrix_rows;
  }
  if (scale->elements() == 1) parts.matrix_rows = parts.values.rows();  // one for all
  const auto block = BlockOf(module.config);
  parts.block_rows = BlockSize(parts.matrix_rows, scale_rows, block[0]);
  parts.block_columns = BlockSize(columns, scale_columns, block[1]);
  const uint64_t of_all = parts.matrix_rows == parts.values.rows() ? 1 : matrices;
  if (parts.block_rows == 0 || parts.block_columns == 0 ||
      scale->elements() != scale_rows * scale_columns * of_all)
    return module.Bad(*scale, Cat("no scales of its rows or blocks",
                                  block[0] == 0 ? std::string()
                                                : Cat(" (weight_block_size of ", module.config.file,
                                                      ": ", block[0], " x ", block[1], ")")));
  // Bytes are the exponents of the microscaling formats (MXFP8).
  SMELT_ASSIGN_OR_RETURN(
      parts.scales, StoredMatrix::Make(scale->dtype == RawType::kU8 ? AsExponents(*scale) : *scale,
                                       scale_columns));
  if (const RawTensor* zero = module.Find(".weight_zero_point")) {
    if (zero->elements() != scale->elements() || !HoldsNumbers(zero->dtype))
      return module.Bad(*zero, "not the scales' shape");
    SMELT_ASSIGN_OR_RETURN(parts.zeros, StoredMatrix::Make(*zero, scale_columns));
  }
  const std::string format =
      Cat(values.dtype == RawType::kI8 ? "8-bit integers" : "FP8", ScalesText(parts));
  return QuantizedWeight{values.shape, MakeScaledMatrix(format, std::move(parts))};
}

absl::StatusOr<QuantizedWeight> ReadCast(const QuantizedModule& module) {
  SMELT_ASSIGN_OR_RETURN(StoredMatrix values, StoredMatrix::Make(module.codes));
  return QuantizedWeight{module.codes.shape, std::make_shared<CastMatrix>(std::move(values))};
}

absl::StatusOr<QuantizedWeight> ReadBitsAndBytes8(const QuantizedModule& module) {
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const scale, module.Need(".SCB"));
  const RawTensor& values = module.codes;
  if (values.shape.size() != 2 || scale->elements() != values.shape[0] ||
      scale->dtype != RawType::kF32)
    return module.Bad(*scale, "expected an F32 for every row");
  if (const RawTensor* format = module.Find(".weight_format")) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> number, ReadAllFloats(*format, 1));
    if (number.size() != 1 || number[0] != 0) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(format->name),
                   ": only bitsandbytes' layout by rows (0) is supported; use the unquantized "
                   "model");
    }
  }
  ScaledParts parts;
  SMELT_ASSIGN_OR_RETURN(parts.values, StoredMatrix::Make(values));
  SMELT_ASSIGN_OR_RETURN(parts.scales, StoredMatrix::Make(*scale, 1));
  parts.matrix_rows = values.shape[0];
  parts.block_rows = 1;
  parts.block_columns = values.shape[1];
  parts.factor = 1.0f / 127.0f;
  return QuantizedWeight{values.shape, MakeScaledMatrix("bitsandbytes, 8 bits", std::move(parts))};
}

}  // namespace smelt
