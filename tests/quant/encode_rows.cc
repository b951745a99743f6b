#include "tests/quant/encode_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/codec.h"
#include "quant/encoder.h"
#include "tests/quant/fixtures.h"

namespace smelt {

std::vector<const BlockFormat*> AllFormats() {
  std::vector<const BlockFormat*> formats;
  for (const TensorTypeInfo& info : AllTensorTypes()) {
    if (const BlockFormat* format = FindBlockFormat(info.type)) formats.push_back(format);
  }
  return formats;
}

std::vector<const BlockFormat*> LinearFormats() {
  std::vector<const BlockFormat*> formats = AllFormats();
  std::erase_if(formats, [](const BlockFormat* f) { return f->codebook != nullptr; });
  return formats;
}

std::vector<std::byte> Encode(TensorType type, const std::vector<float>& x, uint64_t columns,
                              const float* importance) {
  std::vector<std::byte> out(x.size() / columns * RowBytes(type, columns).value_or(0));
  EncodeScratch scratch;
  InputStatistics statistics;
  if (importance != nullptr) statistics.importance = {importance, columns};
  const Effort effort = importance == nullptr ? Effort::kFast : Effort::kNormal;
  FindEncoder(type, effort)
      ->Encode(x.size() / columns, columns, x.data(), statistics, out.data(), scratch);
  return out;
}

std::vector<float> Decode(TensorType type, const std::vector<std::byte>& bytes, size_t count) {
  std::vector<float> out(count);
  FindCodec(type)->Decode(bytes.data(), count, out.data());
  return out;
}

std::vector<float> HardValues(size_t rows, size_t columns) {
  std::vector<float> x = Noise(rows * columns, 99);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      float& v = x[r * columns + c];
      switch (r % 14) {
        case 1:
          v = 0;
          break;
        case 2:
          v = 0.37f;
          break;
        case 3:
          v = -0.37f;
          break;
        case 4:
          v = std::abs(v);
          break;
        case 5:
          v = -std::abs(v);
          break;
        case 6:
          v *= 1e30f;
          break;
        case 7:
          v *= 1e-30f;
          break;
        case 8:
          v = c % 32 == 5 ? 1.0f : 0.0f;
          break;
        case 9:
          v = static_cast<float>(static_cast<int>(c % 7) - 3);
          break;
        case 10:
          v *= 1e-38f;
          break;
        case 11:
          v *= 5e36f;
          break;
        case 12:
          v *= (c / 32) % 2 == 0 ? 1.0f : 1e-4f;
          break;
        case 13:
          v = c % 97 == 0 ? -1e5f : v;
          break;
        default:
          break;
      }
    }
  }
  return x;
}

std::vector<float> ExtremeRows() {
  constexpr int kKinds = 10;
  const float top = std::numeric_limits<float>::max();
  std::vector<float> x;
  for (int exponent = -149; exponent <= 127; ++exponent) {
    const std::vector<float> noise =
        Noise(kKinds * kExtremeColumns, static_cast<uint32_t>(1000 + exponent));
    const float unit = std::ldexp(1.0f, exponent);
    for (int kind = 0; kind < kKinds; ++kind) {
      for (size_t c = 0; c < kExtremeColumns; ++c) {
        const float n = noise[static_cast<size_t>(kind) * kExtremeColumns + c];
        float v = n * unit;
        if (kind == 1 && c % 32 < 2) v = c % 2 == 0 ? 1.9f * unit : -1.9f * unit;
        if (kind == 2) v = c == 77 ? 1.5f * unit : n;
        if (kind == 3) v = std::abs(v);
        if (kind == 4) v = -std::abs(v);
        if (kind == 5) v = c < 100 ? unit : -unit;
        if (kind == 6) v = unit * (1 + 0.001f * n);
        if (kind == 7) v = std::ldexp(n, exponent + static_cast<int>(c / 16));
        if (kind == 8) v = c % 3 == 0 ? unit : c % 3 == 1 ? 0.0f : -0.0f;
        if (kind == 9) v = c % 32 == 3 ? top : c % 32 == 4 ? -top : v;
        x.push_back(std::clamp(v, -top, top));
      }
    }
  }
  return x;
}

std::vector<float> ColumnWeights(size_t columns) {
  std::vector<float> w = Noise(columns, 5);
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = i % 50 == 0 ? 1e-3f : std::abs(w[i]) * (i % 70 == 1 ? 100 : 4) + 1e-3f;
  return w;
}

std::vector<const BlockFormat*> CodebookFormats() {
  std::vector<const BlockFormat*> formats = AllFormats();
  std::erase_if(formats, [](const BlockFormat* f) { return f->codebook == nullptr; });
  return formats;
}

}  // namespace smelt
