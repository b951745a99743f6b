// Which positions are scored, and how models of different vocabularies are compared.
#include "infer/score.h"

#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "tests/infer/random_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;
using testing::ReferenceLogits;
using Ids = std::vector<int32_t>;

double LogSum(const std::vector<double>& logits, size_t count) {
  double sum = 0;
  for (size_t j = 0; j < count; ++j) sum += std::exp(logits[j]);
  return std::log(sum);
}

/// nll of the ids from `first_scored` on, from plain logits of one sequence.
std::vector<double> Losses(const RandomModel& m, const Ids& ids, size_t first_scored) {
  const auto logits = ReferenceLogits(m.spec, *m.source, ids);
  std::vector<double> nll;
  for (size_t i = first_scored; i < ids.size(); ++i) {
    const std::vector<double>& row = logits[i - 1];
    nll.push_back(LogSum(row, row.size()) - row[static_cast<size_t>(ids[i])]);
  }
  return nll;
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

Ids First(const Ids& ids, size_t count) {
  return {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count)};
}

TEST(Chunks, CompleteOnesOrASingleOne) {
  const ScoreOptions options{.context = 64};
  const auto expect = [&](uint64_t ids, uint64_t count, uint64_t context, uint64_t first) {
    const Chunks c = ChunksOf(ids, options);
    EXPECT_EQ(c.count, count) << ids;
    EXPECT_EQ(c.context, context) << ids;
    EXPECT_EQ(c.first_scored, first) << ids;
  };
  expect(0, 0, 0, 0);
  expect(1, 0, 0, 0);
  expect(2, 1, 2, 1);
  expect(3, 1, 3, 2);
  expect(4, 1, 4, 3);
  expect(63, 1, 63, 32);
  expect(64, 1, 64, 33);
  expect(127, 1, 64, 33);
  expect(128, 2, 64, 33);
  expect(200, 3, 64, 33);
  EXPECT_EQ(ChunksOf(200, {.context = 64, .chunks = 2}).count, 2u);
}

TEST(Score, AShortTextIsOneChunk) {
  const RandomModel m = MakeRandomModel("gqa");
  const ScoreOptions options{.context = 64};
  const Ids ids = RandomIds(21, 100, m.spec.vocabulary);
  for (const auto& [count, first] : {std::pair<size_t, size_t>{2, 1}, {3, 2}, {50, 26}, {64, 33}}) {
    const auto result = Score(m.specified(), nullptr, {First(ids, count)}, options, {});
    SMELT_ASSERT_OK(result);
    const std::vector<double> nll = Losses(m, First(ids, count), first);
    EXPECT_EQ(result->tokens_scored, nll.size()) << count;
    EXPECT_NEAR(result->mean_nll, Mean(nll), 1e-5) << count;
    EXPECT_EQ(result->texts[0].context, count);
  }
  const auto longer = Score(m.specified(), nullptr, {ids}, options, {});
  SMELT_ASSERT_OK(longer);
  EXPECT_NEAR(longer->mean_nll, Mean(Losses(m, First(ids, 64), 33)), 1e-5);
}

// Recurrent states, windows and positions begin anew with each text, whatever shares a batch.
TEST(Score, SeveralTextsAreScoredEachByItself) {
  for (const char* name : {"window", "hybrid", "no_rope", "experts"}) {
    const RandomModel m = MakeRandomModel(name);
    ScoreOptions options{.context = 40};
    std::vector<Ids> texts;
    for (const size_t count : {90, 3, 40, 0, 33, 1, 120})
      texts.push_back(RandomIds(30 + count, count, m.spec.vocabulary));
    for (const uint64_t batch : {uint64_t{1}, uint64_t{80}, uint64_t{1000}}) {
      options.batch_tokens = batch;
      const auto all = Score(m.specified(), nullptr, texts, options, {});
      SMELT_ASSERT_OK(all);
      ASSERT_EQ(all->texts.size(), texts.size());
      double sum = 0;
      uint64_t chunks = 0, scored = 0;
      for (size_t t = 0; t < texts.size(); ++t) {
        const TextScore& text = all->texts[t];
        if (texts[t].size() < 2) {
          EXPECT_EQ(text.tokens_scored, 0u);
          continue;
        }
        const auto alone = Score(m.specified(), nullptr, {texts[t]}, options, {});
        SMELT_ASSERT_OK(alone);
        EXPECT_NEAR(text.mean_nll, alone->mean_nll, 1e-5) << name << " " << t;
        EXPECT_EQ(text.tokens_scored, alone->tokens_scored);
        EXPECT_EQ(text.chunks, alone->chunks);
        sum += alone->mean_nll * static_cast<double>(alone->tokens_scored);
        chunks += alone->chunks;
        scored += alone->tokens_scored;
      }
      EXPECT_EQ(all->chunks, chunks);
      EXPECT_EQ(all->tokens_scored, scored);
      EXPECT_NEAR(all->mean_nll, sum / static_cast<double>(scored), 1e-5) << name;
    }
  }
}

TEST(Score, NothingToPredictIsRefused) {
  const RandomModel m = MakeRandomModel("gqa");
  EXPECT_FALSE(Score(m.specified(), nullptr, {}, {}, {}).ok());
  EXPECT_FALSE(Score(m.specified(), nullptr, {{5}, {}}, {}, {}).ok());
}

// A head with more rows: perplexities are over each model's own, divergences over the common ones.
TEST(Score, ComparesModelsWhoseHeadsDifferInRows) {
  const RandomModel small = MakeRandomModel("biases");
  RandomModel large = MakeRandomModel("window");
  large.spec.output = {.weight = large.source->Add({large.spec.width, 190}, 2)};
  const ScoreOptions options{.context = 64};
  const Ids ids = RandomIds(41, 64, small.spec.vocabulary);
  const auto q = ReferenceLogits(small.spec, *small.source, ids);
  const auto p = ReferenceLogits(large.spec, *large.source, ids);
  const SpecifiedModel a = small.specified(), b = large.specified();
  for (const bool swap : {false, true}) {
    const auto result = Score(swap ? b : a, swap ? &a : &b, {ids}, options, {});
    SMELT_ASSERT_OK(result);
    const auto& from = swap ? q : p;
    const auto& to = swap ? p : q;
    std::vector<double> kl;
    double same = 0;
    for (size_t i = 32; i + 1 < ids.size(); ++i) {
      const double from_sum = LogSum(from[i], 131), to_sum = LogSum(to[i], 131);
      double value = 0;
      for (size_t j = 0; j < 131; ++j)
        value += std::exp(from[i][j] - from_sum) * (from[i][j] - from_sum - to[i][j] + to_sum);
      kl.push_back(value);
      same += std::max_element(from[i].begin(), from[i].begin() + 131) - from[i].begin() ==
              std::max_element(to[i].begin(), to[i].begin() + 131) - to[i].begin();
    }
    EXPECT_NEAR(result->reference->kl_mean, Mean(kl), 1e-4 * Mean(kl));
    EXPECT_NEAR(result->reference->top1_agreement, same / static_cast<double>(kl.size()), 1e-12);
    const double small_nll = Mean(Losses(small, ids, 33)), large_nll = Mean(Losses(large, ids, 33));
    EXPECT_NEAR(result->mean_nll, swap ? large_nll : small_nll, 1e-5);
    EXPECT_NEAR(result->reference->mean_nll, swap ? small_nll : large_nll, 1e-5);
  }
}

}  // namespace
}  // namespace smelt
