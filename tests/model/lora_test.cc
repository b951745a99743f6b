// Adapters merged into their base, against what peft's merge_and_unload gives (testdata/lora), and
// such as cannot be merged.
#include "lib/model/lora.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <tuple>

#include "lib/base/status.h"
#include "lib/model/lora_file.h"
#include "lib/model/open.h"
#include "tests/model/fixture_models.h"
#include "tests/model/golden_model.h"
#include "tests/model/recorded_adapters.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using testing::Counting;
using testing::FolderTensor;
using testing::FolderTensors;
using testing::kLlamaConfig;
using testing::LlamaTensors;

class RecordedAdapters : public ::testing::TestWithParam<const char*> {};

TEST_P(RecordedAdapters, GiveWhatPeftMerges) {
  const std::string folder = RecordedAdapter(GetParam());
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

/// Adapters of all kinds for small bases, as tests/peers/record_adapters.py records them.
class SmallRecordedAdapters : public ::testing::TestWithParam<std::string> {};

std::string GoldenLogits(const std::string& folder) {
  return folder + "/golden/golden_logits.safetensors";
}

TEST_P(SmallRecordedAdapters, GiveWhatPeftComputes) {
  const auto opened = OpenModel(RecordedAdapter(GetParam()), WithoutVocabulary());
  SMELT_ASSERT_OK(opened);
  testing::ExpectRecordedLogits(*opened->source, GoldenLogits(RecordedAdapter(GetParam())));
}

const std::string kSmallAdapters[] = {
    "tied-head",    "tied-embedding", "tied-both", "tied-ensured", "tied-saved", "tied-saved-head",
    "tied-tokens",  "ends",           "tokens",    "added-tokens", "bias",       "all-biases",
    "norms",        "dora-ends",      "ranks",     "gpt2",         "gpt2-dora",  "experts",
    "experts-down", "experts-turned",
};
// Whole checkpoints with the adapter in them.
const std::string kUnmerged[] = {"unmerged-ends", "unmerged-bias", "unmerged-experts",
                                 "unmerged-tokens", "unmerged-dora-ends"};

INSTANTIATE_TEST_SUITE_P(Peft, SmallRecordedAdapters, ::testing::ValuesIn(kSmallAdapters),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Unmerged, SmallRecordedAdapters, ::testing::ValuesIn(kUnmerged),
                         testing::TestName);

// Of low-rank changes to one end of a tied base it is said that the ends part.
TEST(EndsOfATiedBase, PartWithANote) {
  for (const auto& [name, parts] :
       {std::pair("tied-head", true), std::pair("tied-embedding", true),
        std::pair("tied-both", true), std::pair("tied-saved", false),
        std::pair("tied-saved-head", false), std::pair("ends", false)}) {
    const auto opened = OpenModel(RecordedAdapter(name), WithoutVocabulary());
    SMELT_ASSERT_OK(opened);
    const bool said = std::ranges::any_of(opened->notes, [](const std::string& note) {
      return note.find("are two now") != std::string::npos;
    });
    EXPECT_EQ(said, parts) << name;
  }
}

TEST(SeveralAdapters, AreMergedInTurn) {
  OpenOptions options = WithoutVocabulary();
  options.adapters = {{RecordedAdapter("ranks"), 1}, {RecordedAdapter("several"), 1}};
  const auto opened = OpenModel(RecordedAdapter("bases/llama"), options);
  SMELT_ASSERT_OK(opened);
  testing::ExpectRecordedLogits(*opened->source, GoldenLogits(RecordedAdapter("several")));
}

/// A model of experts, stored one by one or as transformers 5 holds them, takes adapters of both
/// kinds.
class ExpertsOfBothKinds : public ::testing::Test {
 protected:
  static constexpr uint64_t kExperts = 3, kWidth = 8, kFfn = 6;

  static FolderTensors Tensors(bool fused) {
    FolderTensors t = LlamaTensors(1, true);
    std::erase_if(t,
                  [](const auto& entry) { return entry.first.find("mlp") != std::string::npos; });
    const std::string moe = "model.layers.0.block_sparse_moe.";
    t[moe + "gate.weight"] = Counting({kExperts, kWidth}, 1);
    const testing::FolderTensor both = Counting({kExperts, 2 * kFfn, kWidth}, 1),
                                down = Counting({kExperts, kWidth, kFfn}, 2);
    if (fused) {
      t["model.layers.0.mlp.experts.gate_up_proj"] = both;
      t["model.layers.0.mlp.experts.down_proj"] = down;
      return t;
    }
    for (uint64_t e = 0; e < kExperts; ++e) {
      const std::string expert = Cat(moe, "experts.", e, ".w");
      t[expert + "1.weight"] = Part(both, 2 * e, {kFfn, kWidth});
      t[expert + "3.weight"] = Part(both, 2 * e + 1, {kFfn, kWidth});
      t[expert + "2.weight"] = Part(down, e, {kWidth, kFfn});
    }
    return t;
  }

  static testing::FolderTensor Part(const testing::FolderTensor& whole, uint64_t number,
                                    std::vector<uint64_t> shape) {
    const auto n = static_cast<std::ptrdiff_t>(shape[0] * shape[1]);
    const auto first = whole.values.begin() + static_cast<std::ptrdiff_t>(number) * n;
    return {std::move(shape), std::vector<float>(first, first + n)};
  }

  absl::StatusOr<OpenedModel> Open(bool fused, const FolderTensors& adapter) {
    const testing::TempDir dir;
    fs::create_directories(dir.path() + "/adapter");
    testing::WriteFolder(
        dir.path(),
        Cat(R"({"architectures":["MixtralForCausalLM"],"num_local_experts":)", kExperts,
            R"(,"num_experts_per_tok":2,"hidden_size":8,"num_hidden_layers":1,)",
            R"("num_attention_heads":2,"num_key_value_heads":2,"intermediate_size":6,)",
            R"("vocab_size":10,"max_position_embeddings":64,"tie_word_embeddings":false})"),
        Tensors(fused));
    testing::WriteFolder(dir.path() + "/adapter", R"({"peft_type":"LORA","r":2,"lora_alpha":3})",
                         adapter);
    fs::rename(dir.path() + "/adapter/config.json", dir.path() + "/adapter/adapter_config.json");
    fs::rename(dir.path() + "/adapter/model.safetensors",
               dir.path() + "/adapter/adapter_model.safetensors");
    OpenOptions options = WithoutVocabulary();
    options.adapters = {{dir.path() + "/adapter", 1}};
    return OpenModel(dir.path(), options);
  }
};

TEST_F(ExpertsOfBothKinds, OneExpertIsMergedIntoAll) {
  const std::string expert = "base_model.model.model.layers.0.block_sparse_moe.experts.1.w";
  FolderTensors adapter;
  for (const auto& [number, inputs, outputs] :
       {std::tuple("1", kWidth, kFfn), {"3", kWidth, kFfn}, {"2", kFfn, kWidth}}) {
    adapter[Cat(expert, number, ".lora_A.weight")] = Counting({2, inputs}, 1);
    adapter[Cat(expert, number, ".lora_B.weight")] = Counting({outputs, 2}, 3);
  }
  const auto one_by_one = Open(false, adapter), fused = Open(true, adapter);
  SMELT_ASSERT_OK(one_by_one);
  SMELT_ASSERT_OK(fused);
  for (const char* name : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}) {
    const std::string tensor = Cat("blk.0.", name, ".weight");
    EXPECT_EQ(testing::ReadTensor(*one_by_one->source, tensor),
              testing::ReadTensor(*fused->source, tensor));
  }
}

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

// An adapter is found as a model is, in a trainer's output and in a hub cache; so is its base.
TEST_F(SmallAdapter, IsFoundBelowTheFolderThatIsNamed) {
  const FolderTensors tensors = {{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)},
                                 {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)}};
  const auto direct = Open(R"({"peft_type":"LORA","lora_alpha":4,"r":2})", tensors);
  SMELT_ASSERT_OK(direct);
  const std::string output = dir_.path() + "/output", hub = dir_.path() + "/models--a--b";
  fs::create_directories(output);
  fs::create_directories(hub + "/snapshots");
  fs::rename(adapter_, output + "/checkpoint-9");
  fs::rename(base_, hub + "/snapshots/0");
  OpenOptions options;
  options.vocabulary = false;
  options.adapters = {{output, 1}};
  const auto below = OpenModel(hub + "/snapshots/0", options);
  SMELT_ASSERT_OK(below);
  options.adapters.clear();
  options.base = hub;
  const auto alone = OpenModel(output + "/checkpoint-9", options);
  SMELT_ASSERT_OK(alone);
  for (const auto* opened : {&*below, &*alone}) {
    EXPECT_EQ(testing::ReadTensor(*opened->source, "blk.0.attn_v.weight"),
              testing::ReadTensor(*direct->source, "blk.0.attn_v.weight"));
  }
  SMELT_EXPECT_OK(OpenAsLoraFile(output, 1, hub));
}

// Rows of single tokens are one for each token that is listed, wherever they are merged.
TEST_F(SmallAdapter, RowsOfTokensAreListed) {
  const FolderTensors tensors = {
      {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
       Counting({2, 8}, 1)}};
  for (const char* listed : {"[1]", "[1,2,3]", "[4,4]", "[1,99]"}) {
    const auto opened =
        Open(Cat(R"({"peft_type":"LORA","trainable_token_indices":)", listed, "}"), tensors);
    EXPECT_EQ(CodeOf(opened.status()), ErrorCode::kInvalidInput) << listed;
    EXPECT_NE(opened.status().message().find("trainable_tokens_delta"), absl::string_view::npos)
        << opened.status();
  }
  const auto opened = Open(R"({"peft_type":"LORA","trainable_token_indices":[9,4]})", tensors);
  SMELT_ASSERT_OK(opened);
  const std::vector<float> rows = testing::ReadTensor(*opened->source, "token_embd.weight");
  EXPECT_EQ(rows[9 * 8], 1);
  EXPECT_EQ(rows[4 * 8], 9);
}

// What an adapter has for vision or audio is left out with a note, whatever its base has of them.
TEST_F(SmallAdapter, PartsThatAreNotReadAreLeftOut) {
  const char* const config = R"({"peft_type":"LORA","lora_alpha":4,"r":2})";
  const FolderTensors text = {{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)},
                              {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)}};
  const auto alone = Open(config, text);
  SMELT_ASSERT_OK(alone);
  FolderTensors both = text, vision;
  const std::string visual = "base_model.model.visual.blocks.0.attn.qkv.lora_";
  for (FolderTensors* tensors : {&both, &vision}) {
    (*tensors)[visual + "A.weight"] = Counting({2, 5}, 1);
    (*tensors)[visual + "B.weight"] = Counting({15, 2}, 1);
  }
  const auto opened = Open(config, both);
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(testing::ReadTensor(*opened->source, "blk.0.attn_v.weight"),
            testing::ReadTensor(*alone->source, "blk.0.attn_v.weight"));
  const std::string said =
      Cat("vision or audio is left out: ", visual, "A.weight and 1 more (40 parameters");
  const auto says = [&](const std::string& note) { return note.find(said) != std::string::npos; };
  EXPECT_TRUE(std::ranges::any_of(opened->notes, says));
  const auto file = OpenAsLoraFile(adapter_, 1, base_);
  SMELT_ASSERT_OK(file);
  EXPECT_EQ(file->source->tensors().size(), 2u);
  EXPECT_TRUE(std::ranges::any_of(file->notes, says));
  const auto none = Open(config, vision);
  EXPECT_NE(none.status().message().find("nothing for the text part"), absl::string_view::npos)
      << none.status();
}

// Biases that were trained along (bias: lora_only) are in the adapter as the base layer's, and are
// no copies of it.
TEST_F(SmallAdapter, BiasesOfBaseLayersAreTrainedOnes) {
  FolderTensors base = LlamaTensors(2, true);
  for (const char* layer : {"0", "1"}) {
    for (const char* module : {"q_proj", "k_proj", "v_proj", "o_proj"})
      base[Cat("model.layers.", layer, ".self_attn.", module, ".bias")] = Counting({8}, 1);
  }
  testing::WriteFolder(
      base_,
      Cat(R"({"architectures":["LlamaForCausalLM"],"attention_bias":true,)", kLlamaConfig, "}"),
      base);
  const FolderTensors tensors = {{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)},
                                 {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)},
                                 {Cat(kV, ".base_layer.bias"), Counting({8}, 30)}};
  const char* const config = R"({"peft_type":"LORA","lora_alpha":4,"r":2,"bias":"lora_only"})";
  const auto opened = Open(config, tensors);
  SMELT_ASSERT_OK(opened);
  EXPECT_EQ(testing::ReadTensor(*opened->source, "blk.0.attn_v.bias"), Counting({8}, 30).values);
  const auto stronger = Open(config, tensors, 2);
  const auto alone = OpenAsLoraFile(adapter_, 1, base_);
  for (const auto& [status, says] : {std::pair(stronger.status(), "cannot be merged 2 times"),
                                     std::pair(alone.status(), "has a whole tensor for")}) {
    EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
    EXPECT_NE(status.message().find(says), absl::string_view::npos) << status;
  }
}

// A number that is none is found when its rows are read, and named by the adapter's own tensor.
TEST_F(SmallAdapter, WhatIsNoNumberIsNamedByTensor) {
  for (const char* part : {".lora_A.weight", ".lora_B.weight"}) {
    FolderTensors tensors = {{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)},
                             {Cat(kV, ".lora_B.weight"), Counting({8, 2}, 3)}};
    FolderTensor& damaged = tensors[Cat(kV, part)];
    damaged.values[damaged.shape[1] + 1] = std::numeric_limits<float>::quiet_NaN();
    const auto opened = Open(R"({"peft_type":"LORA","lora_alpha":4,"r":2})", tensors);
    SMELT_ASSERT_OK(opened);
    const int v = opened->source->Find("blk.0.attn_v.weight");
    std::vector<float> row(8);
    absl::Status status = absl::OkStatus();
    for (uint64_t i = 0; i < 8 && status.ok(); ++i)
      status = opened->source->ReadRows(static_cast<size_t>(v), i, 1, row.data());
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << status;
    const std::string says = Cat("tensor ", kV, part, " has the value NaN at row 1, column 1");
    EXPECT_NE(status.message().find(says), absl::string_view::npos) << status;
  }
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
      {R"({"peft_type":"IA3"})", "merge it with peft"},
      {R"({"peft_type":"PREFIX_TUNING"})", "beside the weights"},
      {R"({"peft_type":5})", "peft_type is 5"},
      {R"({"peft_type":"LORA","use_qalora":true})", "use_qalora"},
      {R"({"peft_type":"LORA","use_newer_lora":true})", "use_newer_lora is true"},
      {R"({"peft_type":"LORA","newer_config":{"a":1}})", "newer_config is"},
      {R"({"peft_type":"LORA","init_lora_weights":"pissa_niter_4"})", "init_lora_weights"},
      {R"({"peft_type":"LORA","lora_alpha":1e300})", "no finite scale"},
      {R"({"peft_type":"LORA","lora_alpha":"32"})", "lora_alpha"},
      {R"({"peft_type":"LORA","lora_alpha":0})", "lora_alpha 0 is no strength"},
      {R"({"peft_type":"LORA","lora_alpha":-2})", "lora_alpha -2 is no strength"},
      {R"({"peft_type":"LORA","r":3})", "says rank 3"},
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
      {{{Cat(kV, ".lora_A.weight"), Counting({2, 8}, 1)},
        {Cat(kV, ".lora_B.weight"), Counting({7, 2}, 3)}},
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
      {{{Cat(kV, ".lora_A.weight"), {{0}, {}}}, {Cat(kV, ".lora_B.weight"), {{0}, {}}}},
       "saved without its values"},
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
