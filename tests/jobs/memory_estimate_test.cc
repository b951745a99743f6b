#include "lib/jobs/memory_estimate.h"

#include <string>

#include "lib/jobs/gate.h"
#include "tests/jobs/fake_source.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::FakeSource;

constexpr uint64_t kBound = 300u << 20;

/// DeepSeek-V3's shape: 61 blocks, 256 experts of 2048 in all but the first three.
void Fill671B(FakeSource& source) {
  source.Add("token_embd.weight", {7168, 129280});
  source.Add("output.weight", {7168, 129280});
  for (int layer = 0; layer < 61; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    source.Add(block + "attn_q_a.weight", {7168, 1536});
    source.Add(block + "attn_q_b.weight", {1536, 24576});
    source.Add(block + "attn_kv_a_mqa.weight", {7168, 576});
    source.Add(block + "attn_k_b.weight", {128, 512, 128});
    source.Add(block + "attn_v_b.weight", {512, 128, 128});
    source.Add(block + "attn_output.weight", {16384, 7168});
    if (layer < 3) {
      source.Add(block + "ffn_up.weight", {7168, 18432});
      source.Add(block + "ffn_down.weight", {18432, 7168});
    } else {
      source.Add(block + "ffn_gate_exps.weight", {7168, 2048, 256});
      source.Add(block + "ffn_up_exps.weight", {7168, 2048, 256});
      source.Add(block + "ffn_down_exps.weight", {2048, 7168, 256});
    }
  }
}

TEST(EstimateMemory, ASparseModelOf671BStaysWithinTheBound) {
  FakeSource source;
  Fill671B(source);
  for (const char* type : {"q4_k_m", "bf16"}) {
    const auto plan = MakePlan(source, {.type = type});
    SMELT_ASSERT_OK(plan);
    ASSERT_GT(plan->parameters, 600'000'000'000u);
    for (const int threads : {1, 2, 64}) {
      EXPECT_LT(EstimateMemory(*plan, threads, {}), kBound) << type << ", " << threads;
      EXPECT_LT(EstimateMemory(*plan, threads, {.validate = Validate::kOff}), kBound);
    }
  }
}

TEST(EstimateMemory, FollowsWhatTheCheckHolds) {
  FakeSource source;
  source.Add("blk.0.ffn_down.weight", {18432, 1 << 20});
  const auto plan = MakePlan(source, {.type = "f16"});
  SMELT_ASSERT_OK(plan);
  const uint64_t quick = EstimateMemory(*plan, 2, {});
  // A position's activations are at least one row of the widest matrix for each of two models.
  EXPECT_GT(quick, QuickPositions(*plan) * 2 * 18432 * sizeof(float));
  EXPECT_LT(EstimateMemory(*plan, 2, {.validate = Validate::kOff}), quick);
  // The full check takes longer chunks, and several texts are several chunks.
  EXPECT_GT(EstimateMemory(*plan, 2, {.validate = Validate::kFull}), quick);
  EXPECT_GT(EstimateMemory(*plan, 2, {.text_files = {"a", "b"}}), quick);
  EXPECT_GT(EstimateMemory(*plan, 64, {}), quick) << "each worker has its own";
}

TEST(EstimateMemory, CountsTheHeader) {
  FakeSource source;
  source.Add("a.weight", {256, 16});
  const auto small = MakePlan(source, {.type = "f16"});
  source.metadata_.Set("tokenizer.chat_template", std::string(8 << 20, 'x'));
  const auto large = MakePlan(source, {.type = "f16"});
  SMELT_ASSERT_OK(small);
  SMELT_ASSERT_OK(large);
  EXPECT_GE(EstimateMemory(*large, 2, {}), EstimateMemory(*small, 2, {}) + (8u << 20));
}

}  // namespace
}  // namespace smelt
