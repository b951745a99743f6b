// Values of config.json that are honoured, or refused by name. What each means was looked up in
// transformers 5.24 and tried there; where it raises, we refuse, or the comment says why not.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <regex>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "lib/model/layer_spec.h"
#include "lib/model/rope_config.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::kLlamaConfig;
using testing::LlamaTensors;

struct ConfigCase {
  std::string name, architecture, extra;
  std::string refused;  ///< part of the error's sentence; empty = accepted
};
void PrintTo(const ConfigCase& c, std::ostream* out) { *out << c.name; }

class ConfigValues : public ::testing::TestWithParam<ConfigCase> {};

TEST_P(ConfigValues, AreHonouredOrRefusedByName) {
  const testing::TempDir dir;
  std::string sizes = kLlamaConfig;
  if (GetParam().architecture.starts_with("Gemma"))  // always tied
    sizes.replace(sizes.find("false"), 5, "true");
  testing::WriteFolder(
      dir.path(),
      Cat(R"({"architectures":[")", GetParam().architecture, "\"],", GetParam().extra, sizes, "}"),
      LlamaTensors(2, true));
  auto opened = testing::OpenFolder(dir.path());
  if (GetParam().refused.empty()) {
    SMELT_ASSERT_OK(opened);
    SMELT_EXPECT_OK(ReadModelSpec(*opened->source));
    for (const std::string& note : opened->notes)
      EXPECT_EQ(note.find("not known"), std::string::npos) << note;
    return;
  }
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(std::string(opened.status().message()).find(GetParam().refused), std::string::npos)
      << opened.status().message();
}

INSTANTIATE_TEST_SUITE_P(
    Llama, ConfigValues,
    ::testing::Values(
        ConfigCase{"plain", "LlamaForCausalLM", "", ""},
        ConfigCase{"no_share", "Glm4ForCausalLM", R"("partial_rotary_factor":null,)",
                   "partial_rotary_factor is null"},
        ConfigCase{"no_share_inside", "PhiForCausalLM",
                   R"("rope_parameters":{"rope_type":"default","partial_rotary_factor":null},)",
                   "partial_rotary_factor is null"},
        ConfigCase{"convolution", "Qwen3_5ForCausalLM", R"("hidden_act":"gelu",)",
                   "hidden_act is \"gelu\""},
        ConfigCase{"longrope_without_original", "Phi3ForCausalLM",
                   R"("original_max_position_embeddings":null,"rope_scaling":{"type":"longrope",)"
                   R"("short_factor":[1,1],"long_factor":[2,2]},)",
                   "original_max_position_embeddings"},
        ConfigCase{"yarn_of_null", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"yarn","factor":2,)"
                   R"("original_max_position_embeddings":null},)",
                   "original_max_position_embeddings"},
        ConfigCase{"context_inside", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"yarn","factor":2,"max_position_embeddings":16},)",
                   ""},
        ConfigCase{"sections_of_others", "LlamaForCausalLM",
                   R"("rope_scaling":{"mrope_section":[1,1,0]},)", "mrope_section"},
        ConfigCase{"partial_rotary", "LlamaForCausalLM", R"("partial_rotary_factor":0.5,)",
                   "partial_rotary_factor"},
        ConfigCase{"dynamic", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"dynamic","factor":2.0},)", ""},
        ConfigCase{"proportional", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"proportional","factor":2.0},)", "proportional"},
        ConfigCase{"interleaved", "LlamaForCausalLM", R"("rope_interleaved":true,)",
                   "rope_interleaved"},
        ConfigCase{"not_interleaved", "LlamaForCausalLM", R"("rope_interleaved":false,)", ""},
        ConfigCase{"quick_gelu", "LlamaForCausalLM", R"("hidden_act":"quick_gelu",)", "hidden_act"},
        ConfigCase{"huge_theta", "LlamaForCausalLM", R"("rope_theta":1e300,)", "rope_theta"},
        ConfigCase{"neox_head_dim", "GPTNeoXForCausalLM", R"("head_dim":2,"rotary_pct":1.0,)",
                   "head_dim is 2"},
        ConfigCase{"llama4", "Llama4ForCausalLM", "", "Llama4ForCausalLM"},
        ConfigCase{"rope_key", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"linear","factor":2.0,"beta":1},)", "beta"},
        ConfigCase{"linear", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"linear","factor":2.0},)", ""},
        ConfigCase{"null_scaling", "LlamaForCausalLM",
                   R"("rope_scaling":null,"rope_parameters":{"rope_theta":5000.0},)", ""},
        ConfigCase{"two_thetas", "LlamaForCausalLM",
                   R"("rope_theta":1e4,"rope_parameters":{"rope_theta":5000.0},)", "rope_theta"},
        ConfigCase{"gelu", "LlamaForCausalLM", R"("hidden_act":"gelu",)", ""},
        // Of plain weights a known method is left over; BitNet's layers compute otherwise.
        ConfigCase{"leftover_awq", "LlamaForCausalLM",
                   R"("quantization_config":{"quant_method":"awq","bits":4},)", ""},
        ConfigCase{"leftover_old_bitsandbytes", "LlamaForCausalLM",
                   R"("quantization_config":{"load_in_8bit":true},)", ""},
        ConfigCase{"leftover_mlx", "LlamaForCausalLM",
                   R"("quantization":{"bits":8,"group_size":64},)", ""},
        ConfigCase{"bitnet", "LlamaForCausalLM",
                   R"("quantization_config":{"quant_method":"bitnet"},)", "bitnet"},
        ConfigCase{"unknown_method", "LlamaForCausalLM",
                   R"("quantization_config":{"quant_method":"xyz3"},)", "xyz3"},
        ConfigCase{"mistral_bias", "MistralForCausalLM", R"("attention_bias":true,)",
                   "attention_bias"},
        ConfigCase{"mistral_no_window", "MistralForCausalLM", R"("sliding_window":null,)", ""}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Windows, ConfigValues,
    ::testing::Values(
        ConfigCase{"mistral_of_0", "MistralForCausalLM", R"("sliding_window":0,)",
                   "sliding_window is 0"},
        ConfigCase{"mixtral_of_0", "MixtralForCausalLM", R"("sliding_window":0,)",
                   "sliding_window is 0"},
        ConfigCase{"phi3_of_0", "Phi3ForCausalLM", R"("sliding_window":0,)", "sliding_window is 0"},
        ConfigCase{"starcoder2_of_0", "Starcoder2ForCausalLM", R"("sliding_window":0,)",
                   "sliding_window is 0"},
        ConfigCase{"mistral_null_in_a_list", "MistralForCausalLM",
                   R"("sliding_window":null,"layer_types":["sliding_attention","full_attention"],)",
                   "sliding_window is null"},
        // transformers makes a mask for windows that no layer has, and needs a size for it; without
        // such layers the size changes nothing.
        ConfigCase{"mistral_null_and_none", "MistralForCausalLM",
                   R"("sliding_window":null,"layer_types":["full_attention","attention"],)", ""},
        ConfigCase{
            "qwen2_switched_off", "Qwen2ForCausalLM",
            R"("use_sliding_window":false,"layer_types":["sliding_attention","full_attention"],)",
            "sliding_window is switched off by use_sliding_window"},
        ConfigCase{"qwen3_off_by_default", "Qwen3ForCausalLM",
                   R"("sliding_window":5,"layer_types":["sliding_attention","full_attention"],)",
                   "sliding_window is switched off by use_sliding_window"},
        ConfigCase{"qwen2moe_null", "Qwen2MoeForCausalLM",
                   R"("use_sliding_window":true,"sliding_window":null,)", "sliding_window is null"},
        ConfigCase{"qwen2_null_switch", "Qwen2ForCausalLM", R"("use_sliding_window":null,)",
                   "use_sliding_window is null"},
        ConfigCase{"gemma3_null_period", "Gemma3ForCausalLM", R"("sliding_window_pattern":null,)",
                   "sliding_window_pattern is null"},
        ConfigCase{"unknown_word", "LlamaForCausalLM", R"("layer_types":["full","full"],)",
                   "layer_types has full"},
        ConfigCase{"unknown_word_where_unheeded", "MixtralForCausalLM",
                   R"("layer_types":["full_attention","mamba"],)", "layer_types has mamba"},
        ConfigCase{"too_few", "LlamaForCausalLM", R"("layer_types":["full_attention"],)",
                   "layer_types has 1 entries"},
        // transformers' forward pass of these ignores the list, its cache does not: they disagree.
        ConfigCase{"llama_sliding", "LlamaForCausalLM",
                   R"("layer_types":["sliding_attention","full_attention"],)",
                   "layer_types has sliding_attention"},
        ConfigCase{"olmo2_sliding", "Olmo2ForCausalLM",
                   R"("layer_types":["sliding_attention","full_attention"],)",
                   "layer_types has sliding_attention"},
        ConfigCase{"llama_full", "LlamaForCausalLM",
                   R"("layer_types":["full_attention","full_attention"],)", ""}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Null, ConfigValues,
    ::testing::Values(
        ConfigCase{"activation", "LlamaForCausalLM", R"("hidden_act":null,)", "hidden_act is null"},
        ConfigCase{"activation_of_gemma2", "Gemma2ForCausalLM", R"("hidden_activation":null,)",
                   "hidden_activation is null"},
        ConfigCase{"flag", "LlamaForCausalLM", R"("attention_bias":null,)",
                   "attention_bias is null"},
        ConfigCase{"theta", "LlamaForCausalLM", R"("rope_theta":null,)", "rope_theta is null"},
        ConfigCase{"theta_inside", "LlamaForCausalLM", R"("rope_parameters":{"rope_theta":null},)",
                   "rope_theta is null"},
        ConfigCase{"theta_of_windows", "Gemma3ForCausalLM", R"("rope_local_base_freq":null,)",
                   "rope_local_base_freq is null"},
        // The dictionary's counts, whatever stands beside it.
        ConfigCase{"theta_beside", "LlamaForCausalLM",
                   R"("rope_theta":null,"rope_parameters":{"rope_theta":5000.0},)", ""},
        // These are null in the classes themselves.
        ConfigCase{"head_dim", "LlamaForCausalLM", R"("head_dim":null,)", ""},
        ConfigCase{"partial", "LlamaForCausalLM", R"("partial_rotary_factor":null,)", ""}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Whole, ConfigValues,
    ::testing::Values(
        ConfigCase{"model_type", "LlamaForCausalLM", R"("model_type":"llama",)", ""},
        ConfigCase{"another", "LlamaForCausalLM", R"("model_type":"mistral",)",
                   "model_type is mistral, but architectures says LlamaForCausalLM"},
        ConfigCase{"unknown", "LlamaForCausalLM", R"("model_type":"Yi",)",
                   "model_type is Yi, but architectures says LlamaForCausalLM"},
        ConfigCase{"of_the_whole", "Gemma3ForCausalLM", R"("model_type":"gemma3",)",
                   "model_type is gemma3, but architectures says Gemma3ForCausalLM"},
        ConfigCase{"ministral", "MinistralForCausalLM", R"("model_type":"ministral",)", ""},
        ConfigCase{"part", "LlamaForCausalLM", R"("text_config":{"hidden_size":8},)",
                   "text_config is there"},
        ConfigCase{"no_part", "Gemma3ForConditionalGeneration", "", "text_config"},
        ConfigCase{"kinds_of_rotation", "LlamaForCausalLM",
                   R"("rope_parameters":{"full_attention":{"rope_theta":5000.0}},)",
                   "rope_parameters has full_attention"},
        ConfigCase{"both_ways", "LlamaForCausalLM", R"("is_causal":false,)", "is_causal"},
        ConfigCase{"one_way", "LlamaForCausalLM", R"("is_causal":true,)", ""},
        ConfigCase{"layers_of_their_own", "LlamaForCausalLM",
                   R"("per_layer_config":{"0":{"num_key_value_heads":1}},)", "per_layer_config"}),
    [](const auto& info) { return info.param.name; });

// Numbers that an integer or an f32 of a GGUF cannot hold are refused, whatever computes them.
INSTANTIATE_TEST_SUITE_P(
    Numbers, ConfigValues,
    ::testing::Values(
        ConfigCase{
            "yarn_length", "LlamaForCausalLM",
            R"("rope_scaling":{"type":"yarn","factor":4.0,"original_max_position_embeddings":5e11},)",
            "original_max_position_embeddings is 5e+11"},
        ConfigCase{
            "yarn_fraction", "LlamaForCausalLM",
            R"("rope_scaling":{"type":"yarn","factor":4.0,"original_max_position_embeddings":64.5},)",
            "original_max_position_embeddings is 64.5"},
        ConfigCase{"yarn_whole_float", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"yarn","factor":4.0,)"
                   R"("original_max_position_embeddings":64.0},)",
                   ""},
        ConfigCase{"llama3_length", "LlamaForCausalLM",
                   R"("rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,)"
                   R"("high_freq_factor":4,"original_max_position_embeddings":1e300},)",
                   "original_max_position_embeddings is 1e+300"},
        ConfigCase{"huge_factor", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"linear","factor":1e300},)", "factor is 1e+300"},
        ConfigCase{"tiny_factor", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"linear","factor":1e-300},)", "factor is 1e-300"},
        ConfigCase{"huge_beta", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"yarn","factor":2.0,"beta_fast":1e200},)",
                   "beta_fast is 1e+200"},
        ConfigCase{"huge_attention_factor", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"yarn","factor":2.0,"attention_factor":1e99},)",
                   "attention_factor"},
        ConfigCase{"fraction_of_experts", "MixtralForCausalLM", R"("num_local_experts":2.5,)",
                   "num_local_experts is 2.5"}),
    [](const auto& info) { return info.param.name; });

TEST(NumbersTest, AProductThatNoKeyHoldsIsRefused) {
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(),
                       R"({"architectures":["MambaForCausalLM"],"hidden_size":16777216,)"
                       R"("expand":1024,"num_hidden_layers":1,"vocab_size":10})",
                       LlamaTensors(1, true));
  auto opened = testing::OpenFolder(dir.path());
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("mamba.ssm.inner_size cannot hold"), std::string::npos)
      << opened.status().message();
}

// Sections of M-RoPE that do not add up to the pairs that turn: classes that let pairs take turns
// run them, and a text does not notice; those that cut the pairs into sections raise.
TEST(Sections, MustAddUpWhereTheyFollowEachOther) {
  for (const auto& [model, runs] :
       {std::pair("qwen3_5", true), std::pair("qwen3_vl", true), std::pair("qwen2_5_vl", false)}) {
    const std::string folder = testing::ModelPath(model);
    if (folder.empty()) SMELT_REQUIRE_SHARED();
    const testing::TempDir dir;
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      if (file.path().filename() != "config.json")
        std::filesystem::create_symlink(file.path(), dir / file.path().filename().string());
    }
    const std::string text = testing::ReadFile(folder + "/config.json");
    const std::string edited = std::regex_replace(text, std::regex(R"("mrope_section": *\[[^\]]*)"),
                                                  R"("mrope_section":[9,7,8)");
    ASSERT_NE(edited, text);
    testing::WriteFile(dir / "config.json", edited);
    const auto opened = testing::OpenFolder(dir.path());
    if (runs) {
      SMELT_EXPECT_OK(opened);
    } else {
      EXPECT_NE(std::string(opened.status().message()).find("mrope_section"), std::string::npos);
    }
  }
}

// Keys that other classes compute with.
INSTANTIATE_TEST_SUITE_P(
    Foreign, ConfigValues,
    ::testing::Values(
        ConfigCase{"softcap_null", "LlamaForCausalLM", R"("final_logit_softcapping":null,)", ""},
        ConfigCase{"query_scalar", "Qwen2ForCausalLM", R"("query_pre_attn_scalar":100,)",
                   "query_pre_attn_scalar is 100"},
        ConfigCase{"clip", "LlamaForCausalLM", R"("clip_qkv":8.0,)", "clip_qkv is 8"},
        ConfigCase{"norms", "LlamaForCausalLM", R"("use_qk_norm":true,)", "use_qk_norm is true"},
        ConfigCase{"cap", "LlamaForCausalLM", R"("final_logit_softcapping":12.5,)",
                   "final_logit_softcapping is 12.5"},
        ConfigCase{"no_clip", "LlamaForCausalLM", R"("clip_qkv":null,)", ""},
        ConfigCase{"parallel", "LlamaForCausalLM", R"("parallel_attn":true,)", "parallel_attn"},
        ConfigCase{"not_parallel", "LlamaForCausalLM", R"("parallel_attn":false,)", ""},
        ConfigCase{"latent", "MistralForCausalLM", R"("kv_lora_rank":512,)", "kv_lora_rank"},
        ConfigCase{"one_expert", "LlamaForCausalLM", R"("num_local_experts":1,)", ""},
        ConfigCase{"experts", "LlamaForCausalLM", R"("num_local_experts":4,)",
                   "num_local_experts is 4"},
        ConfigCase{"factor_of_one", "LlamaForCausalLM",
                   R"("logits_scaling":1,"mlp_multipliers":[1.0,1.0],)", ""},
        ConfigCase{"window", "LlamaForCausalLM", R"("sliding_window":4000,)", ""}),
    [](const auto& info) { return info.param.name; });

// Another family's factors make another model.
TEST(ForeignKeysTest, FactorsThatAreNotAppliedAreAnError) {
  for (const std::string key :
       {"embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
        "logit_scale", "routed_scaling_factor", "lm_head_multiplier"}) {
    const testing::TempDir dir;
    testing::WriteFolder(
        dir.path(),
        Cat(R"({"architectures":["LlamaForCausalLM"],")", key, R"(":0.37,)", kLlamaConfig, "}"),
        LlamaTensors(2, true));
    const auto opened = testing::OpenFolder(dir.path());
    ASSERT_FALSE(opened.ok()) << key;
    EXPECT_NE(opened.status().message().find(Cat(key, " is 0.37")), std::string::npos)
        << opened.status().message();
  }
}

// The defaults of the classes that have them.
TEST(ForeignKeysTest, CapsAndDefaultsOfOtherClassesAreNotSilent) {
  const struct {
    std::string key, said;
    bool warned;
  } cases[] = {
      {R"("final_logit_softcapping":30.0,)", "final_logit_softcapping 30 ", true},
      {R"("attn_logit_softcapping":50,)", "attn_logit_softcapping 50", true},
      {R"("use_parallel_residual":true,)", "use_parallel_residual true has no effect", false},
      {R"("query_pre_attn_scalar":256,)", "query_pre_attn_scalar 256 has no effect", false},
      {R"("num_experts_per_tok":2,)", "num_experts_per_tok 2 has no effect", false},
      {R"("final_logit_softcapping":null,"attn_logit_softcapping":null,)", "", false},
  };
  for (const auto& c : cases) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(),
                         Cat(R"({"architectures":["LlamaForCausalLM"],)", c.key, kLlamaConfig, "}"),
                         LlamaTensors(2, true));
    auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    EXPECT_EQ(opened->warnings.size(), c.warned ? 1u : 0u) << c.key;
    if (c.said.empty()) {
      EXPECT_TRUE(opened->notes.empty()) << c.key << opened->notes[0];
      continue;
    }
    std::string all;
    for (const auto* list : {&opened->warnings, &opened->notes}) {
      for (const std::string& sentence : *list) all += sentence + "\n";
    }
    EXPECT_NE(all.find(c.said), std::string::npos) << all;
  }
}

TEST(ForeignKeysTest, ScalingWithoutATypeIsAWarning) {
  for (const auto& [scaling, said] : std::vector<std::pair<std::string, std::string>>{
           {R"({"factor":8.0})", "no rope_type, so that factor has no effect"},
           {R"({"rope_type":"default","beta_fast":16})", "so that beta_fast has no effect"},
           {R"({"rope_type":"linear","factor":2.0,"low_freq_factor":3})", "low_freq_factor"},
           // vLLM and llama.cpp multiply YaRN's own magnitude by it, transformers does not know it.
           {R"({"rope_type":"yarn","factor":2.0,"attn_factor":0.9})", "so that attn_factor has"},
           {R"({"factor":1.0})", ""},
           {R"({"type":"linear","factor":2.0})", ""}}) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(),
                         Cat(R"({"architectures":["LlamaForCausalLM"],"rope_scaling":)", scaling,
                             ",", kLlamaConfig, "}"),
                         LlamaTensors(2, true));
    auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    ASSERT_EQ(opened->warnings.size(), said.empty() ? 0u : 1u) << scaling;
    if (!said.empty()) {
      EXPECT_NE(opened->warnings[0].find(said), std::string::npos) << opened->warnings[0];
    }
  }
}

// The base of the class is not the one in the dictionary that it has where none is given; and
// mscale_all_dim without mscale leaves YaRN's own magnitude to rotations that it scales the scores
// of.
TEST(RopeTest, WhatADictionaryDoesNotSay) {
  const auto key = [](std::string_view extra, std::string_view name) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(),
                         Cat(R"({"architectures":["Ministral3ForCausalLM"],"head_dim":4,)", extra,
                             kLlamaConfig, "}"),
                         LlamaTensors(2, true));
    const auto opened = testing::OpenFolder(dir.path());
    SMELT_EXPECT_OK(opened);
    const MetadataValue* value = opened.ok() ? opened->source->metadata().Find(name) : nullptr;
    return value == nullptr ? -1 : value->FloatAt(0).value_or(-1);
  };
  constexpr std::string_view kBase = "mistral3.rope.freq_base",
                             kFactor = "mistral3.rope.scaling.yarn_attn_factor";
  constexpr std::string_view kYarn =
      R"("rope_parameters":{"rope_type":"yarn","factor":8,"original_max_position_embeddings":16,)"
      R"("llama_4_scaling_beta":0.1)";
  EXPECT_EQ(key("", kBase), 1e6);
  EXPECT_EQ(key(Cat(kYarn, "},"), kBase), 1e4);
  EXPECT_EQ(key(Cat(kYarn, R"(,"mscale":1,"mscale_all_dim":1},)"), kFactor), -1);
  EXPECT_NEAR(key(Cat(kYarn, R"(,"mscale_all_dim":1},)"), kFactor), 0.1 * std::log(8.0) + 1, 1e-6);
}

// Of Phi-3.5-MoE, which says it twice, the dictionary's counts; of others the configuration's own.
TEST(RopeTest, TheOriginalContextThatIsSaidTwice) {
  const auto json = ParseJsonValue(
      R"({"original_max_position_embeddings":32,"rope_scaling":{"type":"longrope","short_factor":[1],)"
      R"("long_factor":[2],"short_mscale":1,"long_mscale":1,"original_max_position_embeddings":64}})",
      "config.json");
  SMELT_ASSERT_OK(json);
  const Config config(*json, "config.json");
  const auto twice = ReadRopeConfigs(config, {.magnitudes = true}, 128);
  SMELT_ASSERT_OK(twice);
  EXPECT_EQ(twice->full.original_context, 64);
  const auto yarn = ParseJsonValue(
      R"({"original_max_position_embeddings":32,"rope_scaling":{"type":"yarn","factor":2,)"
      R"("original_max_position_embeddings":64}})",
      "config.json");
  SMELT_ASSERT_OK(yarn);
  const auto own = ReadRopeConfigs(Config(*yarn, "config.json"), {}, 128);
  SMELT_ASSERT_OK(own);
  EXPECT_EQ(own->full.original_context, 32);
}

TEST(WindowTest, AbsentNullAndGiven) {
  const std::vector<std::pair<std::string, uint64_t>> cases = {
      {"", 4096}, {R"("sliding_window":null,)", 0}, {R"("sliding_window":7,)", 7}};
  for (const auto& [extra, window] : cases) {
    const testing::TempDir dir;
    testing::WriteFolder(
        dir.path(), Cat(R"({"architectures":["MistralForCausalLM"],)", extra, kLlamaConfig, "}"),
        LlamaTensors(2, true));
    auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    auto spec = ReadModelSpec(*opened->source);
    SMELT_ASSERT_OK(spec);
    EXPECT_EQ(std::get<Attention>(spec->layers[1].mixer).window, window) << extra;
  }
}

// transformers' AutoConfig reads a Mistral with layer_types as a Ministral.
TEST(WindowTest, LayerTypesOfAMistral) {
  const testing::TempDir dir;
  testing::WriteFolder(
      dir.path(),
      Cat(R"({"architectures":["MistralForCausalLM"],"model_type":"mistral","sliding_window":7,)",
          R"("layer_types":["full_attention","sliding_attention"],)", kLlamaConfig, "}"),
      LlamaTensors(2, true));
  auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  auto spec = ReadModelSpec(*opened->source);
  SMELT_ASSERT_OK(spec);
  EXPECT_EQ(std::get<Attention>(spec->layers[0].mixer).window, 0u);
  EXPECT_EQ(std::get<Attention>(spec->layers[1].mixer).window, 7u);
}

INSTANTIATE_TEST_SUITE_P(
    DeltaNetsAndGemma4, ConfigValues,
    ::testing::Values(
        ConfigCase{"delta_heads", "Qwen3_5ForCausalLM",
                   R"("linear_num_key_heads":4,"linear_num_value_heads":6,)",
                   "linear_num_value_heads"},
        ConfigCase{"delta_types", "Qwen3_5ForCausalLM",
                   R"("layer_types":["linear_attention","sliding_attention"],)",
                   "sliding_attention"},
        ConfigCase{"delta_few_types", "Qwen3_5MoeForCausalLM",
                   R"("layer_types":["linear_attention"],)", "expected one for each of 2"},
        ConfigCase{"no_output_gate", "Qwen3NextForCausalLM", R"("attn_output_gate":false,)",
                   "attn_output_gate"},
        ConfigCase{"no_base", "Gemma4ForCausalLM",
                   R"("rope_parameters":{"full_attention":{"rope_type":"proportional"}},)",
                   "rope_theta is missing"},
        ConfigCase{"no_full_attention", "Gemma4ForCausalLM",
                   R"("rope_parameters":{"sliding_attention":{"rope_type":"default"}},)",
                   "full_attention"},
        ConfigCase{"all_share", "Gemma4ForCausalLM",
                   R"("hidden_size_per_layer_input":0,"num_kv_shared_layers":2,)",
                   "num_kv_shared_layers"},
        ConfigCase{"bidirectional", "Gemma4ForCausalLM", R"("use_bidirectional_attention":"all",)",
                   "use_bidirectional_attention"},
        ConfigCase{"no_experts", "Gemma4ForCausalLM",
                   R"("hidden_size_per_layer_input":0,"enable_moe_block":true,)", "num_experts"},
        ConfigCase{"other_vocabulary", "Gemma4ForCausalLM", R"("vocab_size_per_layer_input":5,)",
                   "vocab_size_per_layer_input"},
        ConfigCase{"global_heads", "Gemma4ForCausalLM",
                   R"("attention_k_eq_v":true,"num_global_key_value_heads":3,)",
                   "num_global_key_value_heads"}),
    [](const auto& info) { return info.param.name; });

// What the families' own code says of keys that go together.
INSTANTIATE_TEST_SUITE_P(
    Of2026, ConfigValues,
    ::testing::Values(
        ConfigCase{"phimoe_yarn", "PhiMoEForCausalLM",
                   R"("rope_scaling":{"type":"yarn","factor":2.0},)", "type other than longrope"},
        ConfigCase{"phimoe_without_magnitude", "PhiMoEForCausalLM",
                   R"("rope_scaling":{"type":"longrope","short_factor":[1,1],"long_factor":[2,2],)"
                   R"("short_mscale":1.2},)",
                   "long_mscale is missing"},
        ConfigCase{"phi3_with_magnitudes", "Phi3ForCausalLM",
                   R"("rope_scaling":{"type":"longrope","short_factor":[1,1],"long_factor":[2,2],)"
                   R"("short_mscale":1.2,"long_mscale":1.2},)",
                   "short_mscale"},
        ConfigCase{"internlm2_yarn", "InternLM2ForCausalLM",
                   R"("rope_scaling":{"type":"yarn","factor":2.0},)", "InternLM2 does not know"},
        ConfigCase{"internlm2_heads", "InternLM2ForCausalLM", R"("head_dim":2,)", "head_dim is 2"},
        ConfigCase{"minimax_odd_rotation", "MiniMaxM2ForCausalLM",
                   R"("head_dim":4,"rotary_dim":3,)", "rotary_dim is 3"},
        ConfigCase{"dots1_groups", "Dots1ForCausalLM",
                   R"("n_routed_experts":4,"num_experts_per_tok":2,"n_shared_experts":1,)"
                   R"("n_group":3,"topk_group":1,)",
                   "n_group is 3"},
        ConfigCase{"glm_scores", "Glm4MoeForCausalLM", R"("scoring_func":"softmax",)",
                   "scoring_func"},
        ConfigCase{"smollm3_few", "SmolLM3ForCausalLM", R"("no_rope_layers":[1],)",
                   "expected one for each of 2"},
        ConfigCase{"smollm3_ones", "SmolLM3ForCausalLM", R"("no_rope_layers":[1,1],)", ""},
        ConfigCase{"granite_hybrid_positions", "GraniteMoeHybridForCausalLM",
                   R"("position_embedding_type":"alibi",)", "position_embedding_type is alibi"},
        ConfigCase{"falcon_h1_few_factors", "FalconH1ForCausalLM", R"("mlp_multipliers":[1.5],)",
                   "mlp_multipliers"},
        ConfigCase{"hunyuan_alpha", "HunYuanDenseV1ForCausalLM",
                   R"("rope_scaling":{"type":"dynamic","factor":1.0,"alpha":-5.0},)",
                   "alpha is -5"},
        ConfigCase{"other_alpha", "LlamaForCausalLM",
                   R"("rope_scaling":{"type":"dynamic","factor":2.0,"alpha":5.0},)", "alpha"},
        ConfigCase{"granite_no_scale", "GraniteForCausalLM", R"("logits_scaling":0,)",
                   "logits_scaling is 0"},
        ConfigCase{"ernie_heads", "Ernie4_5ForCausalLM", R"("head_dim":4,)", ""},
        ConfigCase{"seed_biases", "SeedOssForCausalLM", R"("head_dim":4,"attention_bias":false,)",
                   ""},
        // EmbeddingGemma looks both ways.
        ConfigCase{"embedding_gemma", "Gemma3TextModel",
                   R"("head_dim":4,"use_bidirectional_attention":true,)",
                   "use_bidirectional_attention is true"},
        ConfigCase{"arcee", "ArceeForCausalLM", "", "mlp.gate_proj"},
        ConfigCase{"bigcode_attention", "GPTBigCodeForCausalLM", R"("add_cross_attention":true,)",
                   "add_cross_attention"},
        ConfigCase{"deepseek_odd", "DeepseekV3ForCausalLM", R"("qk_rope_head_dim":3,)",
                   "3 rotary dimensions"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace smelt
