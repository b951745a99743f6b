// MXFP4 (gpt-oss: NAME_blocks, NAME_scales) and NVFP4 (compressed-tensors' nvfp4-pack:
// weight_packed, weight_scale, weight_global_scale to divide by; ModelOpt: weight, weight_scale,
// weight_scale_2 to multiply with).
#include <algorithm>
#include <cmath>
#include <utility>

#include "formats/quantized/float4_matrix.h"
#include "formats/quantized/module.h"
#include "lib/base/status.h"

namespace smelt {

RawTensor AsExponents(const RawTensor& bytes) {
  RawTensor exponents = bytes;
  exponents.dtype = RawType::kF8_E8M0;
  return exponents;
}

absl::StatusOr<QuantizedWeight> ReadMxfp4(const QuantizedModule& module) {
  const bool fused = module.codes.name == module.stem + "_blocks";
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const scales,
                         module.Need(fused ? "_scales" : ".weight_scales"));
  constexpr uint64_t kBytes = 16;  // of a block
  const RawTensor& blocks = module.codes;
  if (blocks.dtype != RawType::kU8 || blocks.shape.size() < 3 || blocks.shape.back() != kBytes ||
      scales->dtype != RawType::kU8 ||
      !std::equal(blocks.shape.begin(), blocks.shape.end() - 1, scales->shape.begin(),
                  scales->shape.end()))
    return module.Bad(*scales, "expected a byte for every block of 16 bytes");
  Float4Parts parts;
  const uint64_t groups = scales->shape.back();
  SMELT_ASSIGN_OR_RETURN(parts.values, StoredMatrix::Make(blocks, groups * kBytes));
  SMELT_ASSIGN_OR_RETURN(parts.scales, StoredMatrix::Make(AsExponents(*scales)));
  QuantizedWeight weight{scales->shape, nullptr};
  weight.shape.back() = groups * parts.group;
  weight.matrix = MakeFloat4Matrix("MXFP4", std::move(parts));
  return weight;
}

absl::StatusOr<QuantizedWeight> ReadNvfp4(const QuantizedModule& module) {
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const scales, module.Need(".weight_scale"));
  const RawTensor& values = module.codes;
  Float4Parts parts;
  parts.group = 16;
  // Of this layout are NVFP4, with scales in E4M3, and MXFP4, with exponents.
  if (values.dtype != RawType::kU8 || values.shape.size() < 2 || values.shape.back() == 0)
    return module.Bad(values, "no matrix");
  if (scales->shape.size() != values.shape.size() || scales->shape.back() == 0)
    return module.Bad(*scales, "not the scales of its rows");
  const bool exponents = scales->dtype == RawType::kU8 || scales->dtype == RawType::kF8_E8M0;
  if (exponents && module.config.Text("data_type").value_or("").starts_with("mx_int")) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(values.name),
                 " holds integers under shared exponents (MXINT4), which are not read; use the "
                 "unquantized model");
  }
  if (exponents) parts.group = 32;
  if ((scales->dtype != RawType::kF8_E4M3 && !exponents) ||
      scales->shape.size() != values.shape.size() ||
      scales->shape.back() * parts.group / 2 != values.shape.back() ||
      scales->elements() / scales->shape.back() != values.elements() / values.shape.back())
    return module.Bad(*scales, "expected an F8_E4M3 for every 16 values, or an exponent for 32");
  const auto one = [&](std::string_view ending, float& out) -> absl::Status {
    const RawTensor* const tensor = module.Find(ending);
    if (tensor == nullptr) return absl::OkStatus();
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> number, ReadAllFloats(*tensor, 1));
    if (number.size() != 1 || !(number[0] > 0) || !std::isfinite(number[0]))
      return module.Bad(*tensor, "no scale");
    out = number[0];
    return absl::OkStatus();
  };
  if (!exponents) {
    const bool divides = module.Has(".weight_global_scale");
    SMELT_RETURN_IF_ERROR(
        module.Need(divides ? ".weight_global_scale" : ".weight_scale_2").status());
    SMELT_RETURN_IF_ERROR(one(".weight_global_scale", parts.divisor));
    SMELT_RETURN_IF_ERROR(one(".weight_scale_2", parts.factor));
  }
  SMELT_ASSIGN_OR_RETURN(parts.values, StoredMatrix::Make(values));
  SMELT_ASSIGN_OR_RETURN(parts.scales,
                         StoredMatrix::Make(exponents ? AsExponents(*scales) : *scales));
  QuantizedWeight weight{values.shape, nullptr};
  weight.shape.back() = values.shape.back() * 2;
  const std::string_view format = exponents ? "MXFP4" : "NVFP4";
  weight.matrix = MakeFloat4Matrix(std::string(format), std::move(parts));
  return weight;
}

}  // namespace smelt
