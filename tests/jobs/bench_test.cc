// Speeds, and what a token reads.
#include "smelt/bench.h"

#include <gtest/gtest.h>

#include <cmath>

#include "infer/open_backend.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "quant/interleaved.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "smelt/generate.h"
#include "smelt/imatrix.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TempDir;
using testing::TestdataPath;

BenchOptions Short(const std::string& model) {
  BenchOptions options;
  options.model = TestdataPath("models/" + model);
  options.prompt = 12;
  options.generate = 4;
  options.repeats = 3;
  return options;
}

TEST(Bench, MeasuresEachContextWithEachNumberOfThreads) {
  BenchOptions options = Short("llama");
  options.contexts = {0, 20};
  options.threads = {1, 2};
  const int before = Threads();
  const auto result = Bench(options);
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(Threads(), before);
  ASSERT_EQ(result->rows.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const BenchRow& row = result->rows[i];
    EXPECT_EQ(row.threads, i < 2 ? 1 : 2);
    EXPECT_EQ(row.context, i % 2 == 0 ? 0u : 20u);
    EXPECT_GT(row.read_bandwidth, 1e8);
    for (const auto& speed : {row.prompt, row.generation}) {
      ASSERT_TRUE(speed.has_value());
      EXPECT_GT(speed->low, 0);
      EXPECT_LE(speed->low, speed->median);
      EXPECT_LE(speed->median, speed->high);
    }
    EXPECT_DOUBLE_EQ(
        row.bandwidth_share,
        row.generation->median * static_cast<double>(row.bytes_per_token) / row.read_bandwidth);
  }
}

// The head and two layers of q, k, v, output, gate, up and down in two bytes a weight; keys and
// values of two heads of 32 in four, of the two positions in the middle of the generation.
TEST(Bench, ATokenReadsEveryMatrixOnce) {
  const auto result = Bench(Short("llama"));
  SMELT_ASSERT_OK(result);
  constexpr uint64_t kLayer = 2 * (256 * 256 + 64 * 256) + 3 * 512 * 256;
  constexpr uint64_t kWeights = 2 * (606 * 256 + 2 * kLayer);
  EXPECT_EQ(result->rows[0].bytes_per_token, kWeights + 2 * (2 * 2 * 32 * 4) * 2);
  // Two of each weight; of each position eight heads of 32 keys and 32 values.
  EXPECT_EQ(result->rows[0].operations_per_token, kWeights + 2 * (2 * 8 * (32 + 32)) * 2);
  EXPECT_FALSE(result->rows[0].commands_per_token.has_value());
  ASSERT_FALSE(result->types.empty());
  EXPECT_EQ(result->types[0].first, "BF16");
}

// Two of four experts.
TEST(Bench, ATokenReadsTheChosenExperts) {
  const auto result = Bench(Short("qwen2moe"));
  SMELT_ASSERT_OK(result);
  constexpr uint64_t kExperts = 96 * 4 + 2 * 3 * 96 * 64, kShared = 3 * 96 * 128 + 96;
  constexpr uint64_t kLayer = 4 * 96 * 96 + kExperts + kShared;
  EXPECT_EQ(result->rows[0].bytes_per_token,
            2 * (512 * 96 + 2 * kLayer) + 2 * (4 * 2 * 24 * 4) * 2);
  EXPECT_EQ(result->rows[0].operations_per_token,
            2 * (512 * 96 + 2 * kLayer) + 2 * (2 * 4 * (24 + 24)) * 2);
}

// Norm; q, k and v; rotation; cache; attention; output; norm; gate with up; down: each must see
// the one before.
TEST(Bench, ADevicesCommandsAreCounted) {
  if (const DeviceList list = ListDevices(); list.devices.size() < 2)
    GTEST_SKIP() << "SKIPPED: there is no Vulkan device here: " << list.problem;
  BenchOptions options = Short("llama");
  options.device.device = "vulkan";
  const auto dense = Bench(options);
  SMELT_ASSERT_OK(dense);
  ASSERT_TRUE(dense->rows[0].commands_per_token.has_value());
  // And the final norm and the head.
  EXPECT_EQ(dense->rows[0].commands_per_token->dispatches, 2 * 9 + 2);
  EXPECT_GT(dense->rows[0].commands_per_token->barriers, 0);
  EXPECT_GE(dense->rows[0].commands_per_token->submits, 1);
  options.model = TestdataPath("models/qwen2moe");
  const auto experts = Bench(options);
  SMELT_ASSERT_OK(experts);
  // After the second norm: router, choice, gate with up, down, sum; the shared expert's gate with
  // up, down, its own gate's product, two to add it.
  EXPECT_EQ(experts->rows[0].commands_per_token->dispatches, 2 * (7 + 5 + 5) + 2);
}

// What decides bytes is the processor's; the rest is a card's, where there is one.
TEST(Devices, AFreeChoiceIsMadeWhereNoByteDependsOnIt) {
  EXPECT_EQ(ConvertOptions().device.device, "cpu");
  EXPECT_EQ(ImportanceOptions().device.device, "cpu");
  if (const DeviceList list = ListDevices(); list.devices.size() < 2)
    GTEST_SKIP() << "SKIPPED: there is no Vulkan device here: " << list.problem;
  TempDir dir;
  GenerateOptions generate;
  generate.model = TestdataPath("models/llama");
  generate.prompt_ids = {1, 2, 3};
  generate.use_prompt_ids = true;
  generate.max_tokens = 2;
  EvaluateOptions evaluate;
  evaluate.model = generate.model;
  evaluate.tokens_file = dir / "ids.json";
  testing::WriteFile(evaluate.tokens_file, "[1, 2, 3, 4]");
  evaluate.logits_out = dir / "logits.safetensors";
  for (const bool card : {false, true}) {
    DeviceTrials::software = card;
    const std::string expected = card ? "vulkan:0" : ListDevices().devices[1].software ? "cpu" : "";
    const auto speed = Bench(Short("llama"));
    const auto text = Generate(generate);
    const auto logits = Evaluate(evaluate);
    DeviceTrials::software = false;
    SMELT_ASSERT_OK(speed);
    SMELT_ASSERT_OK(text);
    SMELT_ASSERT_OK(logits);
    if (expected.empty()) continue;  // a card of this machine's
    EXPECT_EQ(speed->device, expected);
    EXPECT_EQ(text->device, expected);
    EXPECT_EQ(logits->device, expected);
  }
}

// A recorded model in block formats: a prompt, then a token, and what that takes besides the
// dispatches of f32: inputs are rounded before q, k and v, output, gate with up, down, and the
// head.
TEST(Devices, RoundedActivationsAreTheProcessors) {
  if (const DeviceList list = ListDevices(); list.devices.size() < 2)
    GTEST_SKIP() << "SKIPPED: there is no Vulkan device here: " << list.problem;
  TempDir dir;
  const std::vector<int32_t> prompt = {1, 17, 90, 3, 44, 45, 46, 200, 301, 77, 5, 8};
  for (const char* type : {"q8_0", "q4_0", "q4_k_m", "q6_k"}) {
    SCOPED_TRACE(type);
    const std::string file = dir / (std::string(type) + ".gguf");
    SMELT_ASSERT_OK(
        Convert(testing::UncheckedConversion(TestdataPath("models/llama"), file, type)));
    std::vector<std::vector<float>> logits;
    for (const char* device : {"cpu", "vulkan", "vulkan"}) {
      const auto generator =
          Generator::Open({.model = file, .q8_activations = true, .device = {.device = device}});
      SMELT_ASSERT_OK(generator);
      SMELT_ASSERT_OK((*generator)->Feed(prompt));
      std::vector<float> all = (*generator)->logits();
      SMELT_ASSERT_OK((*generator)->Feed(std::vector<int32_t>{9}));
      all.insert(all.end(), (*generator)->logits().begin(), (*generator)->logits().end());
      logits.push_back(std::move(all));
    }
    double largest = 0, worst = 0;
    for (size_t i = 0; i < logits[0].size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(logits[0][i])));
      worst = std::max(worst, std::abs(static_cast<double>(logits[0][i]) - logits[1][i]));
    }
    EXPECT_LT(worst, 2e-3 * largest);
    EXPECT_EQ(logits[2], logits[1]);
    BenchOptions options = Short("llama");
    options.model = file;
    options.device.device = "vulkan";
    options.q8_activations = true;
    const auto bench = Bench(options);
    SMELT_ASSERT_OK(bench);
    if (std::string_view(type) == "q8_0") {
      EXPECT_EQ(bench->rows[0].commands_per_token->dispatches, 2 * (9 + 4) + 2 + 1);
    }
  }
}

TEST(Bench, WhatIsNotAskedForIsNotMeasured) {
  BenchOptions options = Short("mamba2");
  options.prompt = 0;
  const auto result = Bench(options);
  SMELT_ASSERT_OK(result);
  EXPECT_FALSE(result->rows[0].prompt.has_value());
  EXPECT_TRUE(result->rows[0].generation.has_value());
  options.generate = 0;
  EXPECT_EQ(CodeOf(Bench(options).status()), ErrorCode::kUsage);
}

// All matrices but the embedding, where this machine has kernels for the type.
TEST(Bench, WeightsAreRepackedUnlessToldNotTo) {
  const TempDir directory;
  ConvertOptions convert;
  convert.source = TestdataPath("models/llama");
  convert.output = directory / "q8_0.gguf";
  convert.type = "q8_0";
  convert.validate = Validate::kOff;
  SMELT_ASSERT_OK(Convert(convert));
  BenchOptions options = Short("llama");
  options.model = convert.output;
  const auto repacked = Bench(options);
  SMELT_ASSERT_OK(repacked);
  EXPECT_EQ(repacked->repacked_bytes > 0, FindInterleaved(TensorType::kQ8_0) != nullptr);
  options.repack = false;
  const auto mapped = Bench(options);
  SMELT_ASSERT_OK(mapped);
  EXPECT_EQ(mapped->repacked_bytes, 0u);
  EXPECT_EQ(mapped->rows[0].bytes_per_token, repacked->rows[0].bytes_per_token);
}

TEST(Bench, ItCanBeStopped) {
  Observer observer;
  observer.cancelled = [] { return true; };
  EXPECT_EQ(CodeOf(Bench(Short("llama"), observer).status()), ErrorCode::kCancelled);
}

}  // namespace
}  // namespace smelt
