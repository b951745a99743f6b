// AMD Quark: weight, weight_scale, weight_zero_point. Floats and 8-bit integers by rows lie as
// everywhere (see eight_bits.cc and float4.cc); of 4-bit integers, with K inputs, N outputs and G
// groups, words of eight codes, in AWQ's order where pack_method is "reorder":
//   per_group    weight [K, N / 8]  weight_scale [G, N]  weight_zero_point [G, N / 8]
//   per_channel  weight [N, K / 8]  weight_scale [N]     weight_zero_point [N / 8]
//   per_tensor   weight [N, K / 8]  weight_scale []      weight_zero_point []
#include <string>
#include <utility>

#include "formats/quantized/grouped_matrix.h"
#include "formats/quantized/module.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kTileRows = 128;  // 16 words
constexpr uint64_t kCodes = 8;       // of a word

/// Whether `name` is what a pattern with asterisks says.
bool Matches(std::string_view pattern, std::string_view name) {
  size_t star = std::string_view::npos, after = 0, p = 0, n = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++after;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// The settings of a module's weight: those of the first pattern that it matches, or all modules'.
const JsonValue* WeightSettings(const QuantizedModule& module) {
  const JsonValue* all = module.config.dictionary;
  if (all == nullptr) return nullptr;
  const JsonValue* chosen = all->FindNonNull("global_quant_config");
  const JsonValue* layers = all->FindNonNull("layer_quant_config");
  if (layers != nullptr && layers->as_object() != nullptr) {
    for (const auto& [pattern, settings] : *layers->as_object()) {
      if (!Matches(pattern, module.stem)) continue;
      chosen = &settings;
      break;
    }
  }
  const JsonValue* weight =
      chosen == nullptr || chosen->as_object() == nullptr ? nullptr : chosen->FindNonNull("weight");
  // Scales that are quantized themselves come second.
  if (weight != nullptr && weight->as_array() != nullptr && !weight->as_array()->empty())
    weight = &weight->as_array()->front();
  return weight == nullptr || weight->as_object() == nullptr ? nullptr : weight;
}

std::string TextOf(const JsonValue* object, std::string_view name) {
  const JsonValue* value =
      object == nullptr || object->as_object() == nullptr ? nullptr : object->FindNonNull(name);
  return value == nullptr || value->as_string() == nullptr ? std::string() : *value->as_string();
}

bool HasZeroPoints(const QuantizedModule& module) {
  const JsonValue* settings = WeightSettings(module);
  const JsonValue* said = settings == nullptr ? nullptr : settings->FindNonNull("symmetric");
  return said != nullptr && said->as_bool() != nullptr && !*said->as_bool();
}

/// Zero points packed as the codes are, or a single number; symmetric ones are 0 before `flip`.
absl::Status ReadZeros(const QuantizedModule& module, const CodeLayout& layout, uint64_t rows,
                       bool grouped, GroupedParts& parts) {
  const RawTensor* const zero = module.Find(".weight_zero_point");
  parts.zero = layout.flip;
  if (zero == nullptr && HasZeroPoints(module)) return module.Need(".weight_zero_point").status();
  if (zero == nullptr) return absl::OkStatus();
  if (zero->elements() == 1 && rows > 1) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> number, ReadAllFloats(*zero, 1));
    parts.zero += number[0];
    return absl::OkStatus();
  }
  RawTensor stored = *zero;
  if (!grouped && stored.shape.size() == 1) {  // a column of packed numbers
    stored.shape.push_back(1);
    stored.strides = ContiguousStrides(stored.shape);
  }
  CodeLayout of_zeros = layout;
  of_zeros.along_rows = true;
  of_zeros.transposed = grouped;
  parts.zero = 0;
  SMELT_ASSIGN_OR_RETURN(parts.zeros, CodeMatrix::Make(stored, of_zeros, rows, parts.groups));
  return absl::OkStatus();
}

/// 4-bit integers in words.
absl::StatusOr<QuantizedWeight> ReadWords(const QuantizedModule& module, std::string_view type) {
  const RawTensor& codes = module.codes;
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const scale, module.Need(".weight_scale"));
  if (codes.shape.size() != 2 || scale->shape.size() > 2 || !HoldsNumbers(scale->dtype))
    return module.Bad(*scale, "not the scales of a matrix");
  const bool grouped = scale->shape.size() == 2;
  const uint64_t packed = codes.shape[1] * kCodes;
  const uint64_t rows = grouped ? scale->shape[1] : codes.shape[0],
                 columns = grouped ? codes.shape[0] : packed;
  const JsonValue* exported =
      module.config.Has("export") ? module.config.dictionary->FindNonNull("export") : nullptr;
  CodeLayout layout{.transposed = grouped,
                    .awq_order = TextOf(exported, "pack_method") != "order",
                    .flip = static_cast<uint8_t>(type == "int4" ? 8 : 0)};
  layout.along_rows = grouped;
  GroupedParts parts;
  parts.groups = grouped ? scale->shape[0] : 1;
  if (parts.groups == 0 || columns % parts.groups != 0 ||
      scale->elements() != (grouped || scale->elements() != 1 ? rows * parts.groups : 1))
    return module.Bad(*scale, Cat("not the scales of ", rows, " rows of ", columns, " columns"));
  parts.group_size = columns / parts.groups;
  parts.tile_rows = grouped ? kTileRows : 1;
  SMELT_ASSIGN_OR_RETURN(parts.codes, CodeMatrix::Make(codes, layout, rows, columns));
  const bool one = !grouped && scale->elements() == 1;
  SMELT_ASSIGN_OR_RETURN(const RawTensor scales,
                         one ? Repeated(*scale, rows) : absl::StatusOr<RawTensor>(*scale));
  SMELT_ASSIGN_OR_RETURN(parts.scales.stored,
                         StoredMatrix::Make(scales, grouped ? rows : uint64_t{1}));
  parts.scales.transposed = grouped;
  SMELT_RETURN_IF_ERROR(ReadZeros(module, layout, rows, grouped, parts));
  return QuantizedWeight{{rows, columns}, MakeGroupedMatrix("Quark, 4 bits", 4, std::move(parts))};
}

}  // namespace

absl::StatusOr<QuantizedWeight> ReadQuark(const QuantizedModule& module) {
  const JsonValue* const settings = WeightSettings(module);
  const std::string type = TextOf(settings, "dtype");
  const bool by_groups = TextOf(settings, "qscheme") == "per_group";
  if (type.starts_with("fp8") || ((type == "int8" || type == "uint8") && !by_groups))
    return ReadEightBits(module);
  if (type == "fp4" || type == "mx") return ReadNvfp4(module);
  if (type == "int4" || type == "uint4") return ReadWords(module, type);
  return Error(ErrorCode::kUnsupported, "tensor ", Escape(module.codes.name), " (",
               Name(module.codes.dtype), ") is Quark's ",
               type.empty() ? "of a type that is not said" : Escape(type, 40),
               by_groups ? " in groups" : "", ", which is not read; use the unquantized model");
}

}  // namespace smelt
