// HQQ: the matrix reshaped to groups in rows (axis 1) or in columns (axis 0), several rows of that
// packed into one, the first ones in the highest bits. https://github.com/mobiusml/hqq: bitpack.py.
#include <algorithm>
#include <cstring>
#include <utility>

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
  std::vector<float> scales, zeros;
};

class HqqMatrix : public ComputedMatrix {
 public:
  explicit HqqMatrix(Parts parts)
      : ComputedMatrix(Cat("HQQ, ", parts.packing.bits, " bits, groups of ",
                           parts.elements / parts.scales.size()),
                       parts.packing.bits),
        parts_(std::move(parts)) {}

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    static const PerThread<ByteBuffer> buffer;
    const uint64_t end = (first + count) * parts_.columns;
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
        if (size == 1) {
          DecodeRun<uint8_t>(in + done, run, shift, row, column, out + done);
        } else {
          DecodeRun<uint32_t>(in + done * size, run, shift, row, column, out + done);
        }
        done += run;
      }
      out += n;
      i = stop;
    }
    return absl::OkStatus();
  }

 private:
  /// Neighbours of one row of the reshaped matrix, from `column` on.
  template <typename Element>
  void DecodeRun(const std::byte* in, uint64_t n, uint32_t shift, uint64_t row, uint64_t column,
                 float* out) const {
    const uint32_t mask = (1u << parts_.packing.bits) - 1;
    for (uint64_t j = 0; j < n; ++j) {
      Element element;
      std::memcpy(&element, in + j * sizeof element, sizeof element);
      out[j] = static_cast<float>(static_cast<int32_t>(element >> shift & mask));
    }
    if (parts_.groups_in_rows) {
      const float zero = parts_.zeros[row], scale = parts_.scales[row];
      for (uint64_t j = 0; j < n; ++j) out[j] = (out[j] - zero) * scale;
    } else {
      const float *const zeros = parts_.zeros.data() + column, *const scales =
                                                                   parts_.scales.data() + column;
      for (uint64_t j = 0; j < n; ++j) out[j] = (out[j] - zeros[j]) * scales[j];
    }
  }

  Parts parts_;
};

}  // namespace

absl::StatusOr<QuantizedWeight> ReadHqq(const QuantizedModule& module) {
  constexpr uint64_t kMostGroups = 1 << 26;
  const auto number = [&](std::string_view ending) -> absl::StatusOr<uint64_t> {
    SMELT_ASSIGN_OR_RETURN(const RawTensor* const tensor, module.Need(ending));
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> value, ReadAllFloats(*tensor, 1));
    if (value.size() != 1 || !(value[0] >= 0 && value[0] < 1 << 24))
      return module.Bad(*tensor, "expected a number");
    return static_cast<uint64_t>(value[0]);
  };
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
  if (groups == 0 || groups > kMostGroups || elements % groups != 0 || zero->elements() != groups)
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
  SMELT_ASSIGN_OR_RETURN(parts.scales, ReadAllFloats(*scale, kMostGroups));
  SMELT_ASSIGN_OR_RETURN(parts.zeros, ReadAllFloats(*zero, kMostGroups));
  weight.matrix = std::make_shared<HqqMatrix>(std::move(parts));
  return weight;
}

}  // namespace smelt
