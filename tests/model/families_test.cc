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

/// A Qwen3-VL-MoE of Llama's sizes with experts of `ffn`, fused as published (inputs before
/// outputs) or as transformers saves them (`upright`).
testing::FolderTensors Qwen3VlMoe(uint64_t experts, uint64_t ffn, bool upright) {
  testing::FolderTensors t = LlamaTensors(2, true);
  std::erase_if(t,
                [](const auto& entry) { return entry.first.find(".mlp.") != std::string::npos; });
  for (int i = 0; i < 2; ++i) {
    const std::string p = Cat("model.layers.", i, ".");
    t[p + "self_attn.q_norm.weight"] = t[p + "self_attn.k_norm.weight"] = Counting({4}, 1);
    t[p + "mlp.gate.weight"] = Counting({experts, 8}, 1);
    const uint64_t up[] = {8, 2 * ffn}, down[] = {ffn, 8};
    t[p + "mlp.experts.gate_up_proj"] = Counting({experts, up[upright], up[!upright]}, 1000);
    t[p + "mlp.experts.down_proj"] = Counting({experts, down[upright], down[!upright]}, 3000);
  }
  return t;
}

// Sizes tell which way they lie, also where one of the two tensors is square.
TEST(Qwen3VlMoeTest, FusedExpertsLieAsPublishedOrAsTransformersSavesThem) {
  const uint64_t experts = 3, width = 8;
  for (const uint64_t ffn : {4u, 5u, 8u}) {
    for (const bool upright : {false, true}) {
      SCOPED_TRACE(Cat(ffn, upright ? " as saved" : " as published"));
      testing::FolderTensors t = Qwen3VlMoe(experts, ffn, upright);
      const testing::TempDir dir;
      testing::WriteFolder(
          dir.path(),
          Cat(R"({"architectures":["Qwen3VLMoeForConditionalGeneration"],"text_config":{)",
              R"("head_dim":4,"num_experts":3,"num_experts_per_tok":2,"moe_intermediate_size":)",
              ffn,
              R"(,"decoder_sparse_step":1,"rope_theta":10000,"rope_scaling":{"mrope_section":[1,1,0]},)",
              kLlamaConfig, R"(},"tie_word_embeddings":false})"),
          t);
      const auto opened = testing::OpenFolder(dir.path());
      SMELT_ASSERT_OK(opened);
      const std::vector<float>& fused = t["model.layers.1.mlp.experts.gate_up_proj"].values;
      const std::vector<float>& down = t["model.layers.1.mlp.experts.down_proj"].values;
      std::vector<float> gate, up, downs;
      for (uint64_t e = 0; e < experts; ++e) {
        const auto at = [&](uint64_t out, uint64_t in, uint64_t outs, uint64_t ins) {
          return e * outs * ins + (upright ? out * ins + in : in * outs + out);
        };
        for (uint64_t f = 0; f < ffn; ++f) {
          for (uint64_t c = 0; c < width; ++c) {
            gate.push_back(fused[at(f, c, 2 * ffn, width)]);
            up.push_back(fused[at(ffn + f, c, 2 * ffn, width)]);
          }
        }
        for (uint64_t r = 0; r < width; ++r) {
          for (uint64_t f = 0; f < ffn; ++f) downs.push_back(down[at(r, f, width, ffn)]);
        }
      }
      EXPECT_EQ(ReadTensor(*opened->source, "blk.1.ffn_gate_exps.weight"), gate);
      EXPECT_EQ(ReadTensor(*opened->source, "blk.1.ffn_up_exps.weight"), up);
      EXPECT_EQ(ReadTensor(*opened->source, "blk.1.ffn_down_exps.weight"), downs);
    }
  }
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
