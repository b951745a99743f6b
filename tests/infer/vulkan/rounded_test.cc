// Activations rounded to 8 bits on a device are the processor's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/cat.h"
#include "quant/codec.h"
#include "quant/encoder.h"
#include "tests/infer/random_models.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::kVulkan;
using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;
using testing::RelativeDifference;

constexpr uint32_t kRows = 70, kColumns = 256;

/// The product of a matrix with so many tokens, in the first features of each.
std::vector<float> Product(Backend& backend, const testing::MemoryModel& model, TensorRef tensor,
                           uint32_t tokens, Precision precision) {
  constexpr Slot kProduct = kInputs + 1;
  Graph graph;
  graph.slots = {{kColumns, 0}, {0, 0}, {kRows, 0}};
  graph.scratch_features = kRows;
  auto weight = backend.LoadWeight(model, tensor, WeightUse::kStream);
  SMELT_EXPECT_OK(weight);
  MatMulOp product{.in = kStream, .out = kProduct};
  product.matrix = {
      .weight = *std::move(weight), .rows = kRows, .columns = kColumns, .tensor = tensor};
  graph.ops.push_back(std::move(product));
  graph.ops.push_back(CopyOp{
      .in = kProduct, .out = kStream, .in_stride = kRows, .out_stride = kColumns, .count = kRows});
  const auto program = backend.Compile(std::move(graph), precision);
  SMELT_EXPECT_OK(program);
  const Sequence sequence{.tokens = tokens};
  const auto batch = backend.NewBatch({&sequence, 1}, tokens);
  SMELT_EXPECT_OK(batch);
  const auto x = backend.NewBuffer(**batch, kColumns);
  SMELT_EXPECT_OK(x);
  std::mt19937 random(tokens);
  std::normal_distribution<float> normal;
  std::vector<float> values(tokens * kColumns), rows;
  for (float& v : values) v = normal(random);
  SMELT_EXPECT_OK(backend.Write(**batch, 0, values, **x));
  const auto state = backend.NewState(1);
  SMELT_EXPECT_OK(backend.Run(**program, **batch, *state, **x));
  SMELT_EXPECT_OK(backend.Read(**batch, 0, **x, values));
  for (uint32_t t = 0; t < tokens; ++t)
    rows.insert(rows.end(), &values[t * kColumns], &values[t * kColumns] + kRows);
  return rows;
}

// Of one input, of some and of many, whose workgroups are not full.
TEST(VulkanRounded, ProductsAreTheProcessorsOfRoundedInputs) {
  SMELT_REQUIRE_VULKAN();
  const auto device = OpenBackend(kVulkan);
  SMELT_ASSERT_OK(device);
  const std::unique_ptr<Backend> processor = NewCpuBackend();
  testing::MemoryModel model(5);
  for (const TensorType type : DecodeTypes()) {
    if (FindCodec(type)->unpack_group() == 0 || !CanEncode(type)) continue;
    const TensorRef tensor = model.Add({kColumns, kRows}, 0.1, 0, type);
    for (const uint32_t tokens : {1, 3, 35}) {
      if (tokens == 3 && type != TensorType::kQ4_K) continue;
      SCOPED_TRACE(Cat(Info(type).name, ", ", tokens));
      const auto rounded = Product(**device, model, tensor, tokens, Precision::kQ8);
      const auto expected = Product(*processor, model, tensor, tokens, Precision::kQ8);
      const auto exact = Product(*processor, model, tensor, tokens, Precision::kF32);
      EXPECT_LT(RelativeDifference(rounded, expected), 1e-5);
      EXPECT_GT(RelativeDifference(rounded, exact), 1e-4) << "nothing was rounded";
      EXPECT_EQ(Product(**device, model, tensor, tokens, Precision::kQ8), rounded);
    }
  }
}

TEST(VulkanRounded, AnInputThatIsNoNumberMakesNoNumbers) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel m = MakeRandomModel("gqa", TensorType::kQ8_0);
  const std::vector<int32_t> ids = RandomIds(2, 3, m.spec.vocabulary);
  m.source->Set(m.spec.embedding, static_cast<size_t>(ids[2]) * m.spec.width, INFINITY);
  auto session = Session::Create(m.specified(), Precision::kQ8, kVulkan);
  SMELT_ASSERT_OK(session);
  std::vector<float> logits;
  SMELT_ASSERT_OK((*session)->Feed(ids, logits));
  EXPECT_TRUE(std::ranges::all_of(logits, [](float v) { return std::isnan(v); }));
}

// A prompt, tokens alone and a few at once: parts of one dispatch, gates, chosen experts.
TEST(VulkanRounded, ModelsGiveTheProcessorsLogits) {
  SMELT_REQUIRE_VULKAN();
  for (const char* name :
       {"gqa", "biases", "experts_shared", "experts_clamped", "latent_attention", "mamba2"}) {
    SCOPED_TRACE(name);
    const RandomModel m = MakeRandomModel(name, TensorType::kQ8_0);
    const std::vector<int32_t> ids = RandomIds(2, 24, m.spec.vocabulary);
    const auto here = Session::Create(m.specified(), Precision::kQ8, {});
    const auto there = Session::Create(m.specified(), Precision::kQ8, kVulkan);
    const auto exact = Session::Create(m.specified(), Precision::kF32, {});
    SMELT_ASSERT_OK(here);
    SMELT_ASSERT_OK(there);
    SMELT_ASSERT_OK(exact);
    std::vector<float> expected, logits, unrounded;
    for (size_t at = 0, count = 19; at < ids.size(); at += count, count = at < 22 ? 1 : 2) {
      const auto some = std::span(ids).subspan(at, count);
      SMELT_ASSERT_OK((*here)->Feed(some, expected));
      SMELT_ASSERT_OK((*there)->Feed(some, logits));
      SMELT_ASSERT_OK((*exact)->Feed(some, unrounded));
      EXPECT_LT(RelativeDifference(logits, expected), 2e-3) << at;
    }
    EXPECT_GT(RelativeDifference(logits, unrounded), 1e-4) << "nothing was rounded";
  }
}

TEST(VulkanRounded, LossesAreTheProcessors) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel m = MakeRandomModel("gqa", TensorType::kQ8_0);
  const SpecifiedModel reference = m.specified();
  const std::vector<int32_t> ids = RandomIds(7, 2 * 48, m.spec.vocabulary);
  ScoreOptions options{.context = 48, .precision = Precision::kQ8};
  const auto expected = Score(m.specified(), &reference, {ids}, options, {});
  options.device = kVulkan;
  const auto score = Score(m.specified(), &reference, {ids}, options, {});
  options.precision = Precision::kF32;
  const auto exact = Score(m.specified(), &reference, {ids}, options, {});
  SMELT_ASSERT_OK(expected);
  SMELT_ASSERT_OK(score);
  SMELT_ASSERT_OK(exact);
  EXPECT_NEAR(score->mean_nll, expected->mean_nll, 2e-4);
  EXPECT_NE(score->mean_nll, exact->mean_nll);
  EXPECT_EQ(score->reference->kl_max, 0);
}

}  // namespace
}  // namespace smelt
