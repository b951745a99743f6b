// Families beyond the recorded fixtures: layouts that no fixture has, and rotations.
#include <gtest/gtest.h>

#include <cmath>

#include "lib/base/cat.h"
#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "lib/model/rope.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Counting;
using testing::kLlamaConfig;
using testing::LlamaTensors;
using testing::ReadTensor;

TEST(GptOssTest, FusedExpertsAreTurnedAndSplitByParity) {
  const uint64_t experts = 3, width = 8, ffn = 5;
  testing::FolderTensors t = LlamaTensors(2, true);
  std::erase_if(t,
                [](const auto& entry) { return entry.first.find(".mlp.") != std::string::npos; });
  for (int i = 0; i < 2; ++i) {
    const std::string p = Cat("model.layers.", i, ".");
    for (const char* name : {"q", "k", "v", "o"})
      t[Cat(p, "self_attn.", name, "_proj.bias")] = Counting({8}, 7);
    t[p + "self_attn.sinks"] = Counting({2}, 1);
    t[p + "mlp.router.weight"] = Counting({experts, width}, 1);
    t[p + "mlp.router.bias"] = Counting({experts}, 1);
    t[p + "mlp.experts.gate_up_proj"] = Counting({experts, width, 2 * ffn}, 1000);
    t[p + "mlp.experts.gate_up_proj_bias"] = Counting({experts, 2 * ffn}, 2000);
    t[p + "mlp.experts.down_proj"] = Counting({experts, ffn, width}, 3000);
    t[p + "mlp.experts.down_proj_bias"] = Counting({experts, width}, 4000);
  }
  const std::string config = Cat(
      R"({"architectures":["GptOssForCausalLM"],"head_dim":4,"num_local_experts":3,"num_experts_per_tok":2,)",
      R"("sliding_window":16,"rope_theta":150000,"rope_scaling":{"rope_type":"yarn","factor":8.0,)",
      R"("original_max_position_embeddings":64,"truncate":false},)",
      std::string(kLlamaConfig)
          .replace(std::string(kLlamaConfig).find("\"intermediate_size\":6"), 21,
                   "\"intermediate_size\":5"),
      "}");
  const testing::TempDir dir;
  std::string too_many = config;
  too_many.replace(too_many.find("per_tok\":2"), 10, "per_tok\":4");
  testing::WriteFolder(dir.path(), too_many, t);
  const auto refused = testing::OpenFolder(dir.path());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.status().message()).find("num_experts_per_tok is 4"),
            std::string::npos)
      << refused.status();
  testing::WriteFolder(dir.path(), config, t);
  auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  const ModelSource& source = *opened->source;
  const std::vector<float>& fused = t["model.layers.1.mlp.experts.gate_up_proj"].values;
  const std::vector<float>& fused_bias = t["model.layers.1.mlp.experts.gate_up_proj_bias"].values;
  const std::vector<float>& down = t["model.layers.1.mlp.experts.down_proj"].values;
  std::vector<float> gate, up, gate_bias, up_bias, down_turned;
  for (uint64_t e = 0; e < experts; ++e) {
    for (uint64_t f = 0; f < ffn; ++f) {
      for (uint64_t c = 0; c < width; ++c) {
        gate.push_back(fused[(e * width + c) * 2 * ffn + 2 * f]);
        up.push_back(fused[(e * width + c) * 2 * ffn + 2 * f + 1]);
      }
      gate_bias.push_back(fused_bias[e * 2 * ffn + 2 * f]);
      up_bias.push_back(fused_bias[e * 2 * ffn + 2 * f + 1]);
    }
    for (uint64_t r = 0; r < width; ++r) {
      for (uint64_t f = 0; f < ffn; ++f) down_turned.push_back(down[(e * ffn + f) * width + r]);
    }
  }
  EXPECT_EQ(ReadTensor(source, "blk.1.ffn_gate_exps.weight"), gate);
  EXPECT_EQ(ReadTensor(source, "blk.1.ffn_up_exps.weight"), up);
  EXPECT_EQ(ReadTensor(source, "blk.1.ffn_gate_exps.bias"), gate_bias);
  EXPECT_EQ(ReadTensor(source, "blk.1.ffn_up_exps.bias"), up_bias);
  EXPECT_EQ(ReadTensor(source, "blk.1.ffn_down_exps.weight"), down_turned);
  auto spec = ReadModelSpec(source);
  SMELT_ASSERT_OK(spec);
  const auto& first = std::get<Attention>(spec->layers[0].mixer);
  const auto& second = std::get<Attention>(spec->layers[1].mixer);
  EXPECT_EQ(first.window, 16u);
  EXPECT_EQ(second.window, 0u);
  EXPECT_NE(first.sinks, kNoTensor);
  const auto& ffn_part = std::get<Experts>(spec->layers[0].ffn);
  EXPECT_TRUE(ffn_part.clamped);
  EXPECT_EQ(ffn_part.gating, Experts::Gating::kSoftmaxOfTopK);
  EXPECT_NEAR(first.rope.magnitude, 0.1 * std::log(8.0) + 1, 1e-6);
}

TEST(RopeTest, YarnAsTransformersComputesIt) {
  RopeParameters p;
  p.dims = 16;
  p.base = 150000;
  p.scaling = RopeScaling::kYarn;
  p.factor = 8;
  p.original_context = 64;
  const std::vector<double> rounded = {1,
                                       0.1267976251141,
                                       0.006351659351933,
                                       0.001431778349083,
                                       0.000322748612184,
                                       7.275334672676e-05,
                                       1.639991392721e-05,
                                       3.696835800971e-06};
  const std::vector<double> exact = {1,
                                     0.09881383155926,
                                     0.006351659351933,
                                     0.001431778349083,
                                     0.000322748612184,
                                     7.275334672676e-05,
                                     1.639991392721e-05,
                                     3.696835800971e-06};
  for (bool truncate : {true, false}) {
    p.truncate = truncate;
    const Rope rope = MakeRope(p);
    ASSERT_EQ(rope.frequency.size(), 8u);
    for (size_t i = 0; i < 8; ++i) {
      const double want = truncate ? rounded[i] : exact[i];
      EXPECT_NEAR(rope.frequency[i], want, want * 1e-10) << truncate << " " << i;
    }
  }
}

// transformers 5.24's _compute_dynamic_ntk_parameters: dim 16, theta 10000, factor 2, trained
// on 64.
TEST(RopeTest, DynamicStretchesBeyondTheTrainedContextOnly) {
  RopeParameters p;
  p.dims = 16;
  p.dynamic_factor = 2;
  p.dynamic_from = 64;
  const Rope rope = MakeRope(p);
  EXPECT_EQ(rope.FrequencyAt(64), rope.frequency);
  const double base = 10000 * std::pow(2 * 96.0 / 64 - 1, 16.0 / 14);
  const std::vector<double> longer = rope.FrequencyAt(96);
  ASSERT_EQ(longer.size(), 8u);
  for (size_t j = 0; j < 8; ++j) EXPECT_NEAR(longer[j], std::pow(base, -2.0 * j / 16), 1e-12);
  EXPECT_FALSE(rope.ChangesBetween(10, 64));
  EXPECT_TRUE(rope.ChangesBetween(64, 65));
  EXPECT_TRUE(rope.ChangesBetween(65, 66));
}

}  // namespace
}  // namespace smelt
