// Every family's logits, perplexity and greedy continuation from the published directory, against
// transformers (golden.json).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "formats/safetensors.h"
#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/json.h"
#include "lib/model/open.h"
#include "smelt/convert.h"
#include "tests/model/expected_gguf.h"
#include "tests/testing/golden.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

constexpr double kLogitTolerance = 2e-3;

using testing::Ids;
using testing::Values;

class FamiliesGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = testing::ModelPath(GetParam());
    if (folder_.empty()) SMELT_REQUIRE_SHARED();
    OpenOptions options;
    options.vocabulary = false;
    auto opened = OpenModel(folder_, options);
    SMELT_ASSERT_OK(opened);
    model_ = *std::move(opened);
    recorded_ = testing::GoldenFolder(folder_);
    auto golden = ParseJsonValue(testing::ReadFile(recorded_ + "/golden.json"), "golden.json");
    SMELT_ASSERT_OK(golden);
    golden_ = *std::move(golden);
  }

  void CompareLogits(const std::string& file, int64_t first_row) {
    auto recorded = OpenSafetensors(recorded_ + "/" + file);
    SMELT_ASSERT_OK(recorded);
    const std::vector<int64_t> tokens = Values<int64_t>(*recorded->Find("tokens"));
    const RawTensor& logits = *recorded->Find("logits");
    const std::vector<float> expected = Values<float>(logits);
    const uint64_t width = logits.shape[1];
    const std::vector<int32_t> ids(tokens.begin(), tokens.end());
    double worst = 0;
    uint64_t rows = 0;
    SMELT_ASSERT_OK(ComputeLogits(
        *model_.source, ids, Activations::kF32,
        [&](uint64_t position, std::span<const float> row) {
          if (static_cast<int64_t>(position) < first_row) return absl::OkStatus();
          const float* want = expected.data() + (position - first_row) * width;
          EXPECT_EQ(row.size(), width);
          for (uint64_t i = 0; i < width; ++i)
            worst = std::max(worst, std::abs(static_cast<double>(row[i]) - want[i]));
          ++rows;
          return absl::OkStatus();
        },
        Observer()));
    EXPECT_EQ(rows, logits.shape[0]);
    EXPECT_LE(worst, kLogitTolerance);
    std::printf("%s %s: largest logit difference %.2g\n", GetParam().c_str(), file.c_str(), worst);
  }

  void ComparePerplexity(const JsonValue& protocol) {
    ScoreOptions options;
    options.context = static_cast<uint64_t>(*protocol.Find("context")->as_int());
    options.add_bos = *golden_.Find("add_bos")->as_bool();
    if (options.add_bos)
      options.bos = static_cast<int32_t>(*golden_.Find("bos_token_id")->as_int());
    const auto score =
        Score(*model_.source, nullptr, {Ids(*golden_.Find("tokens"))}, options, Observer());
    SMELT_ASSERT_OK(score);
    const double expected = *protocol.Find("perplexity")->as_double();
    EXPECT_NEAR(score->perplexity, expected, expected * 5e-4);
    EXPECT_EQ(static_cast<int64_t>(score->tokens_scored), *protocol.Find("n_scored")->as_int());
    std::printf("%s perplexity %.6f, transformers %.6f\n", GetParam().c_str(), score->perplexity,
                expected);
  }

  void CompareGreedy(const JsonValue& greedy) {
    std::vector<int32_t> ids = Ids(*greedy.Find("prompt"));
    const std::vector<int32_t> expected = Ids(*greedy.Find("continuation"));
    auto session = Session::Create(*model_.source, Activations::kF32, ids.size() + expected.size());
    SMELT_ASSERT_OK(session);
    std::vector<float> logits;
    std::vector<int32_t> made;
    for (size_t i = 0; i < expected.size(); ++i) {
      SMELT_ASSERT_OK((*session)->Feed(ids, logits));
      const int32_t next =
          static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      made.push_back(next);
      ids = {next};
    }
    EXPECT_EQ(made, expected);
  }

  void ComparePerplexities() {
    ComparePerplexity(golden_);
    const JsonValue* more = golden_.Find("more_contexts");
    if (more == nullptr) return;
    if (more->is_array()) {
      for (const JsonValue& protocol : *more->as_array()) ComparePerplexity(protocol);
    } else {
      for (const auto& [context, protocol] : *more->as_object()) ComparePerplexity(protocol);
    }
  }

  void CompareAllLogits() {
    CompareLogits("golden_logits.safetensors", 0);
    if (std::filesystem::exists(recorded_ + "/golden_logits_long.safetensors"))
      CompareLogits("golden_logits_long.safetensors", 240);
  }

  void CompareAllGreedy() {
    CompareGreedy(*golden_.Find("greedy"));
    if (const JsonValue* more = golden_.Find("greedy_long")) CompareGreedy(*more);
  }

  /// Logits of every position of one sequence, computed at once.
  std::vector<std::vector<float>> AllLogits(const std::vector<int32_t>& ids) {
    std::vector<std::vector<float>> rows;
    SMELT_EXPECT_OK(ComputeLogits(
        *model_.source, ids, Activations::kF32,
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

  std::string folder_, recorded_;
  OpenedModel model_;
  JsonValue golden_;
};

TEST_P(FamiliesGolden, Logits) { CompareAllLogits(); }
TEST_P(FamiliesGolden, Perplexity) { ComparePerplexities(); }
TEST_P(FamiliesGolden, Greedy) { CompareAllGreedy(); }

TEST_P(FamiliesGolden, ConvertedToF32) {
  const testing::TempDir dir;
  ConvertOptions options;
  options.source = folder_;
  options.output = dir / "f32.gguf";
  options.type = "f32";
  options.validate = Validate::kOff;
  SMELT_ASSERT_OK(Convert(options));
  auto opened = OpenModel(options.output, OpenOptions());
  SMELT_ASSERT_OK(opened);
  model_ = *std::move(opened);
  CompareAllLogits();
  ComparePerplexities();
  CompareAllGreedy();
}

// 256 tokens one by one, against the whole sequence at once: the cache holds what it should, also
// beyond a window. Phi-3's rotation depends on the length: positions up to 256 are compared with a
// sequence of 256.
TEST_P(FamiliesGolden, GeneratingEqualsRecomputing) {
  constexpr size_t kTokens = 256;
  std::vector<int32_t> ids = Ids(*golden_.Find("greedy")->Find("prompt"));
  const size_t prompt = ids.size();
  auto session = Session::Create(*model_.source, Activations::kF32, prompt + kTokens);
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
  std::vector<int32_t> ids = Ids(*golden_.Find("tokens"));
  ids.resize(48);
  const auto whole = AllLogits(ids);
  for (size_t cut = 1; cut < ids.size(); ++cut) {
    auto session = Session::Create(*model_.source, Activations::kF32, ids.size());
    SMELT_ASSERT_OK(session);
    std::vector<float> logits;
    const std::span<const int32_t> all(ids);
    SMELT_ASSERT_OK((*session)->Feed(all.first(cut), logits));
    EXPECT_LE(Difference(logits, whole[cut - 1]), 5e-4) << cut;
    SMELT_ASSERT_OK((*session)->Feed(all.subspan(cut), logits));
    EXPECT_LE(Difference(logits, whole.back()), 5e-4) << cut;
  }
}

std::string NameOf(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Attention, FamiliesGolden,
                         ::testing::Values("llama", "llama-spm", "mistral", "mixtral", "qwen2",
                                           "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2",
                                           "gemma3", "phi3", "gpt2", "gptneox", "starcoder2",
                                           "olmo2"),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(StateSpace, FamiliesGolden,
                         ::testing::Values("mamba", "mamba2", "codestral-mamba",
                                           "codestral-mamba-hf", "jamba"),
                         NameOf);

}  // namespace
}  // namespace smelt
