// What stands beside the weights and says what they are: adapters, classes, token ids, modules of
// sentence-transformers; and counts of experts that contradict each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "lib/model/adapter.h"
#include "lib/model/layer_spec.h"
#include "lib/model/sentence_modules.h"
#include "lib/model/token_ids.h"
#include "lib/text/gguf/generation_ends.h"
#include "lib/text/tokenizer.h"
#include "tests/model/edited_source.h"
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

TEST(FamilyChoiceTest, ByModelTypeWhereArchitecturesAreMissing) {
  for (const char* more :
       {R"("model_type":"llama",)", R"("model_type":"llama","architectures":null,)",
        R"("model_type":"mistral","architectures":[],)"}) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(), LlamaConfig(more), LlamaTensors(2, true));
    SMELT_EXPECT_OK(testing::OpenFolder(dir.path()));
  }
}

TEST(FamilyChoiceTest, WrappersAreLookedThrough) {
  for (const char* name :
       {"FSDPLlamaForCausalLM", "LlamaForCausalLMWithValueHead", "PeftModelForCausalLM",
        "PeftModel", "AutoModelForCausalLM", "AutoModelForCausalLMWithValueHead",
        "FullyShardedDataParallel", "DistributedDataParallel", "OptimizedModule",
        "FSDPPeftModelForCausalLM", "DeepSpeedEngine", "PreTrainedModel"}) {
    const testing::TempDir dir;
    testing::WriteFolder(
        dir.path(), LlamaConfig(Cat(R"("model_type":"llama","architectures":[")", name, R"("],)")),
        LlamaTensors(2, true));
    auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    EXPECT_TRUE(Says(opened->notes, name) && Says(opened->notes, "read as LlamaForCausalLM"));
  }
  // Another purpose, another model inside of the same type's, another type, no type.
  for (const char* more :
       {R"("model_type":"llama","architectures":["PeftModelForSequenceClassification"],)",
        R"("model_type":"llama","architectures":["LlamaForCausalLMEagle3"],)",
        R"("model_type":"llama","architectures":["SparseLlamaForCausalLM"],)",
        R"("model_type":"llama","architectures":["FSDPQwen2ForCausalLM"],)",
        R"("model_type":"xyz","architectures":["PeftModelForCausalLM"],)",
        R"("architectures":["PeftModelForCausalLM"],)"}) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(), LlamaConfig(more), LlamaTensors(2, true));
    ExpectRefused(testing::OpenFolder(dir.path()), {"is not supported", "smelt families"});
  }
}

TEST(FamilyChoiceTest, UnknownOnesAreNamedWithTheNearest) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("architectures":["LlamaForSequenceClassification"],)", "LlamaForCausalLM"},
      {R"("architectures":["Qwen3VLForConditionalGenerating"],)",
       "Qwen3VLForConditionalGeneration"},
      {R"("model_type":"mixtrel",)", "mixtral"}};
  for (const auto& [more, nearest] : cases) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(), LlamaConfig(more), LlamaTensors(2, true));
    ExpectRefused(testing::OpenFolder(dir.path()), {nearest, "smelt families"});
  }
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(), LlamaConfig(""), LlamaTensors(2, true));
  ExpectRefused(testing::OpenFolder(dir.path()), {"architectures", "model_type"});
}

TEST(FamilyChoiceTest, ATextPartThatIsNotKnownIsNamed) {
  const std::pair<std::string, std::string> cases[] = {
      {R"(,"text_config":{"model_type":"mistral9"})", "text_config has model_type mistral9"},
      {"", "text_config is missing"}};
  for (const auto& [part, said] : cases) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(),
                         Cat(R"({"architectures":["Mistral3ForConditionalGeneration"])", part, "}"),
                         LlamaTensors(2, true));
    ExpectRefused(testing::OpenFolder(dir.path()),
                  {said, "known are mistral, ministral3, mistral4"});
  }
  // Without one it is a Mistral, as to transformers.
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(),
                       Cat(R"({"architectures":["Mistral3ForConditionalGeneration"],)",
                           R"("tie_word_embeddings":false,"text_config":)", LlamaConfig(""), "}"),
                       LlamaTensors(2, true));
  SMELT_EXPECT_OK(testing::OpenFolder(dir.path()));
}

// Names that the same classes had in other versions, of the model without its head, and of the text
// part alone.
TEST(FamilyChoiceTest, OtherPublishedNames) {
  for (const char* name :
       {"LFM2ForCausalLM", "GPTBigCodeLMHeadModel", "StableLMEpochForCausalLM", "Qwen2VLModel",
        "Qwen2_5_VLModel", "Qwen3VLModel", "Qwen3VLMoeModel", "Qwen3_5Model", "Qwen3_5MoeModel",
        "Gemma4Model", "Mistral3Model", "Ministral3ForCausalLM", "Ministral3Model"}) {
    const testing::TempDir dir;
    testing::WriteFolder(
        dir.path(),
        Cat(R"({"architectures":[")", name, R"("],"text_config":{"model_type":"ministral3"}})"),
        LlamaTensors(2, true));
    const auto opened = testing::OpenFolder(dir.path());
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(std::string(opened.status().message()).find("is not supported"), std::string::npos)
        << name << ": " << opened.status();
  }
}

// Models that are published for their vectors lack the output matrix that their configurations
// speak of (Qwen3-Embedding-8B, E5-Mistral).
TEST(VectorModelsTest, NeedNoOutputMatrix) {
  const auto open = [](std::string_view name, bool modules) {
    const testing::TempDir dir;
    testing::WriteFolder(dir.path(), LlamaConfig(Cat(R"("architectures":[")", name, R"("],)")),
                         LlamaTensors(2, false));
    if (modules) testing::WriteFile(dir.path() + "/modules.json", "[]");
    return testing::OpenFolder(dir.path());
  };
  for (const auto& [name, modules] :
       {std::pair("MistralModel", false), {"LlamaModel", false}, {"LlamaForCausalLM", true}}) {
    const auto opened = open(name, modules);
    SMELT_ASSERT_OK(opened);
    EXPECT_LT(opened->source->Find("output.weight"), 0);
    EXPECT_TRUE(Says(opened->notes, "no output matrix (lm_head.weight) is stored")) << name;
  }
  ExpectRefused(open("LlamaForCausalLM", false), {"lm_head.weight (output.weight) is missing"});
}

// Parts that have no say in ordinary text are left out of every family, and a note says how much
// that is. Draft heads lie behind the last layer (DeepSeek), or under names of their own.
TEST(LeftOutTest, ANoteSaysHowMuch) {
  struct Case {
    std::string architecture, tensor, said;
  };
  const Case cases[] = {
      {"LlamaForCausalLM", "mtp.layers.0.input_layernorm.weight", "the draft head"},
      {"Ernie4_5ForCausalLM", "model.mtp_block.0.input_layernorm.weight", "the draft head"},
      {"Ernie4_5ForCausalLM", "model.mtp_emb_norm.0.weight", "the draft head"},
      {"Ernie4_5ForCausalLM", "model.mtp_linear_proj.0.weight", "the draft head"},
      {"LlamaForCausalLM", "vision_tower.blocks.0.attn.weight", "only the text part"},
      {"LlamaForCausalLM", "model.audio_tower.conv.weight", "only the text part"},
      {"LlamaForCausalLM", "v_head.summary.weight", "a head that gives texts a value"}};
  for (const Case& c : cases) {
    FolderTensors t = LlamaTensors(2, true);
    t[c.tensor] = Counting({40, 30}, 1);
    t[c.tensor].dtype = "BF16";
    t[c.tensor + "_2"] = Counting({8}, 1);
    const testing::TempDir dir;
    testing::WriteFolder(
        dir.path(),
        LlamaConfig(Cat(R"("head_dim":4,"architectures":[")", c.architecture, R"("],)")), t);
    const auto opened = testing::OpenFolder(dir.path());
    SMELT_ASSERT_OK(opened);
    const std::string amount =
        Cat("left out are ", c.tensor, " and 1 more (1.21 K parameters, 2.43 kB)");
    EXPECT_TRUE(Says(opened->notes, c.said) && Says(opened->notes, amount)) << c.tensor;
    OpenOptions options;
    options.vocabulary = false;
    options.keep_draft = true;
    const auto kept = OpenModel(dir.path(), options);
    EXPECT_EQ(kept.ok(), c.said != "the draft head") << c.tensor;
    if (!kept.ok()) ExpectRefused(kept, {"has no place for the draft head", "--mtp drop"});
  }
  FolderTensors t = LlamaTensors(3, true);  // one layer more than the configuration says
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(), LlamaConfig(R"("architectures":["LlamaForCausalLM"],)"), t);
  ExpectRefused(testing::OpenFolder(dir.path()), {"model.layers.2."});
}

TEST(AdapterTest, IsNamedWithItsBase) {
  struct Case {
    std::string file, config;
    std::vector<std::string_view> said;
  };
  const std::vector<Case> cases = {
      {"adapter_model.safetensors",
       R"({"peft_type":"LORA","base_model_name_or_path":"acme/base-7b"})",
       {"LoRA", "acme/base-7b", "base"}},
      {"adapters.safetensors",
       R"({"fine_tune_type":"lora","model":"mlx/base"})",
       {"LoRA", "mlx/base", "mlx_lm.fuse"}},
      {"adapter_model.safetensors", R"({"peft_type":"IA3"})", {"IA3", "adapter"}},
      {"adapter_model.bin", "", {"LoRA"}},
  };
  for (const Case& c : cases) {
    for (const bool with_config : {false, true}) {
      const testing::TempDir dir;
      testing::WriteFolder(dir.path(), LlamaConfig(R"("architectures":["LlamaForCausalLM"],)"),
                           {{"lora_A", Counting({2, 8}, 1)}});
      fs::rename(fs::path(dir.path()) / "model.safetensors", fs::path(dir.path()) / c.file);
      if (!with_config)
        fs::rename(fs::path(dir.path()) / "config.json", fs::path(dir.path()) / "x");
      if (!c.config.empty()) testing::WriteFile(dir.path() + "/adapter_config.json", c.config);
      ExpectRefused(testing::OpenFolder(dir.path()), c.said);
    }
  }
}

// Some other file beside an adapter makes no model of its folder, which nothing describes.
TEST(AdapterTest, AnotherFileIsNoWholeModel) {
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(), LlamaConfig(R"("architectures":["LlamaForCausalLM"],)"),
                       {{"logits", Counting({2, 8}, 1)}});
  fs::rename(dir / "model.safetensors", dir / "logits.safetensors");
  testing::WriteFile(dir / "adapter_model.safetensors", "x");
  testing::WriteFile(dir / "adapter_config.json", R"({"peft_type":"LORA"})");
  fs::rename(dir / "config.json", dir / "description.json");
  EXPECT_TRUE(HoldsOnlyAdapter(dir.path()));
}

TEST(AdapterTest, BesideWholeWeightsItIsNoted) {
  const testing::TempDir dir;
  testing::WriteFolder(dir.path(), LlamaConfig(R"("architectures":["LlamaForCausalLM"],)"),
                       LlamaTensors(2, true));
  testing::WriteFile(dir.path() + "/adapter_config.json", R"({"peft_type":"LORA"})");
  auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  EXPECT_TRUE(Says(opened->notes, "LoRA adapter lies beside the weights"));
}

TEST(TokenIdsTest, WhatIsNoIdIsNamedAndNotUsed) {
  auto config = smelt::Config::Parse(
      R"({"bos_token_id":"<s>","eos_token_id":[5,99,"</s>"],"pad_token_id":-1,"unk_token_id":2.5,)"
      R"("sep_token_id":null,"mask_token_id":9})",
      "config.json");
  SMELT_ASSERT_OK(config);
  std::vector<std::string> notes;
  const auto read = ReadTokenIds(*config, nullptr, 10, nullptr, notes);
  SMELT_ASSERT_OK(read);
  const TokenIds& ids = *read;
  EXPECT_FALSE(ids.named.bos || ids.named.padding || ids.named.unknown || ids.named.separator);
  EXPECT_EQ(ids.named.eos, 5);
  EXPECT_EQ(ids.named.mask, 9);
  EXPECT_EQ(ids.ends, (std::vector<int64_t>{5}));
  EXPECT_EQ(notes.size(), 5u);
  for (const char* said : {"bos_token_id is \"<s>\"", "eos_token_id is 99",
                           "eos_token_id is \"</s>\"", "pad_token_id is -1", "unk_token_id is 2.5"})
    EXPECT_TRUE(Says(notes, said)) << said;

  auto generation = ParseJsonValue(R"({"eos_token_id":[3,4,1000]})", "generation_config.json");
  SMELT_ASSERT_OK(generation);
  notes.clear();
  EXPECT_EQ(ReadTokenIds(*config, &*generation, 10, nullptr, notes)->ends,
            (std::vector<int64_t>{3, 4}));
  EXPECT_TRUE(Says(notes, "generation_config.json: eos_token_id is 1000"));
}

// <new> has the id behind the embedding's last row.
TEST(TokenIdsTest, ABoundaryWithoutARowIsRefused) {
  const testing::TempDir dir;
  fs::copy_file(testing::TestdataPath("tokenizers-small/bl-nfc-split/tokenizer.json"),
                dir.path() + "/tokenizer.json");
  const auto plain = OpenPublishedTokenizer(dir.path());
  SMELT_ASSERT_OK(plain);
  const uint64_t rows = (*plain)->size();
  testing::WriteFile(dir.path() + "/added_tokens.json", Cat(R"({"<new>":)", rows, "}"));
  const auto tokenizer = OpenPublishedTokenizer(dir.path(), rows);
  SMELT_ASSERT_OK(tokenizer);
  const auto parse = [](const std::string& text, const char* file) {
    return smelt::Config::Parse(text, file);
  };
  for (const char* key : {"bos_token_id", "eos_token_id", "eot_token_id", "pad_token_id"}) {
    const bool boundary = key[0] != 'p';
    for (const std::string& value : {Cat(rows), Cat("[1,", rows, "]")}) {
      const std::string text = Cat(R"({")", key, R"(":)", value, "}");
      const auto config = parse(text, "config.json"), empty = parse("{}", "config.json");
      SMELT_ASSERT_OK(config);
      const auto generation = ParseJsonValue(text, "generation_config.json");
      SMELT_ASSERT_OK(generation);
      for (const bool by_config : {true, false}) {
        std::vector<std::string> notes;
        const auto ids =
            ReadTokenIds(by_config ? *config : *empty, by_config ? nullptr : &*generation, rows,
                         tokenizer->get(), notes);
        ASSERT_EQ(ids.ok(), !boundary) << text << ids.status();
        if (!boundary) continue;
        const std::string sentence(ids.status().message());
        for (std::string_view said :
             {std::string_view(by_config ? "config.json" : "generation_config.json"),
              std::string_view(key), std::string_view("<new>")})
          EXPECT_NE(sentence.find(said), std::string::npos) << sentence;
      }
    }
  }
}

/// A vocabulary of control tokens t0 to t7, end token 1.
Metadata Vocabulary() {
  Metadata out;
  std::vector<std::string> tokens;
  for (int i = 0; i < 8; ++i) tokens.push_back(i == 6 ? "<|im_end|>" : Cat("<t", i, ">"));
  out.Set("tokenizer.ggml.model", "gpt2");
  out.Set("tokenizer.ggml.pre", "gpt-2");
  out.Set("tokenizer.ggml.tokens", tokens);
  out.Set("tokenizer.ggml.token_type", std::vector<int32_t>(8, 3));
  out.Set("tokenizer.ggml.merges", std::vector<std::string>());
  out.Set("tokenizer.ggml.eos_token_id", uint32_t{1});
  return out;
}

TEST(GenerationEndsTest, GoWhereReadersLookForThem) {
  Metadata out = Vocabulary();
  std::vector<std::string> notes;
  const std::vector<int64_t> two = {1, 6, 3, 3};  // the end token itself, one known by its text
  SMELT_ASSERT_OK(WriteGenerationEnds(two, out, notes));
  EXPECT_EQ(out.Find("tokenizer.ggml.eot_token_id")->AsUint(), 3u);
  EXPECT_FALSE(out.Has("tokenizer.ggml.eom_token_id"));
  EXPECT_TRUE(notes.empty());

  const std::vector<int64_t> many = {3, 4, 5, 7};
  SMELT_ASSERT_OK(WriteGenerationEnds(many, out, notes));
  EXPECT_EQ(out.Find("tokenizer.ggml.eom_token_id")->AsUint(), 4u);
  EXPECT_TRUE(Says(notes, "5, 7"));
  auto tokenizer = GgufTokenizer(out);
  SMELT_ASSERT_OK(tokenizer);
  for (int32_t id = 0; id < 8; ++id)
    EXPECT_EQ((*tokenizer)->ends_generation(id), id != 0 && id != 2) << id;

  out.Set("smelt.tokenizer.end_token_ids", std::vector<int32_t>{8});
  EXPECT_FALSE(GgufTokenizer(out).ok());
}

/// A folder of testdata with another generation_config.json, run in place or converted: the same
/// keys.
TEST(GenerationEndsTest, OfAFolder) {
  const testing::TempDir dir;
  fs::copy(testing::TestdataPath("models/llama"), dir.path(),
           fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  const std::string file = dir.path() + "/generation_config.json";
  fs::remove(file);
  testing::WriteFile(file, R"({"eos_token_id":[601,605,602]})");
  auto opened = OpenModel(dir.path());
  SMELT_ASSERT_OK(opened);
  auto tokenizer = GgufTokenizer(opened->source->metadata());
  SMELT_ASSERT_OK(tokenizer);
  for (int32_t id : {601, 602, 605, 604}) EXPECT_TRUE((*tokenizer)->ends_generation(id)) << id;
  EXPECT_FALSE((*tokenizer)->ends_generation(600));
}

SentenceModules Modules(const std::string& list, const std::string& pooling) {
  return ReadSentenceModules([&](const std::string& name) -> std::optional<std::string> {
    if (name == "modules.json") return list;
    if (name == "1_Pooling/config.json") return pooling;
    return std::nullopt;
  });
}

TEST(SentenceModulesTest, ThePoolingTypeIsLlamaCppsNumber) {
  const std::string list =
      R"([{"path":"","type":"sentence_transformers.models.Transformer"},)"
      R"({"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},)"
      R"({"path":"2_Normalize","type":"sentence_transformers.models.Normalize"}])";
  const std::vector<std::pair<std::string, std::optional<uint32_t>>> cases = {
      {R"({"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":false})", 1},
      {R"({"pooling_mode_cls_token":true})", 2},
      {R"({"pooling_mode":"lasttoken"})", 3},
      {R"({"pooling_mode":["mean"]})", 1},
      {R"({"word_embedding_dimension":8})", 1},
      {R"({"pooling_mode_max_tokens":true})", std::nullopt},
      {R"({"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true})", std::nullopt},
      {"[", std::nullopt}};
  for (const auto& [pooling, type] : cases) {
    const SentenceModules modules = Modules(list, pooling);
    EXPECT_EQ(modules.pooling_type, type) << pooling;
    EXPECT_EQ(modules.notes.empty(), type.has_value()) << pooling;
  }
  const SentenceModules dense =
      Modules(R"([{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},)"
              R"({"path":"2_Dense","type":"sentence_transformers.models.Dense.Dense"}])",
              R"({"pooling_mode":"cls"})");
  EXPECT_EQ(dense.pooling_type, 2u);
  EXPECT_TRUE(Says(dense.notes, "Dense (2_Dense)"));
  const SentenceModules outside =
      Modules(R"([{"path":"../1_Pooling","type":"x.Pooling"}])", R"({"pooling_mode":"cls"})");
  EXPECT_FALSE(outside.pooling_type);
}

TEST(ExpertCountsTest, ContradictionsAreSentences) {
  FolderTensors t = LlamaTensors(2, true);
  std::erase_if(t, [](const auto& e) { return e.first.find(".mlp.") != std::string::npos; });
  for (int i = 0; i < 2; ++i) {
    const std::string p = Cat("model.layers.", i, ".mlp.");
    t[p + "gate.weight"] = Counting({3, 8}, 1);
    t[p + "experts.gate_up_proj"] = Counting({3, 12, 8}, 1);
    t[p + "experts.down_proj"] = Counting({3, 8, 6}, 1);
  }
  const testing::TempDir dir;
  testing::WriteFolder(
      dir.path(), LlamaConfig(R"("architectures":["MixtralForCausalLM"],"num_local_experts":3,)"),
      t);
  auto opened = testing::OpenFolder(dir.path());
  SMELT_ASSERT_OK(opened);
  SMELT_EXPECT_OK(ReadModelSpec(*opened->source));
  struct Case {
    uint32_t count, used;
    std::string said;
  };
  for (const Case& c :
       {Case{3, 4, "llama.expert_used_count is 4"}, Case{3, 0, "expert_used_count is 0"},
        Case{4, 2, "expert_count is 4"}, Case{2, 2, "expert_count is 2"},
        Case{0, 0, "llama.expert_count is 0 or missing"},
        Case{70000, 2, "llama.expert_count is 70000"}}) {
    Metadata metadata = opened->source->metadata();
    metadata.Set("llama.expert_count", c.count);
    metadata.Set("llama.expert_used_count", c.used);
    const absl::StatusOr<ModelSpec> spec =
        ReadModelSpec(testing::Edited(*opened->source, metadata));
    ASSERT_FALSE(spec.ok()) << c.said;
    EXPECT_NE(spec.status().message().find(c.said), std::string::npos) << spec.status().message();
  }
}

}  // namespace
}  // namespace smelt
