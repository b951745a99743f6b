// Archives and the vendors' own layouts, in place and converted: logits, perplexity and greedy text
// as transformers recorded them for the same weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/json.h"
#include "lib/model/open.h"
#include "smelt/convert.h"
#include "tests/testing/golden.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Ids;
using testing::Values;

/// Folder of testdata/models, which has all of them; mistral's recorded results are shared ones.
class ArchiveGolden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    folder_ = testing::TestdataPath(std::string("models/") + GetParam());
    recorded_ = testing::GoldenFolder(folder_);
    if (!std::filesystem::exists(recorded_ + "/golden.json")) {
      SMELT_REQUIRE_SHARED();
      recorded_ =
          testing::GoldenFolder(testing::SharedPath(std::string("fixtures/models/") + GetParam()));
    }
    auto golden = ParseJsonValue(testing::ReadFile(recorded_ + "/golden.json"), "golden.json");
    SMELT_ASSERT_OK(golden);
    golden_ = *std::move(golden);
  }

  void ExpectAsRecorded(const std::string& path) {
    SCOPED_TRACE(path);
    const auto opened = OpenModel(path);
    SMELT_ASSERT_OK(opened);
    ExpectLogits(*opened->source);
    ExpectPerplexity(*opened->source);
    ExpectGreedy(*opened->source);
  }

  void ExpectLogits(const ModelSource& model) {
    const auto recorded = OpenSafetensors(recorded_ + "/golden_logits.safetensors");
    SMELT_ASSERT_OK(recorded);
    const auto tokens = Values<int64_t>(*recorded->Find("tokens"));
    const auto expected = Values<float>(*recorded->Find("logits"));
    const size_t width = recorded->Find("logits")->shape[1];
    ASSERT_EQ(expected.size(), tokens.size() * width);
    double worst = 0;
    const auto compare = [&](uint64_t position, std::span<const float> row) {
      EXPECT_EQ(row.size(), width);
      for (size_t i = 0; i < width; ++i) {
        const double difference = std::fabs(row[i] - expected[position * width + i]);
        worst = std::max(worst, std::isnan(difference) ? 1e9 : difference);
      }
      return absl::OkStatus();
    };
    SMELT_ASSERT_OK(ComputeLogits(model, std::vector<int32_t>(tokens.begin(), tokens.end()),
                                  Activations::kF32, compare, {}));
    EXPECT_LT(worst, 2e-3);
  }

  void ExpectPerplexity(const ModelSource& model) {
    ScoreOptions options;
    options.context = static_cast<uint64_t>(*golden_.Find("context")->as_int());
    options.add_bos = *golden_.Find("add_bos")->as_bool();
    if (options.add_bos) {
      options.bos = static_cast<int32_t>(*golden_.Find("bos_token_id")->as_int());
    }
    const auto score = Score(model, nullptr, {Ids(*golden_.Find("tokens"))}, options, {});
    SMELT_ASSERT_OK(score);
    EXPECT_EQ(static_cast<int64_t>(score->tokens_scored), *golden_.Find("n_scored")->as_int());
    const double expected = *golden_.Find("perplexity")->as_double();
    EXPECT_NEAR(score->perplexity, expected, 5e-4 * expected);
  }

  void ExpectGreedy(const ModelSource& model) {
    const JsonValue& greedy = *golden_.Find("greedy");
    std::vector<int32_t> ids = Ids(*greedy.Find("prompt")), made;
    const std::vector<int32_t> expected = Ids(*greedy.Find("continuation"));
    const auto session = Session::Create(model, Activations::kF32, ids.size() + expected.size());
    SMELT_ASSERT_OK(session);
    std::vector<float> logits;
    while (made.size() < expected.size()) {
      SMELT_ASSERT_OK((*session)->Feed(ids, logits));
      const auto best = std::max_element(logits.begin(), logits.end());
      ids = {static_cast<int32_t>(best - logits.begin())};
      made.push_back(ids[0]);
    }
    EXPECT_EQ(made, expected);
  }

  std::string folder_, recorded_;
  JsonValue golden_;
};

TEST_P(ArchiveGolden, InPlace) { ExpectAsRecorded(folder_); }

TEST_P(ArchiveGolden, Converted) {
  const testing::TempDir dir;
  ConvertOptions options;
  options.source = folder_;
  options.output = dir / "model.gguf";
  options.type = "f32";
  options.validate = Validate::kOff;
  SMELT_ASSERT_OK(Convert(options));
  ExpectAsRecorded(options.output);
}

INSTANTIATE_TEST_SUITE_P(Layouts, ArchiveGolden,
                         ::testing::Values("llama-pt", "llama-pt-legacy", "llama-pth", "llama-meta",
                                           "llama-meta3", "mistral-consolidated"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace smelt
