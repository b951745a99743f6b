// What opening a folder says of models that llama.cpp cannot run, or computes otherwise, tried with
// llama.cpp itself.
#include <gtest/gtest.h>

#include "lib/base/cat.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Counting;

std::string NotesOf(const std::string& head, const testing::FolderTensors& tensors,
                    bool tied = false) {
  const testing::TempDir dir;
  std::string sizes = testing::kLlamaConfig;
  if (tied) sizes.replace(sizes.find("false"), 5, "true");
  testing::WriteFolder(dir.path(), Cat("{", head, ",", sizes, "}"), tensors);
  const auto opened = testing::OpenFolder(dir.path());
  EXPECT_TRUE(opened.ok()) << opened.status();
  std::string notes;
  if (opened.ok()) {
    for (const std::string& note : opened->notes) notes += note + "\n";
  }
  return notes;
}

/// Qwen 2's layers: biases of q, k and v.
testing::FolderTensors QwenTensors(uint64_t head) {
  testing::FolderTensors t = testing::LlamaTensors(2, true);
  for (int i = 0; i < 2; ++i) {
    const std::string p = Cat("model.layers.", i, ".self_attn.");
    for (const char* name : {"q", "k", "v"}) {
      t[Cat(p, name, "_proj.weight")] = Counting({2 * head, 8}, 2);
      t[Cat(p, name, "_proj.bias")] = Counting({2 * head}, 2);
    }
    t[Cat(p, "o_proj.weight")] = Counting({8, 2 * head}, 2);
  }
  return t;
}

TEST(LlamaCppNotes, HeadsOfAnotherSize) {
  constexpr const char* kPart = "cannot load heads of a size other";
  EXPECT_NE(
      NotesOf(R"("architectures":["Qwen2ForCausalLM"],"head_dim":6)", QwenTensors(6)).find(kPart),
      std::string::npos);
  EXPECT_EQ(NotesOf(R"("architectures":["Qwen2ForCausalLM"])", QwenTensors(4)).find(kPart),
            std::string::npos);
}

testing::FolderTensors Gemma2Tensors() {
  testing::FolderTensors t = testing::LlamaTensors(2, false);
  for (int i = 0; i < 2; ++i) {
    for (const char* norm : {"pre_feedforward_layernorm", "post_feedforward_layernorm"})
      t[Cat("model.layers.", i, ".", norm, ".weight")] = Counting({8}, 1);
  }
  return t;
}

TEST(LlamaCppNotes, GemmaWithoutWindows) {
  const std::string head =
      R"("architectures":["Gemma2ForCausalLM"],"head_dim":4,"query_pre_attn_scalar":4)";
  constexpr const char* kPart = "without any layer that has a window";
  EXPECT_EQ(NotesOf(head, Gemma2Tensors(), true).find(kPart), std::string::npos);
  EXPECT_NE(
      NotesOf(head + R"(,"layer_types":["full_attention","full_attention"])", Gemma2Tensors(), true)
          .find(kPart),
      std::string::npos);
}

TEST(LlamaCppNotes, GemmaWithoutCaps) {
  const std::string head =
      R"("architectures":["Gemma2ForCausalLM"],"head_dim":4,"query_pre_attn_scalar":4)";
  EXPECT_EQ(NotesOf(head, Gemma2Tensors(), true).find("caps the"), std::string::npos);
  const std::string notes =
      NotesOf(head + R"(,"attn_logit_softcapping":null,"final_logit_softcapping":null)",
              Gemma2Tensors(), true);
  EXPECT_NE(notes.find("caps the attention logits at 50"), std::string::npos) << notes;
  EXPECT_NE(notes.find("caps the output logits at 30"), std::string::npos) << notes;
}

}  // namespace
}  // namespace smelt
