// Adapters merged into their base, against what peft's merge_and_unload gives (testdata/lora), and
// such as cannot be merged.
#include "lib/model/lora.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "lib/base/status.h"
#include "lib/model/open.h"
#include "tests/model/golden_model.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using testing::Counting;
using testing::FolderTensors;
using testing::kLlamaConfig;
using testing::LlamaTensors;

std::string Adapter(std::string_view name) { return testing::TestdataPath(Cat("lora/", name)); }

class RecordedAdapters : public ::testing::TestWithParam<const char*> {};

TEST_P(RecordedAdapters, GiveWhatPeftMerges) {
  const std::string folder = Adapter(GetParam());
  testing::GoldenModel recorded;
  ASSERT_TRUE(recorded.Find(folder));
  OpenOptions options;
  options.vocabulary = false;
  // The adapter names its base; and the same the other way round.
  const auto by_adapter = OpenModel(folder, options);
  SMELT_ASSERT_OK(by_adapter);
  recorded.ExpectLogits(*by_adapter->source);
  recorded.ExpectPerplexities(*by_adapter->source);
  recorded.ExpectGreedyTexts(*by_adapter->source);
  options.adapters = {{folder, 1}};
  const auto by_base = OpenModel(testing::TestdataPath("models/llama"), options);
  SMELT_ASSERT_OK(by_base);
  recorded.ExpectLogits(*by_base->source);
  EXPECT_EQ(by_adapter->source->identity(), by_base->source->identity());
}

INSTANTIATE_TEST_SUITE_P(Peft, RecordedAdapters,
                         ::testing::Values("llama-qv", "llama-rslora", "llama-patterns",
                                           "llama-dora"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

/// A small base, and what an adapter makes of it.
class SmallAdapter : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = dir_.path() + "/base";
    adapter_ = dir_.path() + "/adapter";
    fs::create_directory(base_);
    fs::create_directory(adapter_);
    testing::WriteFolder(base_,
                         Cat("{\"architectures\":[\"LlamaForCausalLM\"],", kLlamaConfig, "}"),
                         LlamaTensors(2, true));
  }

  absl::StatusOr<OpenedModel> Open(const std::string& config, const FolderTensors& tensors,
                                   double strength = 1) {
    testing::WriteFolder(adapter_, config, tensors);
    fs::rename(adapter_ + "/config.json", adapter_ + "/adapter_config.json");
    fs::rename(adapter_ + "/model.safetensors", adapter_ + "/adapter_model.safetensors");
    OpenOptions options;
    options.vocabulary = false;
    options.adapters = {{adapter_, strength}};
    return OpenModel(base_, options);
  }

  testing::TempDir dir_;
  std::string base_, adapter_;
};

const char kV[] = "base_model.model.model.layers.0.self_attn.v_proj";

TEST_F(SmallAdapter, StrengthCounts) {
  OpenOptions options;
  options.vocabulary = false;
  const auto plain = OpenModel(base_, options);
  SMELT_ASSERT_OK(plain);
  const std::vector<float> base = testing::ReadTensor(*plain->source, "blk.0.attn_v.weight");
  const FolderTensors tensors = {{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)},
                                 {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)}};
  std::vector<std::vector<float>> merged;
  for (const double strength : {0.0, 1.0, 2.0}) {
    const auto opened = Open(R"({"peft_type":"LORA","lora_alpha":4,"r":2})", tensors, strength);
    SMELT_ASSERT_OK(opened);
    merged.push_back(testing::ReadTensor(*opened->source, "blk.0.attn_v.weight"));
  }
  EXPECT_EQ(merged[0], base);
  EXPECT_NE(merged[1], base);
  for (size_t i = 0; i < base.size(); ++i)
    EXPECT_EQ(merged[2][i] - base[i], 2 * (merged[1][i] - base[i]));
}

// PEFT matches patterns from the beginning of a module's name, without its own prefix.
TEST_F(SmallAdapter, PatternsAreMatchedAsPeftDoes) {
  const FolderTensors tensors = {{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)},
                                 {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)}};
  std::vector<std::vector<float>> merged;
  for (const char* config :
       {R"({"lora_alpha":4})", R"({"lora_alpha":8,"alpha_pattern":{"^model\\.layers\\.0\\..*":4}})",
        R"({"lora_alpha":4,"alpha_pattern":{"base_model.*":9,"k_proj":9}})"}) {
    const auto opened = Open(config, tensors);
    SMELT_ASSERT_OK(opened);
    merged.push_back(testing::ReadTensor(*opened->source, "blk.0.attn_v.weight"));
  }
  EXPECT_EQ(merged[0], merged[1]);
  EXPECT_EQ(merged[0], merged[2]);
}

TEST_F(SmallAdapter, WhatCannotBeMergedIsNamed) {
  const FolderTensors fits = {{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)},
                              {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)}};
  const struct {
    std::string config, says;
  } configs[] = {
      {R"({"peft_type":"IA3"})", "peft_type"},
      {R"({"peft_type":"LORA","use_qalora":true})", "use_qalora"},
      {R"({"peft_type":"LORA","init_lora_weights":"pissa_niter_4"})", "init_lora_weights"},
      {R"({"peft_type":"LORA","lora_alpha":1e300})", "no finite scale"},
      {R"({"peft_type":"LORA","lora_alpha":"32"})", "lora_alpha"},
      {R"({"peft_type":"LORA","use_dora":true})", "no lora_magnitude_vector"},
      {R"({"peft_type":"LORA","alpha_pattern":{"(":4}})", "no regular expression"},
      {R"({"peft_type":"LORA","alpha_pattern":{"v_proj":"4"}})", "no number"},
  };
  for (const auto& c : configs) {
    const auto opened = Open(c.config, fits);
    ASSERT_FALSE(opened.ok()) << c.config;
    EXPECT_NE(opened.status().message().find(c.says), absl::string_view::npos) << opened.status();
    EXPECT_LT(opened.status().message().size(), 400u);
  }
  const struct {
    FolderTensors tensors;
    std::string says;
  } tensors[] = {
      {{{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)}}, "has no lora_B"},
      {{{Cat(kV, ".lora_A.weight"), Counting({2, 7}, 1)},
        {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)}},
       "do not fit"},
      {{{"base_model.model.model.layers.9.self_attn.v_proj.lora_A.weight", Counting({2, 8}, 1)},
        {"base_model.model.model.layers.9.self_attn.v_proj.lora_B.weight", Counting({8, 2}, 1)}},
       "the base has no"},
      {{{Cat(kV, ".lora_A.a.weight"), Counting({2, 8}, 1)},
        {Cat(kV, ".lora_A.b.weight"), Counting({2, 8}, 1)},
        {Cat(kV, ".lora_B.a.weight"), Counting({8, 2}, 3)}},
       "which of two is meant"},
      {{{Cat(kV, ".lora_A.weight"), {{2, 8}, std::vector<float>(16), "I32"}},
        {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)}},
       "of a kind that is not merged"},
      {{}, "has no tensors"},
      {{{"base_model.model.model.prompt.weight", Counting({2, 8}, 1)}}, "has no place in the base"},
  };
  for (const auto& c : tensors) {
    const auto opened = Open(R"({"peft_type":"LORA"})", c.tensors);
    ASSERT_FALSE(opened.ok()) << c.says;
    EXPECT_NE(opened.status().message().find(c.says), absl::string_view::npos) << opened.status();
    EXPECT_LT(opened.status().message().size(), 400u);
  }
}

}  // namespace
}  // namespace smelt
