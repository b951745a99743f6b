// What the makers' own layouts leave open, and folders that mix them with others.
#include <gmock/gmock.h>

#include <filesystem>
#include <string>

#include "formats/quantized/stored_matrix.h"
#include "formats/weights_directory.h"
#include "lib/base/cat.h"
#include "lib/model/open.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::TestdataPath;

void Copy(const std::string& model, const TempDir& to) {
  fs::copy(TestdataPath("models/" + model), to.path(),
           fs::copy_options::recursive | fs::copy_options::overwrite_existing);
}

double Number(const OpenedModel& opened, std::string_view key) {
  const MetadataValue* value = opened.source->metadata().Find(key);
  return value == nullptr ? -1 : value->FloatAt(0).value_or(-1);
}

TEST(ParamsJson, AssumptionsAreSaid) {
  const auto opened = OpenModel(TestdataPath("models/llama-meta"));
  SMELT_ASSERT_OK(opened);
  EXPECT_THAT(opened->notes, Contains(HasSubstr("4096 is assumed")));
  EXPECT_EQ(Number(*opened, "llama.context_length"), 4096);
}

TEST(ParamsJson, PartsOfDifferentModelsAreRefused) {
  const TempDir dir;
  Copy("llama-meta", dir);
  // data/1 is the first layer's norm: offset 76304, see the member's local header.
  std::string part = testing::ReadFile(dir / "consolidated.01.pth");
  const size_t member = part.find("consolidated.01/data/1");
  const size_t name_end = member + std::string("consolidated.01/data/1").size();
  const size_t extra = static_cast<unsigned char>(part[member - 2]) +
                       256u * static_cast<unsigned char>(part[member - 1]);
  part[name_end + extra] ^= 1;
  testing::WriteFile(dir / "consolidated.01.pth", part);
  EXPECT_THAT(OpenModel(dir.path()).status().message(), HasSubstr("differs between the parts"));
}

TEST(ParamsJson, AMissingPartIsNamed) {
  const TempDir dir;
  Copy("llama-meta", dir);
  fs::rename(dir / "consolidated.01.pth", dir / "consolidated.02.pth");
  EXPECT_THAT(OpenModel(dir.path()).status().message(), HasSubstr("consolidated.01.pth"));
}

TEST(ParamsJson, GroupsThatAreNotSaidMustFitTheUsualState) {
  SMELT_REQUIRE_SHARED();
  const TempDir dir;
  fs::copy(testing::SharedPath("fixtures/models/codestral-mamba"), dir.path(),
           fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  std::string params = testing::ReadFile(dir / "params.json");
  const std::string said = "\"n_groups\": 2,";
  ASSERT_NE(params.find(said), std::string::npos);
  params.erase(params.find(said), said.size());
  fs::remove(dir / "params.json");
  testing::WriteFile(dir / "params.json", params);
  EXPECT_THAT(OpenModel(dir.path()).status().message(), HasSubstr("n_groups is missing"));
}

TEST(ParamsJson, ParamsSpeaksForTheMakersWeights) {
  const TempDir dir;
  Copy("mistral-consolidated", dir);
  testing::WriteFile(dir / "config.json", R"({"architectures": ["MistralForCausalLM"]})");
  const auto opened = OpenModel(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(Number(*opened, "llama.embedding_length"), 128);
}

TEST(ParamsJson, MistralsRopeBaseWhereParamsHasNone) {
  const TempDir dir;
  Copy("mistral-consolidated", dir);
  const std::string start =
      R"({"dim": 128, "n_layers": 3, "head_dim": 32, "hidden_dim": 384, "n_heads": 4,)"
      R"( "n_kv_heads": 2, "norm_eps": 1e-5, "vocab_size": 640)";
  testing::WriteFile(dir / "params.json", start + "}");
  auto opened = OpenModel(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(Number(*opened, "llama.rope.freq_base"), 1e6);
  testing::WriteFile(dir / "params.json", start + R"(, "sliding_window": 9})");
  opened = OpenModel(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(Number(*opened, "llama.rope.freq_base"), 1e4);
}

/// Mistral's name of a tensor that a GGUF calls `name`: their rows lie alike.
std::string NativeName(std::string name) {
  const std::pair<std::string, std::string> kNames[] = {{"token_embd", "tok_embeddings"},
                                                        {"output_norm", "norm"},
                                                        {"blk.", "layers."},
                                                        {"attn_norm", "attention_norm"},
                                                        {"attn_q.", "attention.wq."},
                                                        {"attn_k.", "attention.wk."},
                                                        {"attn_v.", "attention.wv."},
                                                        {"attn_output", "attention.wo"},
                                                        {"ffn_gate", "feed_forward.w1"},
                                                        {"ffn_down", "feed_forward.w2"},
                                                        {"ffn_up", "feed_forward.w3"}};
  for (const auto& [ours, theirs] : kNames) {
    const size_t at = name.find(ours);
    if (at != std::string::npos) name.replace(at, ours.size(), theirs);
  }
  return name;
}

/// The recorded Ministral 3 as Mistral publishes one, with `more` in its params.json.
void WriteMinistral3(const TempDir& dir, const std::string& more) {
  const auto opened = testing::OpenFolder(testing::SharedPath("fixtures/models/ministral3"));
  SMELT_ASSERT_OK(opened);
  testing::FolderTensors tensors;
  for (const TensorInfo& info : opened->source->tensors()) {
    testing::FolderTensor& tensor = tensors[NativeName(info.name)];
    tensor.values = testing::ReadTensor(*opened->source, info.name);
    tensor.shape = {info.shape.ne[0]};
    if (info.shape.dims == 2) tensor.shape.insert(tensor.shape.begin(), info.shape.ne[1]);
    tensor.dtype = "BF16";
  }
  tensors["vision_encoder.ln_pre.weight"] = testing::Counting({16}, 1);
  testing::WriteFolder(dir.path(), "{}", tensors);
  fs::remove(dir / "config.json");
  fs::rename(dir / "model.safetensors", dir / "consolidated.safetensors");
  testing::WriteFile(
      dir / "params.json",
      Cat(R"({"dim":96,"n_layers":4,"head_dim":32,"hidden_dim":160,"n_heads":5,"n_kv_heads":1,)",
          R"("rope_theta":1000000.0,"norm_eps":1e-05,"vocab_size":530,"tied_embeddings":false,)",
          R"("max_position_embeddings":2048,"q_lora_rank":null,"vision_encoder":{"hidden_size":16})",
          more, "}"));
}

constexpr char kYarn[] =
    R"(,"yarn":{"original_max_position_embeddings":24,"factor":8.0,"apply_scale":false,)"
    R"("beta":32.0,"alpha":1.0})";
constexpr char kScaling[] =
    R"(,"llama_4_scaling":{"original_max_position_embeddings":24,"beta":0.3})";

TEST(ParamsJson, Ministral3IsWhatItsFolderIs) {
  SMELT_REQUIRE_SHARED();
  const TempDir dir;
  WriteMinistral3(dir, Cat(kYarn, kScaling, R"(,"quantization":null)"));
  const auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  const std::string folder = testing::SharedPath("fixtures/models/ministral3");
  testing::CompareTensors(*opened->source, folder);
  testing::CompareKeys(opened->source->metadata(), folder, "mistral3.");
  EXPECT_THAT(opened->notes, Contains(HasSubstr("only the text part of this model is used")));
}

/// Mistral's name of a tensor of transformers' Mistral 4.
std::string Mistral4Name(std::string name) {
  const std::pair<std::string, std::string> kNames[] = {
      {"model.", ""},
      {"embed_tokens", "tok_embeddings"},
      {"lm_head", "output"},
      {"input_layernorm", "attention_norm"},
      {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.kv_a_proj_with_mqa", "attention.wkv_a_with_mqa"},
      {"self_attn.kv_b_proj", "attention.wkv_b"},
      {"self_attn.q_a_proj", "attention.wq_a"},
      {"self_attn.q_b_proj", "attention.wq_b"},
      {"self_attn.o_proj", "attention.wo"},
      {"self_attn.q_a_layernorm", "attention.q_a_norm"},
      {"self_attn.kv_a_layernorm", "attention.kv_a_norm"},
      {"mlp.", ""},
      {"gate_proj", "w1"},
      {"down_proj", "w2"},
      {"up_proj", "w3"}};
  for (const auto& [theirs, own] : kNames) {
    const size_t at = name.find(theirs);
    if (at != std::string::npos) name.replace(at, theirs.size(), own);
  }
  return name;
}

/// The recorded Mistral 4 as Mistral publishes one.
void WriteMistral4(const TempDir& dir, const std::string& more) {
  const auto container = OpenWeights(TestdataPath("models/mistral4"));
  SMELT_ASSERT_OK(container);
  testing::FolderTensors tensors;
  for (const RawTensor& raw : container->tensors) {
    const auto values = ReadAllFloats(raw, 1 << 24);
    SMELT_ASSERT_OK(values);
    if (raw.shape.size() < 3) {
      tensors[Mistral4Name(raw.name)] = {raw.shape, *values, "BF16"};
      continue;
    }
    const bool fused = raw.name.find("gate_up_proj") != std::string::npos;
    const std::string layer = raw.name.substr(0, raw.name.find(".mlp."));
    const uint64_t parts = fused ? 2 : 1, rows = raw.shape[1] / parts, columns = raw.shape[2];
    for (uint64_t i = 0; i < raw.shape[0] * parts; ++i) {
      const auto first = values->begin() + static_cast<std::ptrdiff_t>(i * rows * columns);
      tensors[Mistral4Name(Cat(layer, ".experts.", i / parts,
                               !fused       ? ".w2"
                               : i % 2 == 0 ? ".w1"
                                            : ".w3",
                               ".weight"))] = {
          {rows, columns}, {first, first + static_cast<std::ptrdiff_t>(rows * columns)}, "BF16"};
    }
  }
  testing::WriteFolder(dir.path(), "{}", tensors);
  fs::remove(dir / "config.json");
  fs::rename(dir / "model.safetensors", dir / "consolidated.safetensors");
  testing::WriteFile(
      dir / "params.json",
      Cat(R"({"dim":60,"n_layers":3,"head_dim":26,"hidden_dim":84,"n_heads":3,"n_kv_heads":3,)",
          R"("rope_theta":10000.0,"norm_eps":1e-6,"vocab_size":265,"max_position_embeddings":512,)",
          R"("q_lora_rank":24,"kv_lora_rank":32,"qk_nope_head_dim":14,"qk_rope_head_dim":12,)",
          R"("v_head_dim":26,"yarn":{"original_max_position_embeddings":24,"factor":16.0,)",
          R"("apply_scale":false,"beta":32.0,"alpha":1.0},"llama_4_scaling":)",
          R"({"original_max_position_embeddings":24,"beta":0.3},"moe":{"num_experts":5,)",
          R"("num_experts_per_tok":2,"expert_hidden_dim":20,"first_k_dense_replace":0,)",
          R"("num_shared_experts":1,"routed_scale":1.0,"num_expert_groups_per_tok":1)", more,
          "}}"));
}

TEST(ParamsJson, MistralSmall4IsWhatItsFolderIs) {
  const TempDir dir;
  WriteMistral4(dir, R"(,"num_expert_groups":1,"route_every_n":1)");
  const auto own = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(own);
  const auto published = testing::OpenFolder(TestdataPath("models/mistral4"));
  SMELT_ASSERT_OK(published);
  ASSERT_EQ(own->source->tensors().size(), published->source->tensors().size());
  for (const TensorInfo& info : published->source->tensors()) {
    EXPECT_EQ(testing::ReadTensor(*own->source, info.name),
              testing::ReadTensor(*published->source, info.name))
        << info.name;
  }
  for (const Metadata::Entry& entry : published->source->metadata().entries()) {
    if (!entry.key.starts_with("mistral4.")) continue;
    const MetadataValue* value = own->source->metadata().Find(entry.key);
    ASSERT_NE(value, nullptr) << entry.key;
    EXPECT_TRUE(*value == entry.value) << entry.key;
  }
  WriteMistral4(dir, R"(,"num_expert_groups":2)");
  EXPECT_THAT(testing::OpenFolder(dir.path()).status().message(), HasSubstr("num_expert_groups"));
}

TEST(ParamsJson, Ministral3sLengthsAgree) {
  SMELT_REQUIRE_SHARED();
  const TempDir dir;
  WriteMinistral3(
      dir, Cat(kYarn, R"(,"llama_4_scaling":{"original_max_position_embeddings":25,"beta":0.3})"));
  EXPECT_THAT(testing::OpenFolder(dir.path()).status().message(),
              HasSubstr("original_max_position_embeddings 25, but yarn has 24"));
  const TempDir without;
  WriteMinistral3(without, Cat(kYarn, R"(,"llama_4_scaling":{"beta":0.3})"));
  EXPECT_THAT(testing::OpenFolder(without.path()).status().message(),
              HasSubstr("llama_4_scaling lacks beta or original_max_position_embeddings"));
}

// Llama 3's code, where use_scaled_rope came from, has 500000 as its default, Llama 2's 10000.
TEST(ParamsJson, MetasRopeBaseWhereParamsHasNone) {
  const TempDir dir;
  Copy("llama-meta", dir);
  const std::string start = testing::ReadFile(dir / "params.json");
  ASSERT_EQ(start.find("rope_theta"), std::string::npos);
  const std::string rest = start.substr(0, start.rfind('}'));
  auto opened = OpenModel(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(Number(*opened, "llama.rope.freq_base"), 1e4);
  testing::WriteFile(dir / "params.json", rest + R"(, "use_scaled_rope": false})");
  opened = OpenModel(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(Number(*opened, "llama.rope.freq_base"), 5e5);
}

TEST(ParamsJson, WhatWasLeftAsideIsSaid) {
  const auto opened = OpenModel(TestdataPath("models/llama-pth"));
  SMELT_ASSERT_OK(opened);
  EXPECT_THAT(opened->notes, Contains(HasSubstr("left aside")));
  const TempDir dir;
  Copy("llama-pt", dir);
  Copy("llama-q-base", dir);
  const auto both = OpenModel(dir.path());
  SMELT_ASSERT_OK(both);
  EXPECT_THAT(both->notes, Contains(HasSubstr("pytorch_model.bin.index.json is left aside")));
}

}  // namespace
}  // namespace smelt
