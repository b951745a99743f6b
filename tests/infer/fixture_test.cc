// The engine on trained models whose perplexity, logits and greedy text transformers recorded,
// straight from their published directories. Values are data: each model's golden.json.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/safetensors.h"
#include "infer/sampler.h"
#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/json.h"
#include "lib/model/open.h"
#include "tests/testing/golden.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Ids;

class Fixture : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    SMELT_REQUIRE_SHARED();
    directory_ = testing::SharedPath(std::string("fixtures/models/") + GetParam());
    recorded_ = testing::GoldenFolder(directory_);
    absl::StatusOr<JsonValue> golden =
        ParseJsonValue(testing::ReadFile(recorded_ + "/golden.json"), "golden.json");
    SMELT_ASSERT_OK(golden);
    golden_ = *std::move(golden);
    absl::StatusOr<OpenedModel> opened = OpenModel(directory_, {.vocabulary = false, .pre = {}});
    SMELT_ASSERT_OK(opened);
    model_ = *std::move(opened);
  }

  void ExpectPerplexity(const JsonValue& expected, Activations activations, double tolerance) {
    ScoreOptions options;
    options.context = static_cast<uint64_t>(expected.Find("context")->as_int().value());
    options.activations = activations;
    const JsonValue* add_bos = golden_.Find("add_bos");
    options.add_bos = add_bos != nullptr && *add_bos->as_bool();
    if (options.add_bos)
      options.bos = static_cast<int32_t>(golden_.Find("bos_token_id")->as_int().value());
    const absl::StatusOr<ScoreResult> result =
        Score(*model_.source, nullptr, {Ids(*golden_.Find("tokens"))}, options, {});
    SMELT_ASSERT_OK(result);
    EXPECT_EQ(static_cast<int64_t>(result->chunks), expected.Find("chunks")->as_int().value());
    EXPECT_EQ(static_cast<int64_t>(result->tokens_scored),
              expected.Find("n_scored")->as_int().value());
    const double perplexity = expected.Find("perplexity")->as_double().value();
    EXPECT_NEAR(result->perplexity, perplexity, tolerance * perplexity);
    const double error = expected.Find("perplexity_error")->as_double().value();
    EXPECT_NEAR(result->perplexity_error, error, 10 * tolerance * error);
    EXPECT_TRUE(result->finite);
  }

  // Logits of the file's last rows against ours.
  void ExpectLogits(const std::string& file) {
    absl::StatusOr<Container> golden = OpenSafetensors(recorded_ + "/" + file);
    SMELT_ASSERT_OK(golden);
    std::vector<int64_t> tokens;
    std::vector<float> expected;
    Read(*golden->Find("tokens"), tokens);
    Read(*golden->Find("logits"), expected);
    const size_t vocabulary = golden->Find("logits")->shape[1];
    const size_t first_row = tokens.size() - expected.size() / vocabulary;
    double worst = 0;
    SMELT_ASSERT_OK(ComputeLogits(
        *model_.source, std::vector<int32_t>(tokens.begin(), tokens.end()), Activations::kF32,
        [&](uint64_t position, std::span<const float> row) {
          if (position < first_row) return absl::OkStatus();
          EXPECT_GE(row.size(), vocabulary);
          for (size_t i = 0; i < vocabulary; ++i) {
            const double difference =
                std::fabs(row[i] - expected[(position - first_row) * vocabulary + i]);
            worst = std::max(worst, std::isnan(difference) ? 1e9 : difference);
          }
          return absl::OkStatus();
        },
        {}));
    EXPECT_LT(worst, 2e-3);
    RecordProperty("worst_logit_difference", std::to_string(worst));
  }

  template <typename T>
  static void Read(const RawTensor& tensor, std::vector<T>& out) {
    out.resize(tensor.elements());
    SMELT_ASSERT_OK(tensor.storage->ReadAt(tensor.offset, std::as_writable_bytes(std::span(out))));
  }

  void ExpectGreedy(const JsonValue& greedy) {
    absl::StatusOr<std::unique_ptr<Session>> session =
        Session::Create(*model_.source, Activations::kF32, 1024);
    SMELT_ASSERT_OK(session);
    Sampler sampler({.temperature = 0});
    std::vector<int32_t> next = Ids(*greedy.Find("prompt")), continuation;
    const std::vector<int32_t> expected = Ids(*greedy.Find("continuation"));
    std::vector<float> logits;
    while (continuation.size() < expected.size()) {
      SMELT_ASSERT_OK((*session)->Feed(next, logits));
      next = {sampler.Next(logits, {})};
      continuation.push_back(next[0]);
    }
    EXPECT_EQ(continuation, expected);
  }

  std::string directory_, recorded_;  // the model, what was recorded of it
  JsonValue golden_;
  OpenedModel model_;
};

TEST_P(Fixture, PerplexityEqualsTransformers) {
  ExpectPerplexity(golden_, Activations::kF32, 5e-4);
  if (const JsonValue* more = golden_.Find("more_contexts"); more != nullptr && more->is_array()) {
    for (const JsonValue& m : *more->as_array()) ExpectPerplexity(m, Activations::kF32, 5e-4);
  } else if (more != nullptr && more->is_object()) {
    for (const auto& [key, m] : *more->as_object()) ExpectPerplexity(m, Activations::kF32, 5e-4);
  }
}

TEST_P(Fixture, LogitsEqualTransformers) {
  ExpectLogits("golden_logits.safetensors");
  if (std::string_view(GetParam()) == "phi3") ExpectLogits("golden_logits_long.safetensors");
}

TEST_P(Fixture, GreedyTextEqualsTransformers) {
  ExpectGreedy(*golden_.Find("greedy"));
  if (const JsonValue* more = golden_.Find("greedy_long"); more != nullptr) ExpectGreedy(*more);
}

INSTANTIATE_TEST_SUITE_P(Models, Fixture,
                         ::testing::Values("llama", "llama-spm", "mistral", "mixtral", "qwen2",
                                           "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2",
                                           "gemma3", "phi3", "gpt2", "gptneox", "starcoder2",
                                           "olmo2", "mamba", "mamba2", "codestral-mamba",
                                           "codestral-mamba-hf", "jamba"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace smelt
