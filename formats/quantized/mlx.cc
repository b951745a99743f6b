// MLX: weight (words of 32 bits), scales, biases; what bits and groups are is said by config.json,
// for single modules too. https://ml-explore.github.io/mlx: mx.quantize.
#include <utility>

#include "formats/quantized/float4_matrix.h"
#include "formats/quantized/grouped_matrix.h"
#include "formats/quantized/module.h"
#include "formats/quantized/scaled_matrix.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// A member of the module's own dictionary; where it has none, of the whole one. MLX takes nothing
/// of that for a module with its own, but for its own defaults.
const JsonValue* Setting(const QuantizationConfig& config, std::string_view stem,
                         std::string_view name) {
  if (config.dictionary == nullptr) return nullptr;
  const JsonValue* own = config.dictionary->FindNonNull(stem);
  const bool has_own = own != nullptr && own->as_object() != nullptr;
  return (has_own ? own : config.dictionary)->FindNonNull(name);
}

/// The words of a row as bytes.
RawTensor AsBytes(const RawTensor& words) {
  RawTensor bytes = words;
  bytes.dtype = RawType::kU8;
  bytes.shape.back() *= 4;
  bytes.strides = ContiguousStrides(bytes.shape);
  return bytes;
}

}  // namespace

absl::StatusOr<QuantizedWeight> ReadMlx(const QuantizedModule& module) {
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const scales, module.Need(".scales"));
  const RawTensor& codes = module.codes;
  const auto text = [&](std::string_view name) {
    const JsonValue* value = Setting(module.config, module.stem, name);
    return value == nullptr || value->as_string() == nullptr ? std::string() : *value->as_string();
  };
  const std::string mode = text("mode").empty() ? "affine" : text("mode");
  const JsonValue* said = Setting(module.config, module.stem, "group_size");
  const auto number = said == nullptr ? std::nullopt : said->as_int();
  const uint64_t usual = mode == "affine" ? 64 : mode == "nvfp4" ? 16 : 32;
  const uint64_t group = number && *number > 0 ? static_cast<uint64_t>(*number) : usual;
  if (codes.shape.size() < 2 || codes.shape.back() == 0 ||
      scales->shape.size() != codes.shape.size() || scales->shape.back() == 0 ||
      scales->shape.back() > (1u << 24) / group ||
      scales->elements() / scales->shape.back() != codes.elements() / codes.shape.back())
    return module.Bad(*scales, "not the scales of its rows");
  const uint64_t columns = scales->shape.back() * group, words = codes.shape.back();
  const uint64_t bits = words * 32 / columns;
  QuantizedWeight weight{codes.shape, nullptr};
  weight.shape.back() = columns;
  if (bits < 1 || bits > 8 || words * 32 != columns * bits) {
    return module.Bad(*scales, Cat(scales->shape.back(), " groups of ", group, " columns (",
                                   module.config.file, ") do not make its rows"));
  }
  const std::string format = Cat("MLX ", mode, ", ", bits, " bits");
  if (mode == "affine") {
    SMELT_ASSIGN_OR_RETURN(const RawTensor* const biases, module.Need(".biases"));
    if (biases->shape != scales->shape || !HoldsNumbers(biases->dtype) ||
        !HoldsNumbers(scales->dtype))
      return module.Bad(*biases, "not the scales' shape");
    GroupedParts parts;
    parts.groups = scales->shape.back();
    parts.group_size = group;
    parts.offsets = true;
    SMELT_ASSIGN_OR_RETURN(parts.codes,
                           CodeMatrix::Make(codes, {.bits = static_cast<uint32_t>(bits)},
                                            codes.elements() / words, columns));
    SMELT_ASSIGN_OR_RETURN(parts.scales.stored, StoredMatrix::Make(*scales));
    GroupValues offsets;
    SMELT_ASSIGN_OR_RETURN(offsets.stored, StoredMatrix::Make(*biases));
    parts.zeros = std::move(offsets);
    weight.matrix = MakeGroupedMatrix(format, static_cast<uint32_t>(bits), std::move(parts));
    return weight;
  }
  RawTensor exponents = *scales;
  if (exponents.dtype != RawType::kU8) return module.Bad(*scales, "expected bytes");
  const RawTensor bytes = AsBytes(codes);
  if ((mode == "mxfp4" || mode == "nvfp4") && bits == 4) {
    Float4Parts parts;
    parts.group = group;
    exponents.dtype = mode == "mxfp4" ? RawType::kF8_E8M0 : RawType::kF8_E4M3;
    SMELT_ASSIGN_OR_RETURN(parts.values, StoredMatrix::Make(bytes));
    SMELT_ASSIGN_OR_RETURN(parts.scales, StoredMatrix::Make(exponents));
    weight.matrix = MakeFloat4Matrix(format, std::move(parts));
    return weight;
  }
  if (mode == "mxfp8" && bits == 8) {
    RawTensor values = bytes;
    values.dtype = RawType::kF8_E4M3;
    exponents.dtype = RawType::kF8_E8M0;
    ScaledParts parts;
    SMELT_ASSIGN_OR_RETURN(parts.values, StoredMatrix::Make(values));
    SMELT_ASSIGN_OR_RETURN(parts.scales, StoredMatrix::Make(exponents));
    parts.matrix_rows = parts.values.rows();
    parts.block_rows = 1;
    parts.block_columns = group;
    weight.matrix = MakeScaledMatrix(format, std::move(parts));
    return weight;
  }
  return Error(ErrorCode::kUnsupported, module.config.file, ": MLX's mode ", Escape(mode, 40),
               " with ", bits, " bits is not supported; use the unquantized model");
}

}  // namespace smelt
