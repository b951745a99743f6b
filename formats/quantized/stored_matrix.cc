#include "formats/quantized/stored_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "formats/quantized/float8_values.h"
#include "lib/base/float16.h"
#include "lib/base/float8.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

template <typename Stored, typename Fn>
void Convert(const std::byte* in, uint64_t n, float* out, const Fn& fn) {
  for (uint64_t i = 0; i < n; ++i) {
    Stored value;
    std::memcpy(&value, in + i * sizeof value, sizeof value);
    out[i] = fn(value);
  }
}

void ToFloats(RawType type, const std::byte* in, uint64_t n, float* out) {
  const auto plain = [](auto v) { return static_cast<float>(v); };
  switch (type) {
    case RawType::kF64:
      return Convert<double>(in, n, out, plain);
    case RawType::kF32:
      return Convert<float>(in, n, out, plain);
    case RawType::kF16:
      return Convert<uint16_t>(in, n, out, [](uint16_t v) { return F16ToF32(v); });
    case RawType::kBF16:
      return Convert<uint16_t>(in, n, out, [](uint16_t v) { return Bf16ToF32(v); });
    case RawType::kF8_E4M3:
      return E4M3ToFloats(in, n, out);
    case RawType::kF8_E5M2:
      return E5M2ToFloats(in, n, out);
    case RawType::kF8_E8M0:
      return Convert<uint8_t>(in, n, out, [](uint8_t v) { return E8M0ToF32(v); });
    case RawType::kI8:
      return Convert<int8_t>(in, n, out, plain);
    case RawType::kU8:
      return Convert<uint8_t>(in, n, out, plain);
    case RawType::kI32:
      return Convert<int32_t>(in, n, out, plain);
    default:
      return Convert<int64_t>(in, n, out, plain);
  }
}

}  // namespace

bool HoldsNumbers(RawType type) {
  constexpr RawType kTypes[] = {RawType::kF64,     RawType::kF32,     RawType::kF16,
                                RawType::kBF16,    RawType::kF8_E4M3, RawType::kF8_E5M2,
                                RawType::kF8_E8M0, RawType::kI8,      RawType::kU8,
                                RawType::kI32,     RawType::kI64};
  return std::ranges::find(kTypes, type) != std::end(kTypes);
}

absl::StatusOr<StoredMatrix> StoredMatrix::Make(const RawTensor& tensor,
                                                std::optional<uint64_t> columns) {
  if (!tensor.contiguous() || tensor.computed != nullptr) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name),
                 " is part of quantized weights and does not lie row by row");
  }
  StoredMatrix matrix;
  matrix.tensor_ = tensor;
  matrix.columns_ = columns.value_or(tensor.shape.empty() ? 1 : tensor.shape.back());
  matrix.rows_ = matrix.columns_ == 0 ? 0 : tensor.elements() / matrix.columns_;
  return matrix;
}

absl::StatusOr<StoredMatrix::Lines> StoredMatrix::View(uint64_t row, uint64_t rows, uint64_t column,
                                                       uint64_t columns, ByteBuffer& buffer) const {
  SMELT_RETURN_IF_ERROR(CheckInside(row, rows, column, columns));
  const uint64_t size = BitsOf(tensor_.dtype) / 8, step = columns_ * size;
  if (columns != columns_ && rows > 1) {
    const absl::StatusOr<std::span<const std::byte>> mapped = tensor_.storage->Map();
    if (mapped.ok())
      return Lines{mapped->data() + tensor_.offset + row * step + column * size, step};
  }
  std::byte* const read = buffer.Reserve(rows * columns * size);
  SMELT_RETURN_IF_ERROR(Read(row, rows, column, columns, read));
  return Lines{read, columns * size};
}

absl::Status StoredMatrix::CheckInside(uint64_t row, uint64_t rows, uint64_t column,
                                       uint64_t columns) const {
  if (row + rows <= rows_ && column + columns <= columns_) return absl::OkStatus();
  return Error(ErrorCode::kInternal, "tensor ", Escape(tensor_.name), ": a part of ", rows, " x ",
               columns, " leaves its shape");
}

absl::Status StoredMatrix::Read(uint64_t row, uint64_t rows, uint64_t column, uint64_t columns,
                                std::byte* out) const {
  SMELT_RETURN_IF_ERROR(CheckInside(row, rows, column, columns));
  if (rows == 0 || columns == 0) return absl::OkStatus();
  const uint64_t size = BitsOf(tensor_.dtype) / 8, step = columns_ * size, length = columns * size;
  const uint64_t start = tensor_.offset + row * step + column * size;
  if (step == length) return tensor_.storage->ReadAt(start, std::span(out, rows * length));
  // Pieces of many rows: read one by one they would cost a system call each, so they are mapped
  // where that is possible (see CatchLostPages for files that shrink).
  const absl::StatusOr<std::span<const std::byte>> mapped = tensor_.storage->Map();
  for (uint64_t i = 0; i < rows; ++i) {
    const uint64_t from = start + i * step;
    if (mapped.ok()) {
      std::memcpy(out + i * length, mapped->data() + from, length);
    } else {
      SMELT_RETURN_IF_ERROR(tensor_.storage->ReadAt(from, std::span(out + i * length, length)));
    }
  }
  return absl::OkStatus();
}

absl::Status StoredMatrix::ReadFloats(uint64_t row, uint64_t rows, uint64_t column,
                                      uint64_t columns, float* out) const {
  static const PerThread<ByteBuffer> buffer;
  const uint64_t n = rows * columns;
  if (!HoldsNumbers(tensor_.dtype)) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor_.name), " is ",
                 Name(tensor_.dtype), ", expected numbers");
  }
  std::byte* const read = buffer->Reserve(n * BitsOf(tensor_.dtype) / 8);
  SMELT_RETURN_IF_ERROR(Read(row, rows, column, columns, read));
  ToFloats(tensor_.dtype, read, n, out);
  return absl::OkStatus();
}

absl::Status StoredMatrix::ReadScales(uint64_t row, uint64_t rows, uint64_t column,
                                      uint64_t columns, float* out) const {
  SMELT_RETURN_IF_ERROR(ReadFloats(row, rows, column, columns, out));
  for (uint64_t i = 0; i < rows * columns; ++i) {
    if (std::isfinite(out[i])) continue;
    const uint64_t width = tensor_.shape.size() < 2 ? 1 : tensor_.shape.back();
    const uint64_t at = (row + i / columns) * columns_ + column + i % columns;
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor_.name), " has the value ",
                 std::isnan(out[i]) ? "NaN"
                 : out[i] > 0       ? "infinity"
                                    : "-infinity",
                 " at ",
                 width == 1 && tensor_.shape.size() < 2
                     ? Cat("element ", at)
                     : Cat("row ", at / width, ", column ", at % width),
                 " (counted from 0): the numbers that weights are made with must be finite");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> ReadAllFloats(const RawTensor& tensor, uint64_t limit) {
  SMELT_ASSIGN_OR_RETURN(const StoredMatrix matrix, StoredMatrix::Make(tensor));
  if (!HoldsNumbers(tensor.dtype) || tensor.elements() > limit) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name), " is ",
                 Name(tensor.dtype), " ", ShapeText(tensor.shape), ", expected at most ", limit,
                 " numbers");
  }
  std::vector<float> values(tensor.elements());
  SMELT_RETURN_IF_ERROR(matrix.ReadScales(0, matrix.rows(), values.data()));
  return values;
}

}  // namespace smelt
