#include "tests/infer/memory_model.h"

#include <cstring>
#include <utility>

#include "lib/base/cat.h"
#include "lib/base/status.h"
#include "quant/codec.h"
#include "quant/encoder.h"

namespace smelt::testing {

TensorRef MemoryModel::Add(std::vector<uint64_t> ne, double spread, double center,
                           TensorType type) {
  TensorInfo info;
  info.name = Cat("t", tensors_.size());
  info.shape.dims = static_cast<int>(ne.size());
  for (size_t i = 0; i < ne.size(); ++i) info.shape.ne[i] = ne[i];
  info.type = type;
  std::vector<float> values(info.shape.elements());
  for (float& v : values) {
    const double unit = static_cast<double>(random_() >> 11) * 0x1p-53;
    v = static_cast<float>(center + spread * (2 * unit - 1));
  }
  const Codec* codec = FindCodec(type);
  std::vector<std::byte> bytes(RowBytes(type, info.shape.columns()).value() * info.shape.rows());
  EncodeScratch scratch;
  FindEncoder(type)->Encode(info.shape.rows(), info.shape.columns(), values.data(), {},
                            bytes.data(), scratch);
  codec->Decode(bytes.data(), values.size(), values.data());
  std::vector<float> factors;
  const uint64_t matrices = type == TensorType::kNVFP4 ? info.shape.ne[2] : 0;
  for (uint64_t i = 0; i < matrices; ++i) {
    factors.push_back(0.75f + 0.125f * static_cast<float>(tensors_.size() % 3 + i % 4));
    const size_t size = values.size() / matrices;
    for (size_t v = i * size; v < (i + 1) * size; ++v) values[v] *= factors[i];
  }
  factors_.push_back(std::move(factors));
  tensors_.push_back(std::move(info));
  bytes_.push_back(std::move(bytes));
  values_.push_back(std::move(values));
  return static_cast<TensorRef>(tensors_.size() - 1);
}

void MemoryModel::Set(TensorRef t, size_t element, float value) {
  values_[static_cast<size_t>(t)][element] = value;
  std::memcpy(bytes_[static_cast<size_t>(t)].data() + element * sizeof(float), &value,
              sizeof(float));
}

absl::Status MemoryModel::ReadRows(size_t tensor, uint64_t first, uint64_t count,
                                   float* out) const {
  const uint64_t columns = tensors_[tensor].shape.columns();
  std::memcpy(out, values_[tensor].data() + first * columns, count * columns * sizeof(float));
  return absl::OkStatus();
}

absl::Status MemoryModel::ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                                      std::byte* out) const {
  const uint64_t row = RowBytes(tensors_[tensor].type, tensors_[tensor].shape.columns()).value();
  std::memcpy(out, bytes_[tensor].data() + first * row, count * row);
  return absl::OkStatus();
}

absl::StatusOr<MappedRows> MemoryModel::MapRows(size_t tensor) const {
  if (!mappable_) return Error(ErrorCode::kUnsupported, "not mappable");
  MappedRows rows;
  rows.base = bytes_[tensor].data();
  rows.stride = RowBytes(tensors_[tensor].type, tensors_[tensor].shape.columns()).value();
  rows.factors = factors_[tensor];
  rows.factor_rows = tensors_[tensor].shape.ne[1];
  return rows;
}

}  // namespace smelt::testing
