// The engine against a forward pass written as plainly as the definitions, for every feature a
// layer can have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/status.h"
#include "quant/simd.h"
#include "tests/infer/random_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;
using testing::RandomModelNames;
using testing::ReferenceLogits;

using Logits = std::vector<std::vector<double>>;

Logits EngineLogits(const RandomModel& m, const std::vector<int32_t>& ids,
                    Precision precision = Precision::kF32) {
  Logits logits;
  SMELT_EXPECT_OK(ComputeLogits(m.specified(), ids, precision,
                                [&](uint64_t position, std::span<const float> row) {
                                  EXPECT_EQ(position, logits.size());
                                  logits.emplace_back(row.begin(), row.end());
                                  return absl::OkStatus();
                                },
                                {}));
  return logits;
}

// Largest difference relative to the spread of the logits.
double Difference(const Logits& a, const Logits& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0, square = 0, count = 0;
  for (size_t t = 0; t < std::min(a.size(), b.size()); ++t) {
    EXPECT_EQ(a[t].size(), b[t].size());
    for (size_t i = 0; i < a[t].size(); ++i) {
      worst = std::max(worst, std::isfinite(a[t][i]) ? std::fabs(a[t][i] - b[t][i]) : 1e9);
      square += b[t][i] * b[t][i], ++count;
    }
  }
  return worst / std::sqrt(square / count);
}

class Engine : public ::testing::TestWithParam<std::string> {};

TEST_P(Engine, LogitsEqualThePlainForwardPass) {
  const RandomModel m = MakeRandomModel(GetParam());
  const std::vector<int32_t> ids = RandomIds(1, 101, m.spec.vocabulary);
  EXPECT_LT(Difference(EngineLogits(m, ids), ReferenceLogits(m.spec, *m.source, ids)), 1e-4);
}

TEST_P(Engine, WeightsThatCannotBeMappedGiveTheSame) {
  const RandomModel m = MakeRandomModel(GetParam(), TensorType::kF32, false);
  const std::vector<int32_t> ids = RandomIds(1, 70, m.spec.vocabulary);
  EXPECT_LT(Difference(EngineLogits(m, ids), ReferenceLogits(m.spec, *m.source, ids)), 1e-4);
}

// NVFP4's blocks are multiplied with a number of each matrix, in prompts as in generation.
TEST_P(Engine, BlocksThatAreMultipliedGiveTheirProducts) {
  const RandomModel m = MakeRandomModel(GetParam(), TensorType::kNVFP4);
  const std::vector<int32_t> ids = RandomIds(1, 70, m.spec.vocabulary);
  const Logits reference = ReferenceLogits(m.spec, *m.source, ids);
  EXPECT_LT(Difference(EngineLogits(m, ids), reference), 1e-4);
  const auto few = std::span(ids).first(2);
  if (m.name == "longrope") return;  // factors depend on the length
  EXPECT_LT(Difference(EngineLogits(m, {few.begin(), few.end()}), {reference[0], reference[1]}),
            1e-4);
}

TEST_P(Engine, GenerationEqualsRecomputationAtEveryBoundary) {
  const RandomModel m = MakeRandomModel(GetParam());
  const std::vector<int32_t> ids = RandomIds(2, 50, m.spec.vocabulary);
  const Logits whole = ReferenceLogits(m.spec, *m.source, ids);
  // Every shorter sequence gives the same rows, unless factors depend on the length.
  const auto expected = [&](size_t length) {
    if (m.name != "longrope") return whole[length - 1];
    return ReferenceLogits(m.spec, *m.source, {ids.begin(), ids.begin() + length}).back();
  };
  std::vector<float> logits;
  for (size_t boundary = 1; boundary < ids.size(); ++boundary) {
    absl::StatusOr<std::unique_ptr<Session>> session =
        Session::Create(m.specified(), Precision::kF32);
    SMELT_ASSERT_OK(session);
    SMELT_ASSERT_OK((*session)->Feed(std::span(ids).first(boundary), logits));
    // The rest in one batch, or token by token.
    const size_t step = boundary % 3 == 0 ? ids.size() : boundary % 3;
    for (size_t at = boundary; at < ids.size(); at += step) {
      const auto part = std::span(ids).subspan(at, std::min(step, ids.size() - at));
      SMELT_ASSERT_OK((*session)->Feed(part, logits));
      const size_t length = at + part.size();
      EXPECT_LT(Difference({{logits.begin(), logits.end()}}, {expected(length)}), 1e-4)
          << "boundary " << boundary << ", length " << length;
      if (HasFailure()) return;
    }
  }
}

TEST_P(Engine, StateCanBeCopiedAndRestored) {
  const RandomModel m = MakeRandomModel(GetParam());
  const std::vector<int32_t> ids = RandomIds(3, 50, m.spec.vocabulary);
  absl::StatusOr<std::unique_ptr<Session>> session =
      Session::Create(m.specified(), Precision::kF32);
  SMELT_ASSERT_OK(session);
  std::vector<float> logits, first, second;
  SMELT_ASSERT_OK((*session)->Feed(std::span(ids).first(37), logits));
  const std::unique_ptr<SessionState> state = (*session)->Save();
  EXPECT_EQ(state->positions(), 37u);
  SMELT_ASSERT_OK((*session)->Feed(std::span(ids).subspan(37), first));
  SMELT_ASSERT_OK((*session)->Restore(*state));
  for (size_t i = 37; i < ids.size(); ++i)
    SMELT_ASSERT_OK((*session)->Feed(std::span(ids).subspan(i, 1), logits));
  SMELT_ASSERT_OK((*session)->Restore(*state));
  SMELT_ASSERT_OK((*session)->Feed(std::span(ids).subspan(37), second));
  EXPECT_EQ(first, second);
}

// How far logits may be from those of rounded keys and values: the engine's differ in the last bits
// of f32, and those between two f16 may become the other one, which is seen where all are moved.
double HalfTolerance(const RandomModel& m, const std::vector<int32_t>& ids, const Logits& rounded) {
  double moved = 0;
  for (const double nudge : {1e-6, -1e-6}) {
    const Logits other = ReferenceLogits(m.spec, *m.source, ids, CacheType::kF16, nudge);
    moved = std::max(moved, Difference({other.back()}, {rounded.back()}));
  }
  return 1e-4 + 2 * moved;
}

// Prompts, generation, and a state that was copied.
TEST_P(Engine, ACacheInF16IsThePlainForwardPassWithRoundedKeysAndValues) {
  const RandomModel m = MakeRandomModel(GetParam());
  const std::vector<int32_t> ids = RandomIds(2, 50, m.spec.vocabulary);
  // Factors depend on the length.
  const bool whole_only = m.name == "longrope";
  const Logits rounded = ReferenceLogits(m.spec, *m.source, ids, CacheType::kF16);
  const double tolerance = HalfTolerance(m, ids, rounded);
  const auto open = [&] {
    return Session::Create(m.specified(), Precision::kF32, {.cache_type = "f16"});
  };
  for (const size_t prompt : {size_t{1}, size_t{40}, ids.size()}) {
    if (whole_only && prompt < ids.size()) continue;
    const auto session = open(), other = open();
    SMELT_ASSERT_OK(session);
    SMELT_ASSERT_OK(other);
    std::vector<float> logits;
    SMELT_ASSERT_OK((*session)->Feed(std::span(ids).first(prompt), logits));
    SMELT_ASSERT_OK((*other)->Restore(*(*session)->Save()));
    for (Session* of : {session->get(), other->get()}) {
      for (size_t at = prompt; at < ids.size(); ++at)
        SMELT_ASSERT_OK(of->Feed(std::span(ids).subspan(at, 1), logits));
      EXPECT_LT(Difference({{logits.begin(), logits.end()}}, {rounded.back()}), tolerance)
          << prompt;
    }
  }
}

TEST(EngineCache, F16ChangesTheLogitsAndHalvesWhatATokenReads) {
  for (const char* name : {"gqa", "latent_attention", "shared_keys"}) {
    const RandomModel m = MakeRandomModel(name);
    const std::vector<int32_t> ids = RandomIds(2, 50, m.spec.vocabulary);
    const Logits rounded = ReferenceLogits(m.spec, *m.source, ids, CacheType::kF16),
                 exact = ReferenceLogits(m.spec, *m.source, ids);
    EXPECT_GT(Difference({rounded.back()}, {exact.back()}), HalfTolerance(m, ids, rounded)) << name;
    const auto full = Session::Create(m.specified(), Precision::kF32),
               half = Session::Create(m.specified(), Precision::kF32, {.cache_type = "f16"});
    SMELT_ASSERT_OK(full);
    SMELT_ASSERT_OK(half);
    const auto cache = [](const Session& session) {
      return session.token_cost().Bytes(100) - session.token_cost().Bytes(0);
    };
    EXPECT_EQ(cache(**full), 2 * cache(**half)) << name;
  }
}

// A model evaluated with f16 beside itself: the reference keeps f32, so that the loss shows.
TEST(EngineCache, EvaluationShowsWhatF16Costs) {
  const RandomModel m = MakeRandomModel("gqa");
  const std::vector<int32_t> ids = RandomIds(5, 64, m.spec.vocabulary);
  ScoreOptions options;
  options.context = 64;
  options.device.cache_type = "f16";
  const SpecifiedModel s = m.specified();
  const absl::StatusOr<ScoreResult> result = Score(s, &s, {ids}, options, {});
  SMELT_ASSERT_OK(result);
  const Logits q = ReferenceLogits(m.spec, *m.source, ids, CacheType::kF16),
               p = ReferenceLogits(m.spec, *m.source, ids);
  double mean = 0;
  for (size_t i = 32; i < 63; ++i) {
    double sum_p = 0, sum_q = 0, kl = 0;
    for (double v : p[i]) sum_p += std::exp(v);
    for (double v : q[i]) sum_q += std::exp(v);
    for (size_t j = 0; j < p[i].size(); ++j)
      kl += std::exp(p[i][j]) / sum_p * (p[i][j] - std::log(sum_p) - q[i][j] + std::log(sum_q));
    mean += kl / 31;
  }
  EXPECT_GT(mean, 0);
  EXPECT_NEAR(result->reference->kl_mean, mean, 0.1 * mean);
}

TEST(EngineCache, KeysThatF16DoesNotHoldAreAnError) {
  RandomModel m = MakeRandomModel("biases");
  const Attention& a = std::get<Attention>(m.spec.layers[1].mixer);
  m.source->Set(a.k.bias, 3, 7e4f);
  const auto session = Session::Create(m.specified(), Precision::kF32, {.cache_type = "f16"});
  SMELT_ASSERT_OK(session);
  std::vector<float> logits;
  const absl::Status fed = (*session)->Feed(std::vector<int32_t>{1, 2}, logits);
  EXPECT_EQ(CodeOf(fed), ErrorCode::kUnsupported);
  EXPECT_THAT(std::string(fed.message()), ::testing::HasSubstr("--cache-type f16"));
  const auto full = Session::Create(m.specified(), Precision::kF32);
  SMELT_ASSERT_OK(full);
  SMELT_EXPECT_OK((*full)->Feed(std::vector<int32_t>{1, 2}, logits));
}

// nll of the protocol, from plain logits.
std::vector<double> ReferenceLosses(const RandomModel& m, const std::vector<int32_t>& ids,
                                    uint64_t context) {
  std::vector<double> nll;
  for (size_t c = 0; c + context <= ids.size(); c += context) {
    const std::vector<int32_t> chunk(ids.begin() + c, ids.begin() + c + context);
    const Logits logits = ReferenceLogits(m.spec, *m.source, chunk);
    for (size_t i = context / 2; i + 1 < context; ++i) {
      double sum = 0;
      for (double v : logits[i]) sum += std::exp(v);
      nll.push_back(std::log(sum) - logits[i][chunk[i + 1]]);
    }
  }
  return nll;
}

TEST_P(Engine, PerplexityEqualsThePlainForwardPass) {
  const RandomModel m = MakeRandomModel(GetParam());
  for (uint64_t context : {50u, 64u}) {
    const std::vector<int32_t> ids = RandomIds(4, 3 * context + 7, m.spec.vocabulary);
    ScoreOptions options;
    options.context = context;
    options.batch_tokens = 2 * context;  // two batches, the second one shorter
    const absl::StatusOr<ScoreResult> result = Score(m.specified(), nullptr, {ids}, options, {});
    SMELT_ASSERT_OK(result);
    const std::vector<double> nll =
        ReferenceLosses(m, {ids.begin(), ids.begin() + 3 * context}, context);
    double sum = 0, squares = 0;
    for (double v : nll) sum += v, squares += v * v;
    const double n = static_cast<double>(nll.size()), mean = sum / n;
    EXPECT_EQ(result->chunks, 3u);
    EXPECT_EQ(result->tokens_scored, nll.size());
    EXPECT_NEAR(result->mean_nll, mean, 1e-5);
    EXPECT_NEAR(result->perplexity, std::exp(mean), 1e-4 * std::exp(mean));
    EXPECT_NEAR(result->perplexity_error,
                std::exp(mean) * std::sqrt((squares / n - mean * mean) / (n - 1)),
                1e-3 * result->perplexity_error);
    EXPECT_TRUE(result->finite);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Engine, ::testing::ValuesIn(RandomModelNames()),
                         [](const auto& param) { return param.param; });

TEST(EngineTargets, EverySimdTargetGivesTheSameLogits) {
  for (const std::string& target : SimdTargets()) {
    SMELT_ASSERT_OK(ForceSimdTarget(target));
    for (const char* name :
         {"gqa", "softcap", "parallel_layernorm", "experts_clamped", "mamba1", "mamba2"}) {
      const RandomModel m = MakeRandomModel(name);
      const std::vector<int32_t> ids = RandomIds(1, 70, m.spec.vocabulary);
      EXPECT_LT(Difference(EngineLogits(m, ids), ReferenceLogits(m.spec, *m.source, ids)), 1e-4)
          << target << " " << name;
    }
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
}

TEST(Score, ComparesWithAReference) {
  const RandomModel a = MakeRandomModel("window"), b = MakeRandomModel("biases");
  const uint64_t context = 64;
  const std::vector<int32_t> ids = RandomIds(5, 2 * context, a.spec.vocabulary);
  ScoreOptions options;
  options.context = context;
  const SpecifiedModel sa = a.specified(), sb = b.specified();
  const absl::StatusOr<ScoreResult> result = Score(sa, &sb, {ids}, options, {});
  SMELT_ASSERT_OK(result);
  ASSERT_TRUE(result->reference.has_value());
  std::vector<double> kl, difference;
  double same = 0;
  for (size_t c = 0; c < 2; ++c) {
    const std::vector<int32_t> chunk(ids.begin() + c * context, ids.begin() + (c + 1) * context);
    const Logits q = ReferenceLogits(a.spec, *a.source, chunk),
                 p = ReferenceLogits(b.spec, *b.source, chunk);
    for (size_t i = context / 2; i + 1 < context; ++i) {
      double sum_p = 0, sum_q = 0, value = 0;
      for (double v : p[i]) sum_p += std::exp(v);
      for (double v : q[i]) sum_q += std::exp(v);
      for (size_t j = 0; j < p[i].size(); ++j)
        value +=
            std::exp(p[i][j]) / sum_p * (p[i][j] - std::log(sum_p) - q[i][j] + std::log(sum_q));
      kl.push_back(value);
      same += std::max_element(p[i].begin(), p[i].end()) - p[i].begin() ==
              std::max_element(q[i].begin(), q[i].end()) - q[i].begin();
      difference.push_back(std::log(sum_q) - q[i][chunk[i + 1]] - std::log(sum_p) +
                           p[i][chunk[i + 1]]);
    }
  }
  double mean = 0, ratio = 0, square = 0;
  const double n = static_cast<double>(kl.size());
  for (double v : kl) mean += v / n;
  for (double v : difference) ratio += v / n, square += v * v / n;
  std::sort(kl.begin(), kl.end());
  const ScoreResult::Reference& r = *result->reference;
  EXPECT_NEAR(r.kl_mean, mean, 1e-4 * mean);
  EXPECT_NEAR(r.kl_max, kl.back(), 1e-4 * kl.back());
  EXPECT_NEAR(r.kl_median, (kl[(kl.size() - 1) / 2] + kl[kl.size() / 2]) / 2, 1e-4 * mean);
  const double at = 0.99 * (n - 1);
  const size_t low = static_cast<size_t>(at);
  EXPECT_NEAR(r.kl_p99, kl[low] + (at - static_cast<double>(low)) * (kl[low + 1] - kl[low]),
              1e-4 * kl.back());
  EXPECT_NEAR(r.top1_agreement, same / n, 1e-12);
  EXPECT_NEAR(r.ln_ratio, ratio, 1e-4);
  EXPECT_NEAR(r.ln_ratio_error, std::sqrt((square - ratio * ratio) / (n - 1)), 1e-5);
  EXPECT_NEAR(r.ln_ratio, result->mean_nll - r.mean_nll, 1e-12);
}

TEST(Score, AModelAgainstItselfDiffersInNothing) {
  const RandomModel m = MakeRandomModel("softcap");
  const std::vector<int32_t> ids = RandomIds(6, 256, m.spec.vocabulary);
  ScoreOptions options;
  options.context = 64;
  const SpecifiedModel s = m.specified();
  const absl::StatusOr<ScoreResult> result = Score(s, &s, {ids}, options, {});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->reference->kl_max, 0);
  EXPECT_EQ(result->reference->top1_agreement, 1);
  EXPECT_EQ(result->reference->ln_ratio, 0);
}

TEST(Score, ReplacesTheFirstTokenByBos) {
  const RandomModel m = MakeRandomModel("gqa");
  std::vector<int32_t> ids = RandomIds(7, 128, m.spec.vocabulary);
  ScoreOptions options;
  options.context = 64;
  options.add_bos = true;
  options.bos = 5;
  const absl::StatusOr<ScoreResult> replaced = Score(m.specified(), nullptr, {ids}, options, {});
  SMELT_ASSERT_OK(replaced);
  ids[0] = ids[64] = 5;
  options.add_bos = false;
  const absl::StatusOr<ScoreResult> given = Score(m.specified(), nullptr, {ids}, options, {});
  SMELT_ASSERT_OK(given);
  EXPECT_EQ(replaced->mean_nll, given->mean_nll);
}

TEST(Score, RefusesWhatItCannotScore) {
  const RandomModel m = MakeRandomModel("gqa");
  ScoreOptions options;
  options.context = 64;
  std::vector<int32_t> ids = RandomIds(8, 128, 131);
  ids[77] = 131;
  EXPECT_FALSE(Score(m.specified(), nullptr, {ids}, options, {}).ok());
  ids[77] = -1;
  EXPECT_FALSE(Score(m.specified(), nullptr, {ids}, options, {}).ok());
  ids[77] = 1;
  Observer observer;
  observer.cancelled = [] { return true; };
  const absl::StatusOr<ScoreResult> cancelled =
      Score(m.specified(), nullptr, {ids}, options, observer);
  EXPECT_EQ(CodeOf(cancelled.status()), ErrorCode::kCancelled);
}

}  // namespace
}  // namespace smelt
