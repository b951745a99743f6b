// HQQ: the matrix reshaped to groups in rows (axis 1) or in columns (axis 0), several rows of that
// packed into one, the first ones in the highest bits. https://github.com/mobiusml/hqq: bitpack.py.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "formats/quantized/module.h"
#include "formats/quantized/stored_matrix.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// How codes of `bits` lie in an element of the packed matrix.
struct Packing {
  uint32_t bits, element_bytes, planes;
};
constexpr Packing kPackings[] = {{8, 1, 1}, {4, 1, 2}, {3, 4, 10}, {2, 1, 4}, {1, 1, 8}};

struct Parts {
  StoredMatrix codes;
  Packing packing = kPackings[0];
  uint64_t columns = 0, elements = 0;
  uint64_t width = 0;       ///< columns of the reshaped matrix
  uint64_t plane_rows = 0;  ///< rows of the packed matrix
  bool groups_in_rows = true;
  StoredMatrix scales, zeros;  ///< one behind the other
};

/// Scales and zero points of neighbouring groups.
struct Groups {
  std::vector<float> scales, zeros;

  absl::Status Read(const Parts& parts, uint64_t first, uint64_t count) {
    scales.resize(count);
    zeros.resize(count);
    SMELT_RETURN_IF_ERROR(parts.scales.ReadScales(first, count, scales.data()));
    return parts.zeros.ReadScales(first, count, zeros.data());
  }
};

class HqqMatrix : public ComputedMatrix {
 public:
  explicit HqqMatrix(Parts parts)
      : ComputedMatrix(Cat("HQQ, ", parts.packing.bits, " bits, groups of ",
                           parts.elements / parts.scales.rows()),
                       parts.packing.bits),
        parts_(std::move(parts)) {}

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    static const PerThread<ByteBuffer> buffer;
    static const PerThread<Groups> scratch;
    Groups& groups = *scratch;
    if (count == 0) return absl::OkStatus();
    const uint64_t end = (first + count) * parts_.columns;
    const uint64_t first_row = first * parts_.columns / parts_.width;
    if (parts_.groups_in_rows)
      SMELT_RETURN_IF_ERROR(
          groups.Read(parts_, first_row, (end - 1) / parts_.width + 1 - first_row));
    const uint64_t plane = parts_.plane_rows * parts_.width, size = parts_.packing.element_bytes;
    for (uint64_t i = first * parts_.columns; i < end;) {  // what lies in one plane
      const uint64_t number = i / plane, stop = std::min(end, (number + 1) * plane), n = stop - i;
      std::byte* const in = buffer->Reserve(n * size);
      SMELT_RETURN_IF_ERROR(parts_.codes.Read(i % plane, n, in));
      const uint32_t bits = parts_.packing.bits;
      const uint32_t shift = bits * (parts_.packing.planes - 1 - static_cast<uint32_t>(number));
      for (uint64_t done = 0; done < n;) {  // what lies in one row of the reshaped matrix
        const uint64_t row = (i + done) / parts_.width, column = (i + done) % parts_.width;
        const uint64_t run = std::min(n - done, parts_.width - column);
        if (!parts_.groups_in_rows) SMELT_RETURN_IF_ERROR(groups.Read(parts_, column, run));
        const uint64_t group = parts_.groups_in_rows ? row - first_row : 0;
        if (size == 1) {
          DecodeRun<uint8_t>(in + done, run, shift, groups, group, out + done);
        } else {
          DecodeRun<uint32_t>(in + done * size, run, shift, groups, group, out + done);
        }
        done += run;
      }
      out += n;
      i = stop;
    }
    return absl::OkStatus();
  }

 private:
  /// Neighbours of one row of the reshaped matrix: all of `group`, or each of the next one.
  template <typename Element>
  void DecodeRun(const std::byte* in, uint64_t n, uint32_t shift, const Groups& groups,
                 uint64_t group, float* out) const {
    const uint32_t mask = (1u << parts_.packing.bits) - 1;
    for (uint64_t j = 0; j < n; ++j) {
      Element element;
      std::memcpy(&element, in + j * sizeof element, sizeof element);
      out[j] = static_cast<float>(static_cast<int32_t>(element >> shift & mask));
    }
    if (parts_.groups_in_rows) {
      const float zero = groups.zeros[group], scale = groups.scales[group];
      for (uint64_t j = 0; j < n; ++j) out[j] = (out[j] - zero) * scale;
    } else {
      const float *const zeros = groups.zeros.data(), *const scales = groups.scales.data();
      for (uint64_t j = 0; j < n; ++j) out[j] = (out[j] - zeros[j]) * scales[j];
    }
  }

  Parts parts_;
};

}  // namespace

absl::StatusOr<QuantizedWeight> ReadHqq(const QuantizedModule& module) {
  const auto number = [&](std::string_view ending) -> absl::StatusOr<uint64_t> {
    SMELT_ASSIGN_OR_RETURN(const RawTensor* const tensor, module.Need(ending));
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> value, ReadAllFloats(*tensor, 1));
    if (value.size() != 1 || !(value[0] >= 0 && value[0] < 1 << 24))
      return module.Bad(*tensor, "expected a number");
    return static_cast<uint64_t>(value[0]);
  };
  if (!module.Has(".nbits") && !module.Has(".shape")) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(module.codes.name),
                 " is HQQ without the numbers that say what it means: hqq's qmodel.pt is not read; "
                 "save the model with hqq's save_to_safetensors");
  }
  SMELT_ASSIGN_OR_RETURN(const uint64_t bits, number(".nbits"));
  SMELT_ASSIGN_OR_RETURN(const uint64_t axis, number(".axis"));
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const shape, module.Need(".shape"));
  SMELT_ASSIGN_OR_RETURN(const std::vector<float> extents, ReadAllFloats(*shape, 2));
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const scale, module.Need(".scale"));
  SMELT_ASSIGN_OR_RETURN(const RawTensor* const zero, module.Need(".zero"));
  for (const std::string_view unused :
       {".packing", ".unpack_view_dtype", ".view_as_float", ".compute_dtype", ".quant_scale",
        ".quant_zero", ".round_zero", ".optimize", ".channel_wise", ".stores_quant_config",
        ".offload_meta", ".encoded_state_dict", ".group_size"})
    module.Find(unused);
  const auto packing = std::ranges::find(kPackings, bits, &Packing::bits);
  if (packing == std::end(kPackings) || axis > 1 ||
      BitsOf(module.codes.dtype) != packing->element_bytes * 8) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(module.codes.name), " is HQQ of ", bits,
                 " bits in ", Name(module.codes.dtype),
                 ", a packing that is not supported; use the unquantized model");
  }
  if (extents.size() != 2 || !(extents[0] >= 1 && extents[0] < 1 << 24) ||
      !(extents[1] >= 1 && extents[1] < 1 << 24))
    return module.Bad(*shape, "no shape of a matrix");
  QuantizedWeight weight{{static_cast<uint64_t>(extents[0]), static_cast<uint64_t>(extents[1])},
                         nullptr};
  const uint64_t elements = weight.shape[0] * weight.shape[1], groups = scale->elements();
  if (groups == 0 || !HoldsNumbers(scale->dtype) || !HoldsNumbers(zero->dtype) ||
      elements % groups != 0 || zero->elements() != groups)
    return module.Bad(*scale, "no scales of groups of the same size");
  // Its shape says along which axis groups lie, too.
  if (scale->shape.size() == 2 && groups > 1 && scale->shape[axis] != 1)
    return module.Bad(
        *scale, Cat("not the scales of groups along axis ", axis, " (", module.stem, ".axis)"));
  Parts parts;
  parts.packing = *packing;
  parts.columns = weight.shape[1];
  parts.elements = elements;
  parts.groups_in_rows = axis == 1;
  parts.width = axis == 1 ? elements / groups : groups;
  const uint64_t height = elements / parts.width;
  parts.plane_rows = (height + packing->planes - 1) / packing->planes;
  if (module.codes.elements() != parts.plane_rows * parts.width ||
      (bits != 3 && height % packing->planes != 0))
    return module.Bad(module.codes, Cat("expected ", parts.plane_rows, " x ", parts.width));
  SMELT_ASSIGN_OR_RETURN(parts.codes, StoredMatrix::Make(module.codes, 1));
  SMELT_ASSIGN_OR_RETURN(parts.scales, StoredMatrix::Make(*scale, 1));
  SMELT_ASSIGN_OR_RETURN(parts.zeros, StoredMatrix::Make(*zero, 1));
  weight.matrix = std::make_shared<HqqMatrix>(std::move(parts));
  return weight;
}

}  // namespace smelt
