// Layouts that no fixture has give the tensors, or the numbers, of those that are recorded.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "lib/base/cat.h"
#include "lib/base/status.h"
#include "lib/model/forwarding_source.h"
#include "lib/model/open.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/golden_model.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Counting;
using testing::FolderTensors;

/// Qwen3-Next as llama.cpp's converter wrote it in 2025: q, k, v and z of a linear layer in one
/// matrix, by key head.
class Refolded : public ForwardingSource {
 public:
  explicit Refolded(const ModelSource& source) : ForwardingSource(source) {
    const auto number = [&](std::string_view key) {
      return *source.metadata().Uint(Cat("qwen3next.ssm.", key));
    };
    const uint64_t heads = number("group_count"), key = number("state_size"),
                   values = number("inner_size") / heads;
    for (size_t i = 0; i < source.tensors().size(); ++i) {
      TensorInfo info = source.tensors()[i];
      const size_t at = info.name.find(".attn_qkv.");
      const std::string block = info.name.substr(0, info.name.find('.', 4));
      if (info.name.find(".attn_gate.") != std::string::npos) continue;
      std::vector<float> folded;
      if (at != std::string::npos) {
        const uint64_t width = info.shape.ne[0];
        const std::vector<float> qkv = testing::ReadTensor(source, info.name),
                                 z = testing::ReadTensor(source, block + ".attn_gate.weight");
        const auto append = [&](const std::vector<float>& from, uint64_t first, uint64_t count) {
          folded.insert(folded.end(), from.begin() + static_cast<std::ptrdiff_t>(first * width),
                        from.begin() + static_cast<std::ptrdiff_t>((first + count) * width));
        };
        for (uint64_t h = 0; h < heads; ++h) {
          append(qkv, h * key, key);
          append(qkv, (heads + h) * key, key);
          append(qkv, 2 * heads * key + h * values, values);
          append(z, h * values, values);
        }
        info.name = block + ".ssm_in.weight";
        info.shape.ne[1] = folded.size() / width;
        info.type = TensorType::kF32;
        info.recipe = nullptr;
      }
      tensors_.push_back(info);
      from_.push_back(i);
      folded_.push_back(std::move(folded));
    }
    BuildIndex();
  }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::string identity() const override { return base().identity() + " refolded"; }
  absl::Status ReadRows(size_t t, uint64_t first, uint64_t n, float* out) const override {
    if (folded_[t].empty()) return base().ReadRows(from_[t], first, n, out);
    const uint64_t width = tensors_[t].shape.ne[0];
    std::copy_n(folded_[t].begin() + static_cast<std::ptrdiff_t>(first * width), n * width, out);
    return absl::OkStatus();
  }
  absl::Status ReadRawRows(size_t t, uint64_t first, uint64_t n, std::byte* out) const override {
    return base().ReadRawRows(from_[t], first, n, out);
  }
  absl::StatusOr<MappedRows> MapRows(size_t t) const override {
    if (folded_[t].empty()) return base().MapRows(from_[t]);
    return Error(ErrorCode::kUnsupported, "not mapped");
  }

 private:
  std::vector<TensorInfo> tensors_;
  std::vector<size_t> from_;
  std::vector<std::vector<float>> folded_;
};

TEST(OtherLayouts, Qwen3NextOf2025) {
  const std::string folder = testing::ModelPath("qwen3_next");
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  OpenOptions options;
  options.vocabulary = false;
  options.keep_draft = false;
  const auto opened = OpenModel(folder, options);
  SMELT_ASSERT_OK(opened);
  testing::GoldenModel recorded;
  ASSERT_TRUE(recorded.Find(folder));
  const Refolded old(*opened->source);
  ASSERT_GE(old.Find("blk.0.ssm_in.weight"), 0);
  recorded.ExpectLogits(old);
}

/// Gemma 4 with experts: width 8, two heads of 4, three experts of 4.
FolderTensors Gemma4Tensors() {
  FolderTensors t = testing::LlamaTensors(2, false);
  for (int i = 0; i < 2; ++i) {
    const std::string p = Cat("model.layers.", i, ".");
    for (const char* norm :
         {"pre_feedforward_layernorm", "post_feedforward_layernorm", "pre_feedforward_layernorm_2",
          "post_feedforward_layernorm_1", "post_feedforward_layernorm_2"})
      t[Cat(p, norm, ".weight")] = Counting({8}, 1);
    for (const char* norm : {"q_norm", "k_norm"})
      t[Cat(p, "self_attn.", norm, ".weight")] = Counting({4}, 1);
    t[p + "router.proj.weight"] = Counting({3, 8}, 6);
    t[p + "router.scale"] = Counting({8}, 7);
    t[p + "router.per_expert_scale"] = Counting({3}, 8);
  }
  return t;
}

TEST(OtherLayouts, ExpertsOfGemma4OneByOne) {
  std::string sizes = testing::kLlamaConfig;
  sizes.replace(sizes.find("false"), 5, "true");
  const std::string config =
      Cat(R"({"architectures":["Gemma4ForCausalLM"],"head_dim":4,"global_head_dim":4,)",
          R"("hidden_size_per_layer_input":0,"enable_moe_block":true,"num_experts":3,)",
          R"("top_k_experts":2,"moe_intermediate_size":4,)", sizes, "}");
  FolderTensors fused = Gemma4Tensors(), single = Gemma4Tensors();
  const auto part = [](const testing::FolderTensor& all, uint64_t first, uint64_t rows,
                       uint64_t columns) {
    const auto begin = all.values.begin() + static_cast<std::ptrdiff_t>(first * columns);
    return testing::FolderTensor{{rows, columns},
                                 {begin, begin + static_cast<std::ptrdiff_t>(rows * columns)}};
  };
  for (int i = 0; i < 2; ++i) {
    const std::string p = Cat("model.layers.", i, ".experts.");
    const testing::FolderTensor gate_up = Counting({3, 8, 8}, 1000), down = Counting({3, 8, 4}, 9);
    fused[p + "gate_up_proj"] = gate_up;
    fused[p + "down_proj"] = down;
    for (uint64_t e = 0; e < 3; ++e) {
      single[Cat(p, e, ".gate_proj.weight")] = part(gate_up, 8 * e, 4, 8);
      single[Cat(p, e, ".up_proj.weight")] = part(gate_up, 8 * e + 4, 4, 8);
      single[Cat(p, e, ".down_proj.weight")] = part(down, 8 * e, 8, 4);
    }
  }
  const testing::TempDir a, b;
  testing::WriteFolder(a.path(), config, fused);
  testing::WriteFolder(b.path(), config, single);
  const auto first = testing::OpenFolder(a.path()), second = testing::OpenFolder(b.path());
  SMELT_ASSERT_OK(first);
  SMELT_ASSERT_OK(second);
  ASSERT_EQ(first->source->tensors().size(), second->source->tensors().size());
  for (const TensorInfo& tensor : first->source->tensors()) {
    EXPECT_EQ(testing::ReadTensor(*first->source, tensor.name),
              testing::ReadTensor(*second->source, tensor.name))
        << tensor.name;
  }
}

}  // namespace
}  // namespace smelt
