// Names of tensors as people's files have them: wrapped, doubled, saved by PEFT, with heads that
// are no part of a language model.
#include "lib/model/published_names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "lib/base/cat.h"
#include "lib/model/families/families.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Counting;
using testing::FolderTensors;
using testing::kLlamaConfig;
using testing::LlamaTensors;
using testing::ReadTensor;

std::string PlainConfig(std::string_view more = "") {
  return Cat(R"({"architectures":["LlamaForCausalLM"],)", more, kLlamaConfig, "}");
}

FolderTensors Renamed(const FolderTensors& tensors,
                      const std::function<std::string(const std::string&)>& change) {
  FolderTensors renamed;
  for (const auto& [name, tensor] : tensors) renamed[change(name)] = tensor;
  return renamed;
}

absl::StatusOr<OpenedModel> Open(const testing::TempDir& dir, const FolderTensors& tensors) {
  testing::WriteFolder(dir.path(), PlainConfig(), tensors);
  return testing::OpenFolder(dir.path());
}

void ExpectSameTensors(const ModelSource& a, const ModelSource& b) {
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const TensorInfo& tensor : a.tensors())
    EXPECT_EQ(ReadTensor(a, tensor.name), ReadTensor(b, tensor.name)) << tensor.name;
}

std::string Replaced(std::string name, std::string_view from, std::string_view to) {
  const size_t at = name.find(from);
  return at == std::string::npos ? name : name.replace(at, from.size(), to);
}

TEST(PublishedNamesTest, WrappersAreTakenAway) {
  const testing::TempDir plain_dir;
  auto plain = Open(plain_dir, LlamaTensors(2, true));
  SMELT_ASSERT_OK(plain);
  const std::vector<std::function<std::string(const std::string&)>> changes = {
      [](const std::string& n) { return Cat("module._orig_mod.", n); },
      [](const std::string& n) { return Cat("_orig_mod.module.module.", n); },
      [](const std::string& n) { return Cat("_fsdp_wrapped_module.", n); },
      [](const std::string& n) {
        return Replaced(n, ".mlp.", "._checkpoint_wrapped_module.mlp._orig_mod.");
      },
      [](const std::string& n) { return Cat("base_model.model.", n); },
      [](const std::string& n) { return Replaced(n, "_proj.weight", "_proj.base_layer.weight"); },
      [](const std::string& n) { return Cat("pretrained_model.", n); },
      [](const std::string& n) { return Replaced(n, "model.", ""); },
      [](const std::string& n) { return Replaced(n, "model.", "model.model.model."); },
      [](const std::string& n) { return Cat("model.language_model.", n); },
      [](const std::string& n) { return Cat("policy.actor.", n); },  // known to nobody
  };
  for (const auto& change : changes) {
    const testing::TempDir dir;
    auto opened = Open(dir, Renamed(LlamaTensors(2, true), change));
    ASSERT_TRUE(opened.ok()) << change("model.norm.weight") << ": " << opened.status().message();
    ExpectSameTensors(*plain->source, *opened->source);
  }
}

TEST(PublishedNamesTest, BareNamesOfOtherFamilies) {
  const PublishedNames gpt2(kGpt2), mamba(kMamba), neox(kGptNeox);
  for (const char* name : {"transformer.h.3.attn.c_attn.weight", "h.3.attn.c_attn.weight",
                           "module.transformer.h.3.attn.c_attn.weight"}) {
    EXPECT_EQ(gpt2.Bare(name).text, "h.3.attn.c_attn.weight");
    EXPECT_TRUE(gpt2.IsWanted(gpt2.Bare(name).text));
  }
  EXPECT_TRUE(mamba.IsWanted(mamba.Bare("_orig_mod.backbone.layers.0.mixer.A_log").text));
  EXPECT_TRUE(neox.IsWanted(neox.Bare("gpt_neox.layers.7.attention.dense.bias").text));
  EXPECT_TRUE(neox.IsWanted(neox.Bare("module.embed_out.weight").text));
  EXPECT_FALSE(neox.IsWanted(neox.Bare("gpt_neox.layers.7.attention.dense.scale").text));
  EXPECT_FALSE(gpt2.IsWanted(gpt2.Bare("vision_tower.h.3.attn.c_attn.weight").text));
}

TEST(PublishedNamesTest, TwoTensorsAreNotMadeOne) {
  FolderTensors t = LlamaTensors(2, true);
  t["module.model.norm.weight"] = Counting({8}, 9);
  const testing::TempDir dir;
  auto opened = Open(dir, t);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(
      opened.status().message().find("tensors model.norm.weight and module.model.norm.weight"),
      std::string::npos)
      << opened.status().message();
}

TEST(PublishedNamesTest, StudentAndTeacherAreNotMadeOne) {
  FolderTensors t;
  for (const char* who : {"student.", "teacher."}) {
    for (const auto& [name, tensor] : LlamaTensors(2, true)) t[who + name] = tensor;
  }
  const testing::TempDir dir;
  EXPECT_FALSE(Open(dir, t).ok());
}

TEST(PublishedNamesTest, ModulesToSave) {
  FolderTensors t = LlamaTensors(2, true);
  const auto trained = t.at("lm_head.weight");
  t.erase("lm_head.weight");
  t["base_model.model.lm_head.original_module.weight"] = Counting({10, 8}, 70);
  t["base_model.model.lm_head.modules_to_save.default.weight"] = trained;
  {
    const testing::TempDir dir;
    auto opened = Open(dir, t);
    SMELT_ASSERT_OK(opened);
    EXPECT_EQ(ReadTensor(*opened->source, "output.weight"), trained.values);
    EXPECT_TRUE(std::ranges::any_of(opened->notes, [](const std::string& note) {
      return note.find("modules_to_save") != std::string::npos;
    }));
  }
  {  // two adapters' copies
    FolderTensors two = t;
    two["base_model.model.lm_head.modules_to_save.second.weight"] = Counting({10, 8}, 80);
    const testing::TempDir dir;
    auto opened = Open(dir, two);
    ASSERT_FALSE(opened.ok());
    EXPECT_NE(opened.status().message().find("modules_to_save.second"), std::string::npos);
  }
  t.erase("base_model.model.lm_head.modules_to_save.default.weight");
  const testing::TempDir dir;
  auto opened = Open(dir, t);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("lm_head.original_module"), std::string::npos)
      << opened.status().message();
}

TEST(PublishedNamesTest, MatricesOfAnAdapterAreNotTheModel) {
  FolderTensors t = LlamaTensors(2, true);
  t["model.layers.0.self_attn.q_proj.lora_A.default.weight"] = Counting({2, 8}, 1);
  const testing::TempDir dir;
  auto opened = Open(dir, t);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("LoRA"), std::string::npos);
}

TEST(PublishedNamesTest, ValueHeadsAreLeftOut) {
  for (const char* head : {"v_head.summary.weight", "score.weight", "module.value_head.weight"}) {
    FolderTensors t = LlamaTensors(2, true);
    t[head] = Counting({1, 8}, 1);
    const testing::TempDir dir;
    auto opened = Open(dir, t);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    EXPECT_TRUE(std::ranges::any_of(opened->notes, [&](const std::string& note) {
      return note.find(head) != std::string::npos;
    })) << head;
  }
}

TEST(PublishedNamesTest, AMissingTensorsSentenceShowsANameThatIsThere) {
  FolderTensors t = LlamaTensors(2, true);
  t["model.layers.1.mlp.upward_proj.weight"] = t.at("model.layers.1.mlp.up_proj.weight");
  t.erase("model.layers.1.mlp.up_proj.weight");
  const testing::TempDir dir;
  auto opened = Open(dir, t);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("nearest name in the files is "
                                           "model.layers.1.mlp.upward_proj.weight"),
            std::string::npos)
      << opened.status().message();
}

/// Experts one by one, and as transformers 5 holds them: (experts, 2 outputs, inputs).
struct Moe {
  std::string architecture, config, router, experts;
  std::array<std::string, 3> parts;  ///< gate, up, down
  std::string fused_router, fused;
};

TEST(PublishedNamesTest, ExpertsAsTransformersHoldsThem) {
  const std::vector<Moe> all = {
      {"MixtralForCausalLM",
       R"("num_local_experts":3,"num_experts_per_tok":2,)",
       "block_sparse_moe.gate.weight",
       "block_sparse_moe.experts.",
       {".w1.weight", ".w3.weight", ".w2.weight"},
       "mlp.gate.weight",
       "mlp.experts."},
      {"Qwen3MoeForCausalLM",
       R"("num_experts":3,"num_experts_per_tok":2,"moe_intermediate_size":4,"head_dim":4,)",
       "mlp.gate.weight",
       "mlp.experts.",
       {".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"},
       "mlp.gate.weight",
       "mlp.experts."}};
  for (const Moe& moe : all) {
    const uint64_t ffn = moe.config.find("moe_int") == std::string::npos ? 6 : 4;  // 4: 2 x 4 is 8
    FolderTensors common = LlamaTensors(2, true), one_by_one, fused;
    std::erase_if(common,
                  [](const auto& entry) { return entry.first.find(".mlp.") != std::string::npos; });
    for (int i = 0; i < 2; ++i) {
      const std::string p = Cat("model.layers.", i, ".");
      if (moe.architecture.starts_with("Qwen")) {
        for (const char* norm : {"q_norm", "k_norm"})
          common[Cat(p, "self_attn.", norm, ".weight")] = Counting({4}, 1);
      }
      one_by_one[p + moe.router] = fused[p + moe.fused_router] = Counting({3, 8}, 1);
      testing::FolderTensor gate_up{{3, 2 * ffn, 8}, {}}, down{{3, 8, ffn}, {}};
      for (int e = 0; e < 3; ++e) {
        for (int part = 0; part < 3; ++part) {
          const auto shape =
              part == 2 ? std::vector<uint64_t>{8, ffn} : std::vector<uint64_t>{ffn, 8};
          const auto tensor = Counting(shape, static_cast<float>(1000 * i + 300 * e + 100 * part));
          one_by_one[Cat(p, moe.experts, e, moe.parts[static_cast<size_t>(part)])] = tensor;
          auto& to = part == 2 ? down.values : gate_up.values;
          to.insert(to.end(), tensor.values.begin(), tensor.values.end());
        }
      }
      fused[Cat(p, moe.fused, "gate_up_proj")] = gate_up;
      fused[Cat(p, moe.fused, "down_proj")] = down;
    }
    const std::string config =
        Cat(R"({"architectures":[")", moe.architecture, "\"],", moe.config, kLlamaConfig, "}");
    const testing::TempDir plain_dir, fused_dir;
    one_by_one.insert(common.begin(), common.end());
    fused.insert(common.begin(), common.end());
    testing::WriteFolder(plain_dir.path(), config, one_by_one);
    testing::WriteFolder(fused_dir.path(), config, fused);
    auto plain = testing::OpenFolder(plain_dir.path()),
         other = testing::OpenFolder(fused_dir.path());
    SMELT_ASSERT_OK(plain);
    SMELT_ASSERT_OK(other);
    ExpectSameTensors(*plain->source, *other->source);
  }
}

}  // namespace
}  // namespace smelt
