// Every family's logits, perplexity and greedy continuation from the published directory, against
// transformers (golden.json).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "infer/score.h"
#include "infer/session.h"
#include "lib/model/open.h"
#include "smelt/convert.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/model/golden_model.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Ids;

class FamiliesGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = testing::ModelPath(GetParam());
    if (folder_.empty()) SMELT_REQUIRE_SHARED();
    OpenOptions options;
    options.vocabulary = false;
    auto opened = OpenModel(folder_, options);
    SMELT_ASSERT_OK(opened);
    source_ = std::move(opened->source);
    ASSERT_TRUE(recorded_.Find(folder_));
  }

  /// Logits of every position of one sequence, computed at once.
  std::vector<std::vector<float>> AllLogits(const std::vector<int32_t>& ids) {
    std::vector<std::vector<float>> rows;
    SMELT_EXPECT_OK(ComputeLogits(
        *source_, ids, Precision::kF32,
        [&](uint64_t, std::span<const float> row) {
          rows.emplace_back(row.begin(), row.end());
          return absl::OkStatus();
        },
        Observer()));
    return rows;
  }

  static double Difference(const std::vector<float>& a, const std::vector<float>& b) {
    double worst = a.size() == b.size() ? 0 : 1e9;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    return worst;
  }

  std::string folder_;
  std::unique_ptr<ModelSource> source_;
  testing::GoldenModel recorded_;
};

TEST_P(FamiliesGolden, Logits) { recorded_.ExpectLogits(*source_); }
TEST_P(FamiliesGolden, Perplexity) { recorded_.ExpectPerplexities(*source_); }
TEST_P(FamiliesGolden, Greedy) { recorded_.ExpectGreedyTexts(*source_); }

TEST_P(FamiliesGolden, ConvertedToF32) {
  const testing::TempDir dir;
  const ConvertOptions options = testing::UncheckedConversion(folder_, dir / "f32.gguf", "f32");
  SMELT_ASSERT_OK(Convert(options));
  const auto opened = OpenModel(options.output, OpenOptions());
  SMELT_ASSERT_OK(opened);
  recorded_.ExpectLogits(*opened->source);
  recorded_.ExpectPerplexities(*opened->source);
  recorded_.ExpectGreedyTexts(*opened->source);
}

// 256 tokens one by one, against the whole sequence at once: the cache holds what it should, also
// beyond a window. Phi-3's rotation depends on the length: positions up to 256 are compared with a
// sequence of 256.
TEST_P(FamiliesGolden, GeneratingEqualsRecomputing) {
  constexpr size_t kTokens = 256;
  std::vector<int32_t> ids = Ids(*recorded_.golden().Find("greedy")->Find("prompt"));
  const size_t prompt = ids.size();
  auto session = Session::Create(*source_, Precision::kF32);
  SMELT_ASSERT_OK(session);
  std::vector<std::vector<float>> made(1);
  SMELT_ASSERT_OK((*session)->Feed(ids, made[0]));
  while (ids.size() < prompt + kTokens) {
    // Every third token is not the likeliest: greedy text of small models goes in circles.
    const std::vector<float>& last = made.back();
    std::vector<int32_t> order(last.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    std::partial_sort(order.begin(), order.begin() + 3, order.end(),
                      [&](int32_t a, int32_t b) { return last[a] > last[b]; });
    const int32_t next = order[ids.size() % 3 == 0 ? 2 : 0];
    ids.push_back(next);
    std::vector<float> logits;
    SMELT_ASSERT_OK((*session)->Feed({&next, 1}, logits));
    made.push_back(std::move(logits));
  }
  const auto all = AllLogits(ids);
  const auto first = AllLogits({ids.begin(), ids.begin() + kTokens});
  double worst = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    const size_t position = prompt - 1 + i;
    worst =
        std::max(worst, Difference(made[i], position < kTokens ? first[position] : all[position]));
  }
  EXPECT_LE(worst, 5e-4);
}

// A prompt fed in two parts, cut at every position.
TEST_P(FamiliesGolden, BatchBoundaryAtEveryPosition) {
  std::vector<int32_t> ids = recorded_.tokens();
  ids.resize(48);
  const auto whole = AllLogits(ids);
  for (size_t cut = 1; cut < ids.size(); ++cut) {
    auto session = Session::Create(*source_, Precision::kF32);
    SMELT_ASSERT_OK(session);
    std::vector<float> logits;
    const std::span<const int32_t> all(ids);
    SMELT_ASSERT_OK((*session)->Feed(all.first(cut), logits));
    EXPECT_LE(Difference(logits, whole[cut - 1]), 5e-4) << cut;
    SMELT_ASSERT_OK((*session)->Feed(all.subspan(cut), logits));
    EXPECT_LE(Difference(logits, whole.back()), 5e-4) << cut;
  }
}

INSTANTIATE_TEST_SUITE_P(Attention, FamiliesGolden, ::testing::ValuesIn(testing::kAttentionModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Of2026, FamiliesGolden, ::testing::ValuesIn(testing::kModelsOf2026),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Hybrid, FamiliesGolden, ::testing::ValuesIn(testing::kHybridModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Quantized, FamiliesGolden, ::testing::ValuesIn(testing::kQuantizedModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Recorded, FamiliesGolden, ::testing::ValuesIn(testing::kRecordedModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(StateSpace, FamiliesGolden,
                         ::testing::ValuesIn(testing::kStateSpaceModels), testing::TestName);

}  // namespace
}  // namespace smelt
