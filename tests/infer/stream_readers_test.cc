// What reads the stream first, against plain sums over rows.
#include "infer/stream_readers.h"

#include <cmath>

#include "lib/base/parallel.h"
#include "tests/infer/random_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::MakeRandomModel;
using testing::MemoryModel;
using testing::RandomModelNames;

struct Sums {
  explicit Sums(uint64_t columns)
      : sums(columns * columns), gram{.columns = columns, .tokens = 0, .sums = sums.data()} {}

  double Trace() const {
    double trace = 0;
    for (uint64_t i = 0; i < gram.columns; ++i)
      trace += static_cast<double>(sums[i * gram.columns + i]);
    return trace;
  }

  std::vector<float> sums;
  InputGram gram;
};

/// A model of one layer, all of whose values are known.
struct OneLayer {
  explicit OneLayer(NormKind kind) {
    spec.width = kWidth;
    const Norm first{.kind = kind, .weight = source.Add({kWidth}, 0.5, 1)};
    const Norm second{.kind = kind, .weight = source.Add({kWidth}, 0.9, 1)};
    LayerSpec& layer = spec.layers.emplace_back();
    layer.mixer_norm = first;
    Attention attention;
    attention.q.weight = source.Add({kWidth, 700}, 1);
    attention.k.weight = source.Add({kWidth, 32}, 9);
    attention.v = {.weight = source.Add({kWidth, 64}, 1), .first_row = 32, .rows = 16};
    layer.mixer = attention;
    layer.ffn_norm = second;
    Mlp mlp;
    mlp.gate.weight = source.Add({kWidth, 100}, 1);
    mlp.up.weight = source.Add({kWidth, 100}, 2);
    mlp.down.weight = source.Add({100, kWidth}, 1);
    layer.ffn = mlp;
  }

  /// The sums of one matrix, its trace being `trace`.
  void Add(const Linear& linear, const Norm& norm, double trace, std::vector<double>& to) const {
    std::vector<double> own(kWidth * kWidth);
    AddProducts(linear, norm, own);
    double sum = 0;
    for (uint64_t i = 0; i < kWidth; ++i) sum += own[i * kWidth + i];
    for (size_t i = 0; i < own.size(); ++i) to[i] += own[i] * trace / sum;
  }

  void AddProducts(const Linear& linear, const Norm& norm, std::vector<double>& own) const {
    const std::vector<float>& values = source.Values(linear.weight);
    const std::vector<float>& gain = source.Values(norm.weight);
    const uint64_t rows = linear.rows != 0 ? linear.rows : values.size() / kWidth;
    std::vector<double> w(kWidth);
    for (uint64_t r = linear.first_row; r < linear.first_row + rows; ++r) {
      double mean = 0;
      for (uint64_t c = 0; c < kWidth; ++c) {
        w[c] = static_cast<double>(values[r * kWidth + c]) * static_cast<double>(gain[c]);
        mean += w[c] / kWidth;
      }
      for (double& value : w) value -= norm.kind == NormKind::kLayer ? mean : 0;
      for (uint64_t i = 0; i < kWidth; ++i)
        for (uint64_t j = 0; j < kWidth; ++j) own[i * kWidth + j] += w[i] * w[j];
    }
  }

  static constexpr uint64_t kWidth = 48;
  MemoryModel source{7};
  ModelSpec spec;
};

TEST(StreamReaders, AreEachPartsMatricesBehindItsNorm) {
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    const OneLayer model(kind);
    const LayerSpec& layer = model.spec.layers[0];
    const auto& attention = std::get<Attention>(layer.mixer);
    const auto& mlp = std::get<Mlp>(layer.ffn);
    std::vector<double> expected(OneLayer::kWidth * OneLayer::kWidth);
    for (const Linear& linear : {attention.q, attention.k, attention.v})
      model.Add(linear, layer.mixer_norm, 1.0 / 3, expected);
    for (const Linear& linear : {mlp.gate, mlp.up})
      model.Add(linear, layer.ffn_norm, 0.5, expected);
    Sums one(OneLayer::kWidth), four(OneLayer::kWidth);
    SetThreads(1);
    SMELT_ASSERT_OK(AddReaders(model.source, model.spec, one.gram));
    SetThreads(4);
    SMELT_ASSERT_OK(AddReaders(model.source, model.spec, four.gram));
    SetThreads(0);
    for (uint64_t i = 0; i < OneLayer::kWidth; ++i) {
      for (uint64_t j = 0; j <= i; ++j) {
        const uint64_t at = i * OneLayer::kWidth + j;
        ASSERT_NEAR(static_cast<double>(one.sums[at]), expected[at], 1e-6) << i << " " << j;
      }
    }
    EXPECT_EQ(one.sums, four.sums);
  }
}

TEST(StreamReaders, OfMatricesThatAreZeroAddNothing) {
  OneLayer model(NormKind::kRms);
  auto& mlp = std::get<Mlp>(model.spec.layers[0].ffn);
  mlp.gate.weight = model.source.Add({OneLayer::kWidth, 8}, 0);
  mlp.up = {};
  Sums sums(OneLayer::kWidth);
  SMELT_ASSERT_OK(AddReaders(model.source, model.spec, sums.gram));
  EXPECT_NEAR(sums.Trace(), 1, 1e-5);  // of the mixer
}

// Gate and up of experts in one tensor are rows of each expert.
TEST(StreamReaders, OfFusedExpertsAreTheRowsOfEach) {
  constexpr uint64_t kExperts = 3, kRows = 20, kWidth = OneLayer::kWidth;
  OneLayer model(NormKind::kRms);
  LayerSpec& layer = model.spec.layers[0];
  Experts experts;
  experts.gate = {.weight = model.source.Add({kWidth, 2 * kRows, kExperts}, 1), .rows = kRows};
  layer.mixer = {};
  layer.ffn = experts;
  std::vector<double> expected(kWidth * kWidth), own(kWidth * kWidth);
  for (uint64_t e = 0; e < kExperts; ++e) {
    Linear part = experts.gate;
    part.first_row = e * 2 * kRows;
    model.AddProducts(part, layer.ffn_norm, own);
  }
  double trace = 0;
  for (uint64_t i = 0; i < kWidth; ++i) trace += own[i * kWidth + i];
  for (size_t i = 0; i < own.size(); ++i) expected[i] = own[i] / trace;
  Sums sums(kWidth);
  SMELT_ASSERT_OK(AddReaders(model.source, model.spec, sums.gram));
  EXPECT_EQ(sums.gram.tokens, kExperts * kRows);
  for (uint64_t i = 0; i < kWidth; ++i) {
    for (uint64_t j = 0; j <= i; ++j)
      ASSERT_NEAR(static_cast<double>(sums.sums[i * kWidth + j]), expected[i * kWidth + j], 1e-6);
  }
}

// Every expert has its say, and not the same rows of each.
TEST(StreamReaders, OfManyExpertsAreSomeRowsOfDifferentPlaces) {
  constexpr uint64_t kExperts = 128, kRows = 768, kWidth = 8;
  OneLayer model(NormKind::kRms);
  LayerSpec& layer = model.spec.layers[0];
  layer.mixer = {};
  layer.ffn_norm = {};
  MemoryModel source(3);
  Experts experts;
  experts.up.weight = source.Add({kWidth, kRows, kExperts}, 0);
  layer.ffn = experts;
  // The third part of an expert's rows reads another column than the others.
  for (uint64_t r = 0; r < kExperts * kRows; ++r)
    source.Set(experts.up.weight, r * kWidth + r % kRows / 256, 1);
  Sums sums(kWidth);
  SMELT_ASSERT_OK(AddReaders(source, model.spec, sums.gram));
  for (uint64_t c = 0; c < 3; ++c)
    EXPECT_NEAR(static_cast<double>(sums.sums[c * kWidth + c]), 1.0 / 3, 0.1) << c;
}

// Values whose squares are nothing would leave products that are something.
TEST(StreamReaders, ValuesTooSmallToCountAreNone) {
  OneLayer model(NormKind::kRms);
  LayerSpec& layer = model.spec.layers[0];
  layer.ffn = {};
  layer.mixer_norm = {};
  Attention attention;
  attention.q.weight = model.source.Add({OneLayer::kWidth, 16}, 1);
  for (uint64_t r = 0; r < 16; ++r)
    model.source.Set(attention.q.weight, r * OneLayer::kWidth, 1e-30f);
  layer.mixer = attention;
  Sums sums(OneLayer::kWidth);
  SMELT_ASSERT_OK(AddReaders(model.source, model.spec, sums.gram));
  for (uint64_t i = 0; i < OneLayer::kWidth; ++i)
    EXPECT_EQ(sums.sums[i * OneLayer::kWidth], 0) << i;
}

// Whatever the first layer is made of, something reads the stream.
TEST(StreamReaders, AreFoundInEveryShapeOfModel) {
  for (const std::string& name : RandomModelNames()) {
    SCOPED_TRACE(name);
    const auto model = MakeRandomModel(name);
    Sums sums(model.spec.width);
    SMELT_ASSERT_OK(AddReaders(*model.source, model.spec, sums.gram));
    const LayerSpec& first = model.spec.layers[0];
    const double parts = (first.mixer.index() != 0) + (first.ffn.index() != 0);
    EXPECT_NEAR(sums.Trace(), parts, 1e-3);
  }
}

}  // namespace
}  // namespace smelt
