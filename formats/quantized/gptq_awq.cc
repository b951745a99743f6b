// GPTQ (AutoGPTQ, GPTQModel, auto-round) and AWQ (AutoAWQ): qweight, qzeros, scales. Which of them
// it is follows from the shapes: with K inputs, N outputs, G groups and words of 32 bits
//   GPTQ      qweight [K bits / 32, N]  scales [G, N]  qzeros [G, N bits / 32]  g_idx [K]
//   AWQ GEMM  qweight [K, N / 8]        scales [G, N]  qzeros [G, N / 8]
//   AWQ GEMV  qweight [N, K / 8]        scales [N, at least G]  qzeros [N, at least G / 8]
#include <algorithm>
#include <bit>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/quantized/grouped_matrix.h"
#include "formats/quantized/module.h"
#include "lib/base/ascii.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kTileRows = 16;  // a cache line of words
constexpr uint64_t kAwqCodes = 8;   // of a word

/// The shapes of a module's three tensors.
struct Shapes {
  const RawTensor *qweight, *qzeros, *scales;
};

/// Settings that some modules have of their own: auto-round's extra_config, GPTQModel's dynamic.
bool HasOwnSettings(const QuantizationConfig& config) {
  return config.Has("extra_config") || config.Has("dynamic");
}

/// A number of the module's own settings, else of the whole configuration's.
std::optional<int64_t> Setting(const QuantizedModule& module, std::string_view name) {
  const JsonValue* own = module.config.dictionary == nullptr
                             ? nullptr
                             : module.config.dictionary->FindNonNull("extra_config");
  own = own == nullptr || own->as_object() == nullptr ? nullptr : own->FindNonNull(module.stem);
  const JsonValue* number =
      own == nullptr || own->as_object() == nullptr ? nullptr : own->FindNonNull(name);
  return number == nullptr ? module.config.Number(name) : number->as_int();
}

/// Groups of the columns as they lie, or of which each column names its own: then what nobody said
/// cannot be wrong.
absl::Status CheckGroups(const QuantizedModule& module, const GroupedParts& parts, uint64_t columns,
                         const RawTensor& scales) {
  const bool fits = parts.group_size > 0 && parts.groups > 0 &&
                    (columns + parts.group_size - 1) / parts.group_size == parts.groups;
  const bool said = Setting(module, "group_size") && !HasOwnSettings(module.config);
  if (fits || (parts.group_of && !said)) return absl::OkStatus();
  if (parts.group_size == 0) {
    return module.Bad(scales, Cat("what group_size makes ", parts.groups, " groups of ", columns,
                                  " columns is not said (", module.config.file, ")"));
  }
  return module.Bad(
      scales, Cat(parts.groups, " groups of ", parts.group_size, " columns are not the ", columns,
                  " that there are (group_size of ", module.config.file, ")"));
}

/// Every group_size of single modules. Their patterns are Python's, so that which modules one means
/// is not asked: what the shapes do not say otherwise is the answer.
std::vector<int64_t> SizesOfModules(const QuantizationConfig& config) {
  std::vector<int64_t> sizes;
  for (const char* settings : {"extra_config", "dynamic"}) {
    const JsonValue* all =
        config.Has(settings) ? config.dictionary->FindNonNull(settings) : nullptr;
    if (all == nullptr || all->as_object() == nullptr) continue;
    for (const auto& [name, own] : *all->as_object()) {
      const JsonValue* size = own.FindNonNull("group_size");
      if (size != nullptr && size->as_int()) sizes.push_back(*size->as_int());
    }
  }
  return sizes;
}

/// Columns of a group: what config.json says of the module, of all, or of others; else what divides
/// the columns evenly, as groups usually are. 0: nothing fits.
uint64_t GroupSize(const QuantizedModule& module, uint64_t columns, uint64_t groups) {
  const auto fitting = [&](int64_t said) -> uint64_t {
    const uint64_t size = said < 0 ? columns : static_cast<uint64_t>(said);
    return size > 0 && (columns - 1) / size + 1 == groups ? size : 0;
  };
  if (columns == 0 || groups == 0) return 0;
  const int64_t said = Setting(module, "group_size").value_or(0);
  if (const uint64_t size = fitting(said)) return size;
  for (const int64_t other : SizesOfModules(module.config))
    if (const uint64_t size = fitting(other)) return size;
  if (said != 0 && !HasOwnSettings(module.config))
    return said < 0 ? columns : static_cast<uint64_t>(said);
  const uint64_t even = columns % groups == 0 ? columns / groups : 0;
  return groups == 1 || std::has_single_bit(even) ? even : 0;
}

/// Bits of a code: what config.json says, or what the words of the zero points are enough for.
uint64_t BitsOfCodes(const QuantizedModule& module, const Shapes& stored, const RawTensor* g_idx) {
  const int64_t said = std::clamp<int64_t>(Setting(module, "bits").value_or(0), 0, 64);
  const uint64_t bits = static_cast<uint64_t>(said), rows = stored.qweight->shape[1];
  if (g_idx != nullptr) {
    const uint64_t columns = g_idx->elements();
    const uint64_t counted = columns == 0 ? 0 : stored.qweight->shape[0] * 32 / columns;
    return bits == 0 || HasOwnSettings(module.config) || counted == bits ? counted : 0;
  }
  const auto fits = [&](uint64_t b) {
    return b >= 1 && b <= 8 &&
           WordsOf(rows, {.bits = static_cast<uint32_t>(b)}) == stored.qzeros->shape[1];
  };
  if (fits(bits) || (bits != 0 && !HasOwnSettings(module.config))) return bits;
  const uint64_t counted = rows == 0 ? 0 : stored.qzeros->shape[1] * 32 / rows;
  return fits(counted) ? counted : 0;
}

/// Whether auto-round wrote it, whose own packing has zero points whole.
bool IsAutoRounds(const QuantizationConfig& config) {
  return config.method.find("round") != std::string::npos;
}

/// Whether GPTQModel wrote it: {"meta": {"quantizer": ["gptqmodel:5.6.0"]}}.
bool IsGptqModels(const QuantizationConfig& config) {
  const JsonValue* meta = config.Has("meta") ? config.dictionary->FindNonNull("meta") : nullptr;
  const JsonValue* by = meta == nullptr ? nullptr : meta->FindNonNull("quantizer");
  return by != nullptr && LowerAscii(by->ToText()).find("gptqmodel") != std::string::npos;
}

/// What is added to stored zero points: the first version of the format stores them less one.
absl::StatusOr<float> ZeroOffset(const QuantizedModule& module) {
  const QuantizationConfig& config = module.config;
  // `format` is GPTQModel's name for it; others' formats are none of GPTQ's.
  const bool own = config.method.empty() || config.method == "gptq";
  const std::optional<std::string> said = config.Text("checkpoint_format");
  std::string format =
      LowerAscii(said || !own ? said.value_or("gptq") : config.Text("format").value_or("gptq"));
  if (IsAutoRounds(config)) {
    const std::string packing =
        config.Text("packing_format").value_or(config.Text("backend").value_or("auto_round"));
    const bool first = packing == "auto" || (packing.find("gptq") != std::string::npos &&
                                             packing.find("gptqmodel") == std::string::npos);
    format = first ? "gptq" : "gptq_v2";
  }
  if (config.Flag("is_marlin_format").value_or(false)) format = "marlin";
  if (format == "gptq" || format == "gptq_v2") return format == "gptq" ? 1.0f : 0.0f;
  return Error(ErrorCode::kUnsupported, config.file, ": checkpoint_format ", Escape(format, 40),
               " of GPTQ is not supported, gptq and gptq_v2 are; use the unquantized model");
}

absl::StatusOr<QuantizedWeight> ReadGptq(const QuantizedModule& module, const Shapes& stored) {
  const RawTensor* const g_idx = module.Find(".g_idx");
  const uint64_t words = stored.qweight->shape[0], rows = stored.qweight->shape[1];
  const uint64_t bits = BitsOfCodes(module, stored, g_idx);
  const uint64_t columns = g_idx != nullptr ? g_idx->elements() : bits == 0 ? 0 : words * 32 / bits;
  if (bits < 1 || bits > 8) {
    return module.Bad(*stored.qweight,
                      Cat("no number of bits (bits of ", module.config.file, ": ",
                          Setting(module, "bits").value_or(0), ") makes its columns"));
  }
  if (bits >= 5 && bits <= 7 && !IsAutoRounds(module.config)) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(stored.qweight->name), " is GPTQ of ",
                 bits,
                 " bits, which GPTQModel lays in planes of bits: that is not read; use the "
                 "unquantized model");
  }
  GroupedParts parts;
  parts.groups = stored.scales->shape[0];
  parts.group_size = GroupSize(module, columns, parts.groups);
  parts.tile_rows = kTileRows;
  const CodeLayout layout{.bits = static_cast<uint32_t>(bits), .transposed = true};
  SMELT_ASSIGN_OR_RETURN(parts.codes, CodeMatrix::Make(*stored.qweight, layout, rows, columns));
  SMELT_ASSIGN_OR_RETURN(parts.scales.stored, StoredMatrix::Make(*stored.scales));
  parts.scales.transposed = true;
  SMELT_ASSIGN_OR_RETURN(parts.zero, ZeroOffset(module));
  CodeLayout of_zeros = layout;
  of_zeros.along_rows = true;
  of_zeros.less_one = parts.zero == 1 && IsGptqModels(module.config);
  if (of_zeros.less_one) parts.zero = 0;
  SMELT_ASSIGN_OR_RETURN(parts.zeros,
                         CodeMatrix::Make(*stored.qzeros, of_zeros, rows, parts.groups));
  if (g_idx == nullptr && module.config.Flag("desc_act").value_or(false))
    return module.Need(".g_idx").status();  // the order of the columns is nowhere
  if (g_idx != nullptr) {
    if (g_idx->dtype != RawType::kI32) return module.Bad(*g_idx, "expected I32");
    SMELT_ASSIGN_OR_RETURN(parts.group_of, StoredMatrix::Make(*g_idx, columns));
  }
  SMELT_RETURN_IF_ERROR(CheckGroups(module, parts, columns, *stored.scales));
  return QuantizedWeight{{rows, columns},
                         MakeGroupedMatrix(Cat("GPTQ, ", bits, " bits"),
                                           static_cast<uint32_t>(bits), std::move(parts))};
}

absl::StatusOr<QuantizedWeight> ReadAwqGemm(const QuantizedModule& module, const Shapes& stored) {
  const uint64_t columns = stored.qweight->shape[0], rows = stored.qweight->shape[1] * kAwqCodes;
  GroupedParts parts;
  parts.groups = stored.scales->shape[0];
  parts.group_size = GroupSize(module, columns, parts.groups);
  parts.tile_rows = kTileRows * kAwqCodes;
  const CodeLayout layout{.along_rows = true, .transposed = true, .awq_order = true};
  SMELT_ASSIGN_OR_RETURN(parts.codes, CodeMatrix::Make(*stored.qweight, layout, rows, columns));
  SMELT_ASSIGN_OR_RETURN(parts.zeros, CodeMatrix::Make(*stored.qzeros, layout, rows, parts.groups));
  SMELT_ASSIGN_OR_RETURN(parts.scales.stored, StoredMatrix::Make(*stored.scales));
  parts.scales.transposed = true;
  SMELT_RETURN_IF_ERROR(CheckGroups(module, parts, columns, *stored.scales));
  return QuantizedWeight{{rows, columns}, MakeGroupedMatrix("AWQ, 4 bits", 4, std::move(parts))};
}

absl::StatusOr<QuantizedWeight> ReadAwqGemv(const QuantizedModule& module, const Shapes& stored) {
  const uint64_t rows = stored.qweight->shape[0], columns = stored.qweight->shape[1] * kAwqCodes;
  const auto group_size = module.config.Number("group_size");
  if (!group_size) {
    return Error(ErrorCode::kInvalidInput, module.config.file, ": group_size is missing, and ",
                 Escape(stored.scales->name), " has room for more groups than there are");
  }
  GroupedParts parts;
  parts.group_size = *group_size < 1 ? columns : static_cast<uint64_t>(*group_size);
  parts.groups = stored.scales->shape[1];
  if ((columns + parts.group_size - 1) / parts.group_size > parts.groups)
    return CheckGroups(module, parts, columns, *stored.scales);
  SMELT_ASSIGN_OR_RETURN(parts.codes, CodeMatrix::Make(*stored.qweight, {}, rows, columns));
  SMELT_ASSIGN_OR_RETURN(parts.zeros, CodeMatrix::Make(*stored.qzeros, {}, rows, parts.groups));
  SMELT_ASSIGN_OR_RETURN(parts.scales.stored, StoredMatrix::Make(*stored.scales));
  return QuantizedWeight{{rows, columns}, MakeGroupedMatrix("AWQ, 4 bits", 4, std::move(parts))};
}

}  // namespace

absl::StatusOr<QuantizedWeight> ReadGptqOrAwq(const QuantizedModule& module) {
  Shapes stored{&module.codes, nullptr, nullptr};
  SMELT_ASSIGN_OR_RETURN(stored.qzeros, module.Need(".qzeros"));
  SMELT_ASSIGN_OR_RETURN(stored.scales, module.Need(".scales"));
  for (const RawTensor* part : {stored.qweight, stored.qzeros, stored.scales}) {
    if (part->shape.size() != 2) return module.Bad(*part, "expected two dimensions");
  }
  if (BitsOf(stored.qweight->dtype) != 32) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(stored.qweight->name), " is ",
                 Name(stored.qweight->dtype),
                 ": words of another size than 32 bits (AWQ's gemv_fast, Marlin) are not "
                 "supported; use the unquantized model");
  }
  if (!HoldsNumbers(stored.scales->dtype)) return module.Bad(*stored.scales, "expected numbers");
  const auto& scales = stored.scales->shape;
  if (scales[1] == stored.qweight->shape[1]) return ReadGptq(module, stored);
  if (scales[1] == stored.qweight->shape[1] * kAwqCodes && !module.Has(".g_idx"))
    return ReadAwqGemm(module, stored);
  if (scales[0] == stored.qweight->shape[0]) return ReadAwqGemv(module, stored);
  return module.Bad(*stored.scales, "neither GPTQ's scales nor AWQ's");
}

}  // namespace smelt
