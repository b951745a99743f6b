// Families beyond the recorded fixtures: layouts that no fixture has, and configuration values that
// are honoured or refused by name.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "lib/model/rope.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

struct Tensor {
  std::vector<uint64_t> shape;
  std::vector<float> values;
};
using Tensors = std::map<std::string, Tensor>;

/// Values that tell every place apart.
Tensor Counting(std::vector<uint64_t> shape, float start) {
  uint64_t n = 1;
  for (uint64_t extent : shape) n *= extent;
  Tensor tensor{std::move(shape), std::vector<float>(n)};
  for (uint64_t i = 0; i < n; ++i) tensor.values[i] = start + static_cast<float>(i);
  return tensor;
}

void WriteModel(const std::string& folder, const std::string& config, const Tensors& tensors) {
  std::string header = "{", data;
  for (const auto& [name, tensor] : tensors) {
    std::string shape;
    for (uint64_t extent : tensor.shape) shape += Cat(shape.empty() ? "" : ",", extent);
    header +=
        Cat(header.size() > 1 ? "," : "", JsonQuote(name), ":{\"dtype\":\"F32\",\"shape\":[", shape,
            "],\"data_offsets\":[", data.size(), ",", data.size() + tensor.values.size() * 4, "]}");
    data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * 4);
  }
  header += "}";
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  testing::WriteFile(folder + "/model.safetensors", file + header + data);
  testing::WriteFile(folder + "/config.json", config);
}

absl::StatusOr<OpenedModel> Open(const std::string& folder) {
  OpenOptions options;
  options.vocabulary = false;
  return OpenModel(folder, options);
}

std::vector<float> Read(const ModelSource& source, const std::string& name) {
  const int index = source.Find(name);
  EXPECT_GE(index, 0) << name;
  if (index < 0) return {};
  const Shape& shape = source.tensors()[index].shape;
  std::vector<float> values(shape.elements());
  SMELT_EXPECT_OK(source.ReadRows(index, 0, shape.rows(), values.data()));
  return values;
}

/// A decoder of Llama's names: width 8, 2 heads of 4, feed-forward 6, vocabulary 10.
Tensors LlamaTensors(uint64_t layers, bool lm_head) {
  Tensors t;
  t["model.embed_tokens.weight"] = Counting({10, 8}, 0);
  t["model.norm.weight"] = Counting({8}, 1);
  if (lm_head) t["lm_head.weight"] = Counting({10, 8}, 5);
  for (uint64_t i = 0; i < layers; ++i) {
    const std::string p = Cat("model.layers.", i, ".");
    t[p + "input_layernorm.weight"] = Counting({8}, 1);
    t[p + "post_attention_layernorm.weight"] = Counting({8}, 1);
    for (const char* name : {"q", "k", "v", "o"})
      t[Cat(p, "self_attn.", name, "_proj.weight")] = Counting({8, 8}, 2);
    t[p + "mlp.gate_proj.weight"] = Counting({6, 8}, 3);
    t[p + "mlp.up_proj.weight"] = Counting({6, 8}, 4);
    t[p + "mlp.down_proj.weight"] = Counting({8, 6}, 5);
  }
  return t;
}

constexpr const char* kLlamaConfig =
    R"("hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":2,"intermediate_size":6,)"
    R"("vocab_size":10,"max_position_embeddings":64,"rms_norm_eps":1e-5,"tie_word_embeddings":false)";

TEST(GptOssTest, FusedExpertsAreTurnedAndSplitByParity) {
  const uint64_t experts = 3, width = 8, ffn = 5;
  Tensors t = LlamaTensors(2, true);
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
  const testing::TempDir dir;
  WriteModel(
      dir.path(),
      Cat(R"({"architectures":["GptOssForCausalLM"],"head_dim":4,"num_local_experts":3,"num_experts_per_tok":2,)",
          R"("sliding_window":16,"rope_theta":150000,"rope_scaling":{"rope_type":"yarn","factor":8.0,)",
          R"("original_max_position_embeddings":64,"truncate":false},)",
          std::string(kLlamaConfig)
              .replace(std::string(kLlamaConfig).find("\"intermediate_size\":6"), 21,
                       "\"intermediate_size\":5"),
          "}"),
      t);
  auto opened = Open(dir.path());
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
  EXPECT_EQ(Read(source, "blk.1.ffn_gate_exps.weight"), gate);
  EXPECT_EQ(Read(source, "blk.1.ffn_up_exps.weight"), up);
  EXPECT_EQ(Read(source, "blk.1.ffn_gate_exps.bias"), gate_bias);
  EXPECT_EQ(Read(source, "blk.1.ffn_up_exps.bias"), up_bias);
  EXPECT_EQ(Read(source, "blk.1.ffn_down_exps.weight"), down_turned);
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

struct ConfigCase {
  std::string name, architecture, extra;
  std::string refused;  ///< part of the error's sentence; empty = accepted
};
void PrintTo(const ConfigCase& c, std::ostream* out) { *out << c.name; }

class ConfigValues : public ::testing::TestWithParam<ConfigCase> {};

TEST_P(ConfigValues, AreHonouredOrRefusedByName) {
  const testing::TempDir dir;
  WriteModel(dir.path(),
             Cat(R"({"architectures":[")", GetParam().architecture, "\"],", GetParam().extra,
                 kLlamaConfig, "}"),
             LlamaTensors(2, true));
  auto opened = Open(dir.path());
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
        ConfigCase{"mxfp4", "GptOssForCausalLM",
                   R"("quantization_config":{"quant_method":"mxfp4"},)", "mxfp4"},
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
        ConfigCase{"quantized", "LlamaForCausalLM",
                   R"("quantization_config":{"quant_method":"gptq"},)", "gptq"},
        ConfigCase{"mistral_bias", "MistralForCausalLM", R"("attention_bias":true,)",
                   "attention_bias"},
        ConfigCase{"mistral_no_window", "MistralForCausalLM", R"("sliding_window":null,)", ""}),
    [](const auto& info) { return info.param.name; });

TEST(WindowTest, AbsentNullAndGiven) {
  const std::vector<std::pair<std::string, uint64_t>> cases = {
      {"", 4096}, {R"("sliding_window":null,)", 0}, {R"("sliding_window":7,)", 7}};
  for (const auto& [extra, window] : cases) {
    const testing::TempDir dir;
    WriteModel(dir.path(),
               Cat(R"({"architectures":["MistralForCausalLM"],)", extra, kLlamaConfig, "}"),
               LlamaTensors(2, true));
    auto opened = Open(dir.path());
    SMELT_ASSERT_OK(opened);
    auto spec = ReadModelSpec(*opened->source);
    SMELT_ASSERT_OK(spec);
    EXPECT_EQ(std::get<Attention>(spec->layers[1].mixer).window, window) << extra;
  }
}

std::string Tied(const std::string& architecture) {
  std::string config = kLlamaConfig;
  config.replace(config.find("embeddings\":false"), 17, "embeddings\":true");
  return Cat(R"({"architectures":[")", architecture, R"("],"head_dim":4,)", config, "}");
}

// transformers 5 ties only where the files do not hold two matrices of different values.
TEST(TiedEmbeddingsTest, AStoredOutputMatrixOfOtherValuesIsUsed) {
  for (const char* architecture : {"LlamaForCausalLM", "MistralForCausalLM"}) {
    const testing::TempDir dir;
    const Tensors t = LlamaTensors(2, true);
    WriteModel(dir.path(), Tied(architecture), t);
    auto opened = Open(dir.path());
    SMELT_ASSERT_OK(opened);
    EXPECT_EQ(Read(*opened->source, "output.weight"), t.at("lm_head.weight").values);
    EXPECT_EQ(Read(*opened->source, "token_embd.weight"), t.at("model.embed_tokens.weight").values);
    EXPECT_TRUE(std::ranges::any_of(opened->notes, [](const std::string& note) {
      return note.find("lm_head.weight holds other values") != std::string::npos;
    }));
  }
}

TEST(TiedEmbeddingsTest, ACopyOfTheEmbeddingIsLeftOut) {
  const testing::TempDir dir;
  Tensors t = LlamaTensors(2, false);
  t["lm_head.weight"] = t["model.embed_tokens.weight"];
  WriteModel(dir.path(), Tied("LlamaForCausalLM"), t);
  auto opened = Open(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(opened->source->Find("output.weight"), -1);
  EXPECT_TRUE(opened->notes.empty());
}

TEST(TiedEmbeddingsTest, OneMatrixUnderTheOutputsNameIsTheEmbeddingToo) {
  const testing::TempDir dir;
  Tensors t = LlamaTensors(2, true);
  t.erase("model.embed_tokens.weight");
  WriteModel(dir.path(), Tied("LlamaForCausalLM"), t);
  auto opened = Open(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(opened->source->Find("output.weight"), -1);
  EXPECT_EQ(Read(*opened->source, "token_embd.weight"), t.at("lm_head.weight").values);
}

TEST(TiedEmbeddingsTest, GemmaOneHasNoPlaceForAnOutputMatrix) {
  const testing::TempDir dir;
  WriteModel(dir.path(), Tied("GemmaForCausalLM"), LlamaTensors(2, true));
  auto opened = Open(dir.path());
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(std::string(opened.status().message()).find("lm_head.weight holds other values"),
            std::string::npos)
      << opened.status().message();
}

TEST(TiedEmbeddingsTest, GemmaThreeWithAnOutputMatrix) {
  for (const bool tied : {true, false}) {
    const testing::TempDir dir;
    Tensors t = LlamaTensors(2, true);
    for (int i = 0; i < 2; ++i) {
      const std::string p = Cat("model.layers.", i, ".");
      for (const char* norm : {"pre_feedforward_layernorm", "post_feedforward_layernorm"})
        t[Cat(p, norm, ".weight")] = Counting({8}, 1);
      for (const char* norm : {"q_norm", "k_norm"})
        t[Cat(p, "self_attn.", norm, ".weight")] = Counting({4}, 1);
    }
    std::string config = Tied("Gemma3ForCausalLM");
    if (!tied) config.replace(config.find("embeddings\":true"), 16, "embeddings\":false");
    WriteModel(dir.path(), config, t);
    auto opened = Open(dir.path());
    SMELT_ASSERT_OK(opened);
    EXPECT_EQ(Read(*opened->source, "output.weight"), t.at("lm_head.weight").values);
    SMELT_EXPECT_OK(ReadModelSpec(*opened->source));
  }
}

}  // namespace
}  // namespace smelt
