#include "quant/encoder.h"

#include <array>
#include <cmath>
#include <memory>

#include "quant/block_format.h"
#include "quant/codebook_search.h"
#include "quant/float_codecs.h"
#include "quant/search.h"

namespace smelt {
namespace {

/// Importance as weights around 1. A column without importance keeps a little of it, so that a
/// group of such columns is encoded like any other. False where the vector says nothing.
bool MakeWeights(std::span<const float> importance, std::vector<float>& weights) {
  constexpr float kLeast = 1e-3f;
  double sum = 0;
  for (const float v : importance) sum += v;
  const double mean = sum / static_cast<double>(importance.size());
  if (!(mean > 0) || !std::isfinite(mean)) return false;
  weights.resize(importance.size());
  for (size_t i = 0; i < importance.size(); ++i) {
    weights[i] = static_cast<float>(importance[i] / mean) + kLeast;
  }
  return true;
}

/// The encoder of any block format, driven by its BlockFormat.
class BlockEncoder final : public Encoder {
 public:
  explicit BlockEncoder(const BlockFormat& format) : format_(format) {}

  TensorType type() const override { return format_.type; }

  void Encode(uint64_t rows, uint64_t columns, const float* x, const InputStatistics& statistics,
              std::byte* out, EncodeScratch& scratch) const override {
    const bool weighted = format_.searched && !statistics.importance.empty() &&
                          MakeWeights(statistics.importance, scratch.f32);
    const auto encode = format_.codebook != nullptr ? EncodeCodebookBlocks : EncodeBlocks;
    encode(format_, x, weighted ? scratch.f32.data() : nullptr, columns,
           rows * columns / format_.elements, reinterpret_cast<uint8_t*>(out));
  }

 private:
  const BlockFormat& format_;
};

constexpr size_t kTypeLimit = 64;

/// Encoders by type id.
using Table = std::array<std::unique_ptr<const BlockEncoder>, kTypeLimit>;

const Table& BlockEncoders() {
  static const Table table = [] {
    Table made;
    for (const TensorTypeInfo& info : AllTensorTypes()) {
      const BlockFormat* format = FindBlockFormat(info.type);
      if (format == nullptr) continue;
      made[static_cast<size_t>(info.type)] = std::make_unique<BlockEncoder>(*format);
    }
    return made;
  }();
  return table;
}

}  // namespace

const Encoder* FindEncoder(TensorType type, Effort) {
  if (const Encoder* encoder = FindFloatEncoder(type)) return encoder;
  const size_t id = static_cast<size_t>(type);
  return id < kTypeLimit ? BlockEncoders()[id].get() : nullptr;
}

bool NeedsImportance(TensorType type) {
  using enum TensorType;
  return type == kIQ1_S || type == kIQ1_M || type == kIQ2_XXS || type == kIQ2_XS ||
         type == kIQ2_S || type == kIQ3_XXS;
}

}  // namespace smelt
