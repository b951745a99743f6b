// Embeddings said to be tied, with and without an output matrix in the files.
#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/cat.h"
#include "lib/base/float16.h"
#include "lib/model/layer_spec.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Counting;
using testing::kLlamaConfig;
using testing::LlamaTensors;
using testing::ReadTensor;

std::string Tied(const std::string& architecture) {
  std::string config = kLlamaConfig;
  config.replace(config.find("embeddings\":false"), 17, "embeddings\":true");
  return Cat(R"({"architectures":[")", architecture, R"("],"head_dim":4,)", config, "}");
}

// transformers 5 ties only where the files do not hold two matrices of different values.
TEST(TiedEmbeddingsTest, AStoredOutputMatrixOfOtherValuesIsUsed) {
  for (const char* architecture : {"LlamaForCausalLM", "MistralForCausalLM"}) {
    const testing::TempDir dir;
    const testing::FolderTensors t = LlamaTensors(2, true);
    testing::WriteFolder(dir.path(), Tied(architecture), t);
    auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    EXPECT_EQ(ReadTensor(*opened->source, "output.weight"), t.at("lm_head.weight").values);
    EXPECT_EQ(ReadTensor(*opened->source, "token_embd.weight"),
              t.at("model.embed_tokens.weight").values);
    EXPECT_TRUE(std::ranges::any_of(opened->notes, [](const std::string& note) {
      return note.find("lm_head.weight holds other values") != std::string::npos;
    }));
  }
}

TEST(TiedEmbeddingsTest, ACopyOfTheEmbeddingIsLeftOut) {
  const testing::TempDir dir;
  testing::FolderTensors t = LlamaTensors(2, false);
  t["lm_head.weight"] = t["model.embed_tokens.weight"];
  testing::WriteFolder(dir.path(), Tied("LlamaForCausalLM"), t);
  auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(opened->source->Find("output.weight"), -1);
  EXPECT_TRUE(opened->notes.empty());
}

// Saved in another element type, a copy stays one: at the lesser precision of the two.
TEST(TiedEmbeddingsTest, ACopyInAnotherElementTypeIsLeftOut) {
  for (const auto& [of_table, of_head] : {std::pair("BF16", "F32"), std::pair("F32", "F16"),
                                          std::pair("F16", "BF16"), std::pair("BF16", "F16")}) {
    for (const bool trained : {false, true}) {
      const testing::TempDir dir;
      testing::FolderTensors t = LlamaTensors(2, false);
      testing::FolderTensor& table = t["model.embed_tokens.weight"];
      for (float& value : table.values) value = 0.1f * value + 0.01f;
      t["lm_head.weight"] = table;
      table.dtype = of_table;
      t["lm_head.weight"].dtype = of_head;
      if (std::string(of_table) == "F16") {  // neither type has the other's values
        for (auto* tensor : {&t["model.embed_tokens.weight"], &t["lm_head.weight"]}) {
          for (float& value : tensor->values) value = F16ToF32(F32ToF16(value));
        }
      } else if (std::string(of_table) == "BF16") {
        for (float& value : t["lm_head.weight"].values) value = Bf16ToF32(F32ToBf16(value));
      }
      if (trained) t["lm_head.weight"].values.back() += 1;
      testing::WriteFolder(dir.path(), Tied("LlamaForCausalLM"), t);
      auto opened = testing::OpenFolder(dir.path());
      SMELT_ASSERT_OK(opened);
      EXPECT_EQ(opened->source->Find("output.weight") >= 0, trained) << of_table << of_head;
    }
  }
}

TEST(TiedEmbeddingsTest, OneMatrixUnderTheOutputsNameIsTheEmbeddingToo) {
  const testing::TempDir dir;
  testing::FolderTensors t = LlamaTensors(2, true);
  t.erase("model.embed_tokens.weight");
  testing::WriteFolder(dir.path(), Tied("LlamaForCausalLM"), t);
  auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(opened->source->Find("output.weight"), -1);
  EXPECT_EQ(ReadTensor(*opened->source, "token_embd.weight"), t.at("lm_head.weight").values);
}

TEST(TiedEmbeddingsTest, GemmaOneHasNoPlaceForAnOutputMatrix) {
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(), Tied("GemmaForCausalLM"), LlamaTensors(2, true));
  auto opened = testing::OpenFolder(dir.path());
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(std::string(opened.status().message()).find("lm_head.weight holds other values"),
            std::string::npos)
      << opened.status().message();
}

TEST(TiedEmbeddingsTest, GemmaThreeWithAnOutputMatrix) {
  for (const bool tied : {true, false}) {
    const testing::TempDir dir;
    testing::FolderTensors t = LlamaTensors(2, true);
    for (int i = 0; i < 2; ++i) {
      const std::string p = Cat("model.layers.", i, ".");
      for (const char* norm : {"pre_feedforward_layernorm", "post_feedforward_layernorm"})
        t[Cat(p, norm, ".weight")] = Counting({8}, 1);
      for (const char* norm : {"q_norm", "k_norm"})
        t[Cat(p, "self_attn.", norm, ".weight")] = Counting({4}, 1);
    }
    std::string config = Tied("Gemma3ForCausalLM");
    if (!tied) config.replace(config.find("embeddings\":true"), 16, "embeddings\":false");
    testing::WriteFolder(dir.path(), config, t);
    auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    EXPECT_EQ(ReadTensor(*opened->source, "output.weight"), t.at("lm_head.weight").values);
    SMELT_EXPECT_OK(ReadModelSpec(*opened->source));
  }
}

}  // namespace
}  // namespace smelt
