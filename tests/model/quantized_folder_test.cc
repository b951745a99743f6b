// What a folder says of its quantization, in config.json or beside it, and what its tensors do.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <tuple>

#include "lib/base/cat.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using testing::Counting;
using testing::ExpectRefused;
using testing::FolderTensors;
using testing::kLlamaConfig;
using testing::LlamaConfig;
using testing::LlamaTensors;
using testing::Says;

TEST(QuantizedTest, PartsWithoutTheOthersAreNamed) {
  struct Case {
    std::string tensor, dtype, said;
  };
  const std::string stem = "model.layers.0.self_attn.q_proj";
  const std::vector<Case> cases = {
      {".qweight", "I32", ".qzeros is missing"},
      {".weight.absmax", "F32", ".weight.quant_map is missing"},
      {".SCB", "F32", "bitsandbytes"},
      {".weight_packed", "I32", ".weight_shape is missing"},
      {".biases", "F16", "MLX"},
      {".weight_scale_inv", "F32", "FP8"},
  };
  for (const Case& c : cases) {
    FolderTensors t = LlamaTensors(2, true);
    t[stem + c.tensor] = Counting({8, 8}, 1);
    t[stem + c.tensor].dtype = c.dtype;
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(), LlamaConfig(R"("architectures":["LlamaForCausalLM"],)"), t);
    ExpectRefused(testing::OpenFolder(dir.path()), {"quantized", c.said, stem});
  }
  FolderTensors t = LlamaTensors(2, true);
  t[stem + ".weight"].dtype = "U32";
  t[stem + ".scales"] = Counting({8, 1}, 1);
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(), LlamaConfig(R"("architectures":["LlamaForCausalLM"],)"), t);
  ExpectRefused(testing::OpenFolder(dir.path()), {"quantized", stem});
}

TEST(QuantizedTest, LeftoversAreANote) {
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(),
                       LlamaConfig(R"("architectures":["LlamaForCausalLM"],"quantization_config":)"
                                   R"({"quant_method":"compressed-tensors"},)"),
                       LlamaTensors(2, true));
  auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_TRUE(Says(opened->notes, "compressed-tensors, but the weights are plain"));
}

/// A small Llama whose first value matrix is GPTQ's: in its last row code 3 is stored as zero
/// point.
FolderTensors GptqTensors() {
  const std::string stem = "model.layers.0.self_attn.v_proj";
  FolderTensors t = LlamaTensors(2, true);
  t.erase(stem + ".weight");
  t[stem + ".qweight"] = Counting({1, 8}, 1);
  t[stem + ".qzeros"] = {{1, 1}, {0x30000000}};
  t[stem + ".qweight"].dtype = t[stem + ".qzeros"].dtype = "I32";
  t[stem + ".scales"] = Counting({1, 8}, 1);
  return t;
}

// Of folders whose config.json says nothing, the quantizer's own file beside it is asked.
TEST(QuantizedTest, AQuantizersOwnFileIsAsked) {
  struct Case {
    std::string config, file, text;
    float zero;  ///< of the last row
  };
  const std::string v2 = R"({"bits":4,"group_size":8,"checkpoint_format":"gptq_v2"})",
                    inside = R"("quantization_config":{"quant_method":"GPTQ","bits":4,)";
  const Case cases[] = {
      {"", "", "", 4},
      {"", "quantize_config.json", v2, 3},
      {"", "quantize_config.json", R"({"wbits":4,"groupsize":8,"format":"GPTQ_V2"})", 3},
      {"", "quant_config.json", R"({"w_bit":4,"q_group_size":8,"quant_method":"gptq"})", 4},
      {inside + R"("group_size":8},)", "quantize_config.json", v2, 4},
      {inside + R"("group_size":8,"checkpoint_format":"gptq_v2"},)", "", "", 3}};
  for (const Case& c : cases) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(),
                         LlamaConfig(Cat(c.config, R"("architectures":["LlamaForCausalLM"],)")),
                         GptqTensors());
    if (!c.file.empty()) testing::WriteFile(dir / c.file, c.text);
    const auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    const std::vector<float> values = testing::ReadTensor(*opened->source, "blk.0.attn_v.weight");
    EXPECT_EQ(values[7 * 8 + 1], -8 * c.zero) << c.file << c.text << c.config;  // code 0, scale 8
    EXPECT_FALSE(Says(opened->notes, " says "));
  }
  const std::tuple<std::string, std::string, std::string> refused[] = {
      {"quantize_config.json", R"({"bits":3,"group_size":8})",
       "(group_size of quantize_config.json)"},
      {"quantize_config.json", R"({"bits":4,"group_size":4})",
       "group_size of quantize_config.json"},
      {"quant_config.json", R"({"w_bit":4,)", "quant_config.json"}};
  for (const auto& [file, text, said] : refused) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(), LlamaConfig(R"("architectures":["LlamaForCausalLM"],)"),
                         GptqTensors());
    testing::WriteFile(dir / file, text);
    ExpectRefused(testing::OpenFolder(dir.path()), {said});
  }
  const testing::TempDir dir;  // left over beside plain weights
  testing::WriteFolder(dir.path(), LlamaConfig(R"("architectures":["LlamaForCausalLM"],)"),
                       LlamaTensors(2, true));
  testing::WriteFile(dir / "quantize_config.json", "{");
  SMELT_EXPECT_OK(testing::OpenFolder(dir.path()));
  fs::remove(dir / "quantize_config.json");
  testing::WriteFile(dir / "hf_quant_config.json", R"({"quantization":{"quant_algo":"FP8"}})");
  const auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_TRUE(Says(opened->notes, "says modelopt, but the weights are plain"));
}

// The tensors count; what a configuration says otherwise is named.
TEST(QuantizedTest, WhatIsSaidOtherwiseIsNamed) {
  const std::string stem = "model.layers.0.self_attn.v_proj.weight",
                    state = R"({"shape":[8,8],"blocksize":64,"quant_type":"nf4"})";
  FolderTensors nf4 = LlamaTensors(2, true);
  nf4[stem] = {{32, 1}, std::vector<float>(32, 7), "U8"};
  nf4[stem + ".absmax"] = Counting({1}, 1);
  nf4[stem + ".quant_map"] = Counting({16}, 0);
  nf4[stem + ".quant_state.bitsandbytes__nf4"] = {
      {state.size()}, std::vector<float>(state.begin(), state.end()), "U8"};
  struct Case {
    const FolderTensors& tensors;
    std::string said, named;  ///< empty: all agrees
  };
  const FolderTensors gptq = GptqTensors();
  FolderTensors mlx = LlamaTensors(2, true);  // a row of 8 codes
  const std::string v = "model.layers.0.self_attn.v_proj.";
  mlx[v + "weight"] = {{8, 1}, std::vector<float>(8, 7), "U32"};
  mlx[v + "scales"] = mlx[v + "biases"] = Counting({8, 1}, 1);
  const Case cases[] = {
      {nf4, R"("load_in_4bit":true,"bnb_4bit_quant_type":"nf4")", ""},
      {nf4, R"("load_in_4bit":true,"bnb_4bit_quant_type":"fp4")", "bnb_4bit_quant_type fp4"},
      {nf4, R"("load_in_8bit":true,"load_in_4bit":false)", "load_in_8bit true"},
      {nf4, R"("quant_method":"hqq")", "says hqq"},
      {gptq, R"("quant_method":"compressed-tensors","format":"pack-quantized")",
       "says compressed-tensors"},
      {mlx, R"("group_size":8,"bits":4)", ""},
      {mlx, R"("group_size":8,"bits":8)", "says 8 bits"},
      {mlx, R"("group_size":8,"bits":8,"x":{"bits":4})", ""},
      {gptq, R"("quant_method":"GPTQ","bits":4,"group_size":8)", ""},
      {gptq, R"("quant_method":"awq","bits":4,"group_size":8)", "says awq"}};
  for (const Case& c : cases) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(),
                         LlamaConfig(Cat(R"("architectures":["LlamaForCausalLM"],)",
                                         R"("quantization_config":{)", c.said, "},")),
                         c.tensors);
    const auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    EXPECT_EQ(Says(opened->notes, " says "), !c.named.empty()) << c.said;
    EXPECT_TRUE(c.named.empty() || Says(opened->notes, c.named)) << c.said;
  }
}

// Activations are as exact as ever, whatever a configuration has of them: a note says so.
TEST(QuantizedTest, ActivationsAreNotQuantized) {
  const std::pair<const char*, bool> said[] = {
      {R"("quant_method":"gptq","bits":4,"group_size":8,"activation_scheme":"dynamic")", true},
      {R"("config_groups":{"a":{"input_activations":{"num_bits":8}}})", true},
      {R"("config_groups":{"a":{"input_activations":null}})", false}};
  for (const auto& [config, noted] : said) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(),
                         LlamaConfig(Cat(R"("architectures":["LlamaForCausalLM"],)",
                                         R"("quantization_config":{)", config, "},")),
                         GptqTensors());
    const auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    EXPECT_EQ(Says(opened->notes, "has no effect: activations are not quantized here"), noted)
        << config;
  }
}

// What is missing of a format that is not read is no damage.
TEST(QuantizedTest, AFormatThatIsNotReadIsNamedByItsMethod) {
  const std::pair<const char*, const char*> said[] = {
      {R"("quant_method":"sinq")", "the weights are quantized: sinq (quantization_config)"},
      {R"("quant_method":"BitNet")", "the weights are quantized: bitnet"},
      {R"("quant_method":"modelopt","quant_algo":"W4A16_AWQ")", "modelopt W4A16_AWQ"}};
  for (const auto& [config, message] : said) {
    FolderTensors t = LlamaTensors(2, true);
    t["model.layers.0.self_attn.v_proj.weight"] = {{2, 8}, std::vector<float>(16, 7), "U8"};
    t["model.layers.0.self_attn.v_proj.weight_scale"] = Counting({1}, 1);
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(),
                         LlamaConfig(Cat(R"("architectures":["LlamaForCausalLM"],)",
                                         R"("quantization_config":{)", config, "},")),
                         t);
    ExpectRefused(testing::OpenFolder(dir.path()), {message, "use the unquantized model"});
  }
}

}  // namespace
}  // namespace smelt
