// compressed-tensors: pack-quantized (weight_packed, weight_scale, weight_zero_point, weight_shape,
// weight_g_idx), the integers of 1 to 8 bits shifted into the range of unsigned ones.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "formats/quantized/grouped_matrix.h"
#include "formats/quantized/module.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// Rows and columns that weight_shape says.
absl::StatusOr<std::vector<uint64_t>> ReadShape(const QuantizedModule& module) {
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const tensor, module.Need(".weight_shape"));
  SMELT_ASSIGN_OR_RETURN(const std::vector<float> values, ReadAllFloats(*tensor, 4));
  std::vector<uint64_t> shape;
  for (const float value : values) {
    if (!(value >= 1 && value <= 1 << 24)) return module.Bad(*tensor, "no shape of a matrix");
    shape.push_back(static_cast<uint64_t>(value));
  }
  if (shape.size() != 2) return module.Bad(*tensor, "no shape of a matrix");
  return shape;
}

/// The numbers of bits of config.json's groups.
std::vector<uint32_t> BitsOfGroups(const QuantizationConfig& config) {
  std::vector<uint32_t> bits;
  for (const JsonValue* weights : config.WeightsOfGroups()) {
    const JsonValue* number = weights->FindNonNull("num_bits");
    const auto value = number == nullptr ? std::nullopt : number->as_int();
    if (value && *value >= 1 && *value <= 8) bits.push_back(static_cast<uint32_t>(*value));
  }
  return bits;
}

/// The group sizes of config.json's groups; empty where one of them has none.
std::vector<int64_t> GroupSizes(const QuantizationConfig& config) {
  std::vector<int64_t> sizes;
  for (const JsonValue* weights : config.WeightsOfGroups()) {
    const JsonValue* number = weights->FindNonNull("group_size");
    const auto value = number == nullptr ? std::nullopt : number->as_int();
    if (!value || *value < 1) return {};
    sizes.push_back(*value);
  }
  return sizes;
}

/// Layouts whose words make a row of so many columns. Old versions leave the end of a word free
/// where the next code does not fit, new ones do not.
std::vector<CodeLayout> Fitting(std::vector<uint32_t> bits, uint64_t columns, uint64_t words) {
  if (bits.empty()) bits = {1, 2, 3, 4, 5, 6, 7, 8};
  std::ranges::sort(bits);
  bits.erase(std::unique(bits.begin(), bits.end()), bits.end());
  std::vector<CodeLayout> fitting;
  for (const uint32_t b : bits) {
    const CodeLayout dense{.bits = b}, whole{.bits = b, .whole_words = true};
    for (const CodeLayout& layout : {dense, whole}) {
      if (WordsOf(columns, layout) != words) continue;
      fitting.push_back(layout);
      break;
    }
  }
  return fitting;
}

}  // namespace

absl::StatusOr<QuantizedWeight> ReadCompressedInts(const QuantizedModule& module) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<uint64_t> shape, ReadShape(module));
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const scale, module.Need(".weight_scale"));
  const uint64_t rows = shape[0], columns = shape[1];
  if (module.codes.shape.size() != 2) return module.Bad(module.codes, "expected two dimensions");
  const std::vector<CodeLayout> fitting =
      Fitting(BitsOfGroups(module.config), columns, module.codes.shape[1]);
  if (fitting.size() != 1) {
    return module.Bad(
        module.codes,
        fitting.empty() ? Cat("no number of bits that ", module.config.file, " says makes its rows")
                        : Cat(fitting[0].bits, " and ", fitting[1].bits, " bits make its rows"));
  }
  GroupedParts parts;
  CodeLayout layout = fitting[0];
  SMELT_ASSIGN_OR_RETURN(parts.codes, CodeMatrix::Make(module.codes, layout, rows, columns));
  if (!HoldsNumbers(scale->dtype)) return module.Bad(*scale, "expected numbers");
  // One scale for all rows, or those of every row.
  const bool one = scale->elements() == 1;
  parts.groups = one ? 1 : scale->elements() / rows;
  if (!one && (parts.groups == 0 || scale->elements() % rows != 0 || scale->shape.empty() ||
               scale->shape[0] != rows))
    return module.Bad(*scale, Cat("not the scales of ", rows, " rows"));
  SMELT_ASSIGN_OR_RETURN(const RawTensor scales,
                         one ? Repeated(*scale, rows) : absl::StatusOr<RawTensor>(*scale));
  SMELT_ASSIGN_OR_RETURN(parts.scales.stored, StoredMatrix::Make(scales, parts.groups));
  parts.group_size = (columns + parts.groups - 1) / parts.groups;
  if (columns % parts.groups != 0) return module.Bad(*scale, "groups of different sizes");
  const std::vector<int64_t> sizes = GroupSizes(module.config);
  if (!sizes.empty() &&
      std::ranges::find(sizes, static_cast<int64_t>(parts.group_size)) == sizes.end()) {
    return module.Bad(*scale, Cat("groups of ", parts.group_size, " columns, where ",
                                  module.config.file, " says group_size ", sizes[0]));
  }
  if (const RawTensor* g_idx = module.Find(".weight_g_idx")) {
    if (g_idx->dtype != RawType::kI32 || g_idx->elements() != columns)
      return module.Bad(*g_idx, Cat("expected ", columns, " I32"));
    SMELT_ASSIGN_OR_RETURN(parts.group_of, StoredMatrix::Make(*g_idx, columns));
  }
  layout.along_rows = true;
  if (const RawTensor* zero = module.Find(".weight_zero_point"); zero == nullptr) {
    if (module.config.HasZeroPoints(layout.bits)) return module.Need(".weight_zero_point").status();
    parts.zero = static_cast<float>(1u << (layout.bits - 1));
  } else if (zero->dtype == RawType::kI8) {  // not packed
    if (zero->elements() != scale->elements()) return module.Bad(*zero, "not the scales' shape");
    SMELT_ASSIGN_OR_RETURN(const RawTensor zeros,
                           one ? Repeated(*zero, rows) : absl::StatusOr<RawTensor>(*zero));
    GroupValues values;
    SMELT_ASSIGN_OR_RETURN(values.stored, StoredMatrix::Make(zeros, parts.groups));
    parts.zeros = std::move(values);
    parts.zero = static_cast<float>(1u << (layout.bits - 1));
  } else {
    SMELT_ASSIGN_OR_RETURN(parts.zeros, CodeMatrix::Make(*zero, layout, rows, parts.groups));
  }
  return QuantizedWeight{shape, MakeGroupedMatrix(Cat("compressed-tensors, ", layout.bits, " bits"),
                                                  layout.bits, std::move(parts))};
}

}  // namespace smelt
