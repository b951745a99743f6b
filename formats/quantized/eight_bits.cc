// Values of 8 bits, FP8 or integers, with scales to multiply with: of fp8, fbgemm_fp8, ModelOpt,
// compressed-tensors (float, int, naive), Mistral's and DeepSeek's own layouts.
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/quantized/module.h"
#include "formats/quantized/scaled_matrix.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kUsualBlock = 128;

/// Rows and columns of a block; 0: nobody says.
using Block = std::array<uint64_t, 2>;

/// [128, 128] or "128x128"; nullopt for anything else.
std::optional<Block> ReadBlock(const JsonValue* said) {
  Block block = {0, 0};
  if (said == nullptr) return std::nullopt;
  if (const std::string* text = said->as_string()) {
    const char* const end = text->data() + text->size();
    const auto rows = std::from_chars(text->data(), end, block[0]);
    if (rows.ec != std::errc() || rows.ptr == end || (*rows.ptr | 32) != 'x') return std::nullopt;
    const auto columns = std::from_chars(rows.ptr + 1, end, block[1]);
    if (columns.ec != std::errc() || columns.ptr != end) return std::nullopt;
  } else {
    if (said->as_array() == nullptr || said->as_array()->size() != 2) return std::nullopt;
    for (size_t i = 0; i < 2; ++i) {
      const auto number = (*said->as_array())[i].as_int();
      if (number && *number > 0) block[i] = static_cast<uint64_t>(*number);
    }
  }
  return block[0] == 0 || block[1] == 0 ? std::nullopt : std::optional(block);
}

/// Blocks that config.json says: of all weights, or of each group of them.
std::vector<Block> SaidBlocks(const QuantizationConfig& config) {
  std::vector<Block> blocks;
  if (config.dictionary == nullptr) return blocks;
  if (const auto block = ReadBlock(config.dictionary->FindNonNull("weight_block_size")))
    blocks.push_back(*block);
  for (const JsonValue* weights : config.WeightsOfGroups()) {
    if (const auto block = ReadBlock(weights->FindNonNull("block_structure")))
      blocks.push_back(*block);
    const JsonValue* size = weights->FindNonNull("group_size");
    const auto number = size == nullptr ? std::nullopt : size->as_int();
    if (number && *number > 0) blocks.push_back({1, static_cast<uint64_t>(*number)});
  }
  return blocks;
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

/// The block of a matrix with so many scales: one that is said, else what fits without.
std::optional<Block> FindBlock(uint64_t rows, uint64_t columns, uint64_t scale_rows,
                               uint64_t scale_columns, const std::vector<Block>& said) {
  const auto fitting = [&](const Block& block) -> std::optional<Block> {
    const Block found = {BlockSize(rows, scale_rows, block[0]),
                         BlockSize(columns, scale_columns, block[1])};
    return found[0] == 0 || found[1] == 0 ? std::nullopt : std::optional(found);
  };
  for (const Block& block : said)
    if (const auto found = fitting(block)) return found;
  return said.empty() ? fitting({0, 0}) : std::nullopt;
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
  const std::vector<Block> said = SaidBlocks(module.config);
  const auto block = FindBlock(parts.matrix_rows, columns, scale_rows, scale_columns, said);
  const uint64_t of_all = parts.matrix_rows == parts.values.rows() ? 1 : matrices;
  if (!block || scale->elements() != scale_rows * scale_columns * of_all) {
    return module.Bad(*scale, Cat("no scales of its rows or blocks",
                                  said.empty() ? std::string()
                                               : Cat(" (", module.config.file, " says blocks of ",
                                                     said[0][0], " x ", said[0][1], ")")));
  }
  parts.block_rows = (*block)[0];
  parts.block_columns = (*block)[1];
  // Bytes are the exponents of the microscaling formats (MXFP8).
  SMELT_ASSIGN_OR_RETURN(
      parts.scales, StoredMatrix::Make(scale->dtype == RawType::kU8 ? AsExponents(*scale) : *scale,
                                       scale_columns));
  if (const RawTensor* zero = module.Find(".weight_zero_point")) {
    if (zero->elements() != scale->elements() || !HoldsNumbers(zero->dtype))
      return module.Bad(*zero, "not the scales' shape");
    SMELT_ASSIGN_OR_RETURN(parts.zeros, StoredMatrix::Make(*zero, scale_columns));
  } else if (values.dtype == RawType::kI8 && module.config.HasZeroPoints(8)) {
    return module.Need(".weight_zero_point").status();
  }
  const std::string_view type = values.dtype == RawType::kI8        ? "8-bit integers"
                                : values.dtype == RawType::kF8_E5M2 ? "FP8 E5M2"
                                                                    : "FP8";
  const std::string format = Cat(type, ScalesText(parts));
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
