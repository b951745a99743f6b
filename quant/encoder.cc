#include "quant/encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <numeric>

#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/codebook_search.h"
#include "quant/feedback.h"
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

/// The search of each effort.
constexpr SearchDepth kDepths[] = {{.refinements = 1, .rounds = 1},
                                   {.refinements = 3, .rounds = 3},
                                   {.refinements = 3, .rounds = 3}};

/// What the magnitudes of a row's weights say about their importance where nothing else is known:
/// the largest stand in columns of large inputs. Where groups have a minimum, small weights bear
/// it, and count as well. Judged by KL divergence (README.md), not by any error of weights.
void MakePrior(bool minimum, const float* x, uint64_t columns, float* weights) {
  constexpr double kLeast = 0.1;
  constexpr uint64_t kSums = 8;  // side by side, for speed; columns are a multiple of a block
  double sums[kSums] = {};
  for (uint64_t i = 0; i < columns; i += kSums)
    for (uint64_t k = 0; k < kSums; ++k) sums[k] += static_cast<double>(x[i + k]) * x[i + k];
  const double sum = std::accumulate(sums, sums + kSums, 0.0);
  const double inverse = sum > 0 ? static_cast<double>(columns) / sum : 0;
  const double least = minimum ? 1 : kLeast;
  for (uint64_t i = 0; i < columns; ++i) {
    const double square = static_cast<double>(x[i]) * x[i] * inverse;
    weights[i] = static_cast<float>(square + least);
  }
  for (uint64_t i = 0; minimum && i < columns; ++i) weights[i] = std::sqrt(weights[i]);
}

/// Of two levels of one size, large weights would only make the small ones larger; where there are
/// more than 16, none is lost for another's sake.
bool HasPrior(const BlockFormat& format) {
  if (format.codebook != nullptr) return format.codebook->levels > 2;
  return format.code_max - format.code_min < 16;
}

/// The encoder of any block format, driven by its BlockFormat.
class BlockEncoder final : public Encoder {
 public:
  BlockEncoder(const BlockFormat& format, Effort effort) : format_(format), effort_(effort) {}

  TensorType type() const override { return format_.type; }

  void Encode(uint64_t rows, uint64_t columns, const float* x, const InputStatistics& statistics,
              std::byte* out, EncodeScratch& scratch) const override {
    uint8_t* bytes = reinterpret_cast<uint8_t*>(out);
    if (effort_ == Effort::kBest && statistics.factor != nullptr &&
        statistics.factor->columns() == columns) {
      const InputStatistics diagonal = {.importance = statistics.factor->squares()};
      Encode(rows, columns, x, diagonal, out, scratch);
      return EncodeWithFeedback(format_, *statistics.factor, rows, x, bytes);
    }
    if (!format_.searched) return EncodeRows(rows, columns, x, nullptr, columns, bytes);
    if (!statistics.importance.empty() && MakeWeights(statistics.importance, scratch.f32))
      return EncodeRows(rows, columns, x, scratch.f32.data(), columns, bytes);
    if (effort_ == Effort::kFast || !HasPrior(format_))
      return EncodeRows(rows, columns, x, nullptr, columns, bytes);
    // Some rows at a time, so that their weights stay in the cache.
    const uint64_t step = std::max<uint64_t>(1, kPriorElements / columns);
    scratch.f32.resize(step * columns);
    for (uint64_t row = 0; row < rows; row += step) {
      const uint64_t n = std::min(step, rows - row);
      for (uint64_t r = 0; r < n; ++r)
        MakePrior(format_.minimum, x + (row + r) * columns, columns,
                  scratch.f32.data() + r * columns);
      EncodeRows(n, columns, x + row * columns, scratch.f32.data(), n * columns,
                 bytes + row * (columns / format_.elements) * format_.bytes);
    }
  }

 private:
  static constexpr uint64_t kPriorElements = 1 << 15;

  /// `weights` repeat after `period` elements.
  void EncodeRows(uint64_t rows, uint64_t columns, const float* x, const float* weights,
                  uint64_t period, uint8_t* out) const {
    const uint64_t blocks = rows * columns / format_.elements;
    if (format_.codebook != nullptr) {
      EncodeCodebookBlocks(format_, x, weights, period, blocks, out);
    } else {
      EncodeBlocks(format_, kDepths[static_cast<size_t>(effort_)], x, weights, period, blocks, out);
    }
  }

  const BlockFormat& format_;
  const Effort effort_;
};

constexpr size_t kTypeLimit = 64;

/// Encoders by type id.
using Table = std::array<std::unique_ptr<const BlockEncoder>, kTypeLimit>;

const Table& BlockEncoders(Effort effort) {
  auto make = [](Effort its) {
    Table made;
    for (const TensorTypeInfo& info : AllTensorTypes()) {
      const BlockFormat* format = FindBlockFormat(info.type);
      if (format == nullptr) continue;
      made[static_cast<size_t>(info.type)] = std::make_unique<BlockEncoder>(*format, its);
    }
    return made;
  };
  static const Table tables[] = {make(Effort::kFast), make(Effort::kNormal), make(Effort::kBest)};
  return tables[static_cast<size_t>(effort)];
}

}  // namespace

const Encoder* FindEncoder(TensorType type, Effort effort) {
  if (const Encoder* encoder = FindFloatEncoder(type)) return encoder;
  const size_t id = static_cast<size_t>(type);
  return id < kTypeLimit ? BlockEncoders(effort)[id].get() : nullptr;
}

std::optional<Effort> EffortNamed(std::string_view name) {
  if (name == "fast") return Effort::kFast;
  if (name == "normal") return Effort::kNormal;
  if (name == "best") return Effort::kBest;
  return std::nullopt;
}

bool NeedsImportance(TensorType type) {
  using enum TensorType;
  return type == kIQ1_S || type == kIQ1_M || type == kIQ2_XXS || type == kIQ2_XS ||
         type == kIQ2_S || type == kIQ3_XXS;
}

}  // namespace smelt
