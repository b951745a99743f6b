// Speeds, and what a token reads.
#include "smelt/bench.h"

#include <gtest/gtest.h>

#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "quant/interleaved.h"
#include "smelt/convert.h"
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
    ASSERT_TRUE(row.read_bandwidth && row.bandwidth_share);
    EXPECT_GT(*row.read_bandwidth, 1e8);
    for (const auto& speed : {row.prompt, row.generation}) {
      ASSERT_TRUE(speed.has_value());
      EXPECT_GT(speed->low, 0);
      EXPECT_LE(speed->low, speed->median);
      EXPECT_LE(speed->median, speed->high);
    }
    EXPECT_DOUBLE_EQ(
        *row.bandwidth_share,
        row.generation->median * static_cast<double>(row.bytes_per_token) / *row.read_bandwidth);
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
