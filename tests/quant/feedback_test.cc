// Rounding with feedback, judged by a plain f64 objective.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "quant/codec.h"
#include "quant/encoder.h"
#include "quant/input_factor.h"
#include "tests/quant/encode_rows.h"
#include "tests/quant/fixtures.h"
#include "tests/quant/grams.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

std::vector<float> Identity(size_t columns) {
  std::vector<float> gram(columns * columns);
  for (size_t i = 0; i < columns; ++i) gram[i * columns + i] = 1;
  return gram;
}

std::vector<std::byte> EncodeBest(TensorType type, const std::vector<float>& x,
                                  const InputFactor& factor, uint64_t rows_at_once = 1000) {
  const uint64_t columns = factor.columns(), rows = x.size() / columns;
  const uint64_t row_bytes = RowBytes(type, columns).value_or(0);
  std::vector<std::byte> out(rows * row_bytes);
  EncodeScratch scratch;
  InputStatistics statistics;
  statistics.factor = &factor;
  for (uint64_t row = 0; row < rows; row += rows_at_once) {
    FindEncoder(type, Effort::kBest)
        ->Encode(std::min(rows_at_once, rows - row), columns, x.data() + row * columns, statistics,
                 out.data() + row * row_bytes, scratch);
  }
  return out;
}

/// (w - v) H (w - v)^T of every row, H as damped.
std::vector<double> Objectives(const std::vector<float>& x, const std::vector<float>& decoded,
                               const InputFactor& factor) {
  const size_t columns = factor.columns();
  std::vector<double> objectives(x.size() / columns), e(columns);
  for (size_t r = 0; r < objectives.size(); ++r) {
    for (size_t k = 0; k < columns; ++k) {
      const size_t at = r * columns + factor.order()[k];
      e[k] = static_cast<double>(decoded[at]) - x[at];
    }
    for (size_t j = 0; j < columns; ++j)
      for (size_t k = 0; k < columns; ++k)
        objectives[r] += e[j] * e[k] * static_cast<double>(factor.moment()[j * columns + k]);
  }
  return objectives;
}

double Sum(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum;
}

constexpr size_t kRows = 20, kColumns = 512;

/// Weights as models have them: nearly normal.
std::vector<float> Weights(size_t rows, size_t columns) {
  std::vector<float> x(rows * columns);
  uint64_t state = 42;
  for (float& v : x) {
    v = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      v += static_cast<float>(state >> 40) / static_cast<float>(1 << 23) - 1;
    }
    v *= 0.02f;
  }
  return x;
}

TEST(Feedback, ItsErrorIsWellBelowTheSearchs) {
  const std::vector<float> x = Weights(kRows, kColumns);
  const std::vector<float> gram = CorrelatedGram(kColumns, 300, 3);
  const InputFactor factor = FactorOf(kColumns, gram, 300);
  std::vector<float> importance(kColumns);
  for (size_t i = 0; i < kColumns; ++i) importance[i] = gram[i * kColumns + i];
  for (const BlockFormat* format : AllFormats()) {
    const auto search = Objectives(
        x, Decode(format->type, Encode(format->type, x, kColumns, importance.data()), x.size()),
        factor);
    const auto best =
        Objectives(x, Decode(format->type, EncodeBest(format->type, x, factor), x.size()), factor);
    EXPECT_LT(Sum(best), 0.7 * Sum(search)) << Info(format->type).name;
    for (size_t r = 0; r < kRows; ++r)
      EXPECT_LE(best[r], search[r]) << Info(format->type).name << " row " << r;
    ::testing::Test::RecordProperty(std::string(Info(format->type).name),
                                    std::to_string(Sum(best) / Sum(search)));
    if (std::getenv("VERBOSE") != nullptr)
      printf("%s %.4f\n", std::string(Info(format->type).name).c_str(), Sum(best) / Sum(search));
  }
}

TEST(Feedback, WithoutCorrelationItIsAsGoodAsTheSearch) {
  const std::vector<float> x = Weights(kRows, kColumns);
  const InputFactor factor = FactorOf(kColumns, Identity(kColumns), 300);
  for (const BlockFormat* format : AllFormats()) {
    const auto search =
        Objectives(x, Decode(format->type, Encode(format->type, x, kColumns), x.size()), factor);
    const auto best =
        Objectives(x, Decode(format->type, EncodeBest(format->type, x, factor), x.size()), factor);
    EXPECT_LT(Sum(best), 1.02 * Sum(search)) << Info(format->type).name;
    if (std::getenv("VERBOSE") != nullptr)
      printf("%s %.4f\n", std::string(Info(format->type).name).c_str(), Sum(best) / Sum(search));
  }
}

TEST(Feedback, SameBytesOnEveryTargetAndForAnyRowsAtOnce) {
  EachTarget targets;
  const std::vector<float> x = HardValues(29, kColumns);
  const InputFactor factor = FactorOf(kColumns, CorrelatedGram(kColumns, 60, 9), 60);
  for (const BlockFormat* format : AllFormats()) {
    const auto together = EncodeBest(format->type, x, factor);
    for (const std::string& target : targets.names()) {
      targets.Use(target);
      EXPECT_EQ(EncodeBest(format->type, x, factor, 7), together)
          << Info(format->type).name << " on " << target;
    }
    targets.Use(targets.names().front());
  }
}

TEST(Feedback, NoRowIsWorseThanTheSearchsHoweverHostile) {
  const std::vector<float> x = HardValues(28, kColumns);
  for (const uint64_t tokens : {0u, 1u, 60u}) {
    const InputFactor factor = FactorOf(kColumns, CorrelatedGram(kColumns, tokens, 9), tokens);
    for (const BlockFormat* format : AllFormats()) {
      const auto plain = Encode(format->type, x, kColumns, factor.squares().data());
      const auto best = EncodeBest(format->type, x, factor);
      const auto search = Objectives(x, Decode(format->type, plain, x.size()), factor);
      const auto ours = Objectives(x, Decode(format->type, best, x.size()), factor);
      const size_t row_bytes = plain.size() / search.size();
      for (size_t r = 0; r < search.size(); ++r) {
        uint64_t bad = 0;
        const bool held =
            FindCodec(format->type)->Validate(plain.data() + r * row_bytes, kColumns, &bad);
        const std::string what = std::string(Info(format->type).name) + " row " +
                                 std::to_string(r) + " tokens " + std::to_string(tokens);
        EXPECT_EQ(FindCodec(format->type)->Validate(best.data() + r * row_bytes, kColumns, &bad),
                  held)
            << what;
        if (!held) continue;
        EXPECT_LE(ours[r], (1 + 1e-4) * search[r]) << what;
      }
    }
  }
}

TEST(Feedback, OtherEffortsTakeNoNoticeOfAFactor) {
  const std::vector<float> x = Weights(kRows, kColumns);
  const InputFactor factor = FactorOf(kColumns, CorrelatedGram(kColumns, 60, 9), 60);
  InputStatistics statistics;
  statistics.factor = &factor;
  EncodeScratch scratch;
  const auto plain = Encode(TensorType::kQ4_K, x, kColumns);
  std::vector<std::byte> out(plain.size());
  FindEncoder(TensorType::kQ4_K, Effort::kFast)
      ->Encode(kRows, kColumns, x.data(), statistics, out.data(), scratch);
  EXPECT_EQ(out, plain);
}

TEST(Feedback, AFactorOfAnotherWidthIsNone) {
  const std::vector<float> x = Weights(kRows, kColumns);
  for (const size_t columns : {size_t{32}, kColumns / 2, 2 * kColumns}) {
    const InputFactor factor = FactorOf(columns, CorrelatedGram(columns, 60, 9), 60);
    InputStatistics statistics;
    std::vector<std::byte> with(kRows * *RowBytes(TensorType::kQ4_K, kColumns)), without = with;
    EncodeScratch scratch;
    const Encoder* const encoder = FindEncoder(TensorType::kQ4_K, Effort::kBest);
    encoder->Encode(kRows, kColumns, x.data(), statistics, without.data(), scratch);
    statistics.factor = &factor;
    encoder->Encode(kRows, kColumns, x.data(), statistics, with.data(), scratch);
    EXPECT_EQ(with, without) << columns;
  }
}

}  // namespace
}  // namespace smelt
