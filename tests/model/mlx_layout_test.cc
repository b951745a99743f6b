// Folders as mlx-lm writes them: its changes are made here to the tensors of fixtures, by its
// classes' `sanitize` (mlx-lm 0.32), and undone.
#include "lib/model/mlx_layout.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>

#include "formats/computed_matrix.h"
#include "formats/quantized/stored_matrix.h"
#include "formats/weights_directory.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/model/choose_family.h"
#include "lib/model/config.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::FolderTensor;
using testing::FolderTensors;

std::vector<float> ValuesOf(const RawTensor& tensor) {
  std::vector<float> values(tensor.elements());
  const uint64_t rows = values.size() / tensor.shape.back();
  if (tensor.computed != nullptr) {
    SMELT_EXPECT_OK(tensor.computed->ReadRows(0, rows, values.data()));
  } else {
    const auto stored = StoredMatrix::Make(tensor);
    SMELT_EXPECT_OK(stored);
    SMELT_EXPECT_OK(stored->ReadFloats(0, rows, values.data()));
  }
  return values;
}

/// A tensor of these values.
RawTensor Stored(std::string name, std::vector<uint64_t> shape, const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  RawTensor tensor;
  tensor.name = std::move(name);
  tensor.shape = std::move(shape);
  tensor.strides = ContiguousStrides(tensor.shape);
  tensor.storage = MemoryStorage("mlx", {bytes.begin(), bytes.end()});
  return tensor;
}

/// What mlx-lm calls projections of experts.
std::string Called(const std::string& projection, bool nemotron) {
  static const std::map<std::string, std::string> names = {
      {"w1", "gate_proj"}, {"w2", "down_proj"}, {"w3", "up_proj"}};
  if (nemotron) return projection == "up_proj" ? "fc1" : "fc2";
  const auto it = names.find(projection);
  return it == names.end() ? projection : it->second;
}

/// The container as mlx-lm's class writes it; `adds`: it adds one to norms.
Container AsMlx(const Container& published, bool adds, bool nemotron) {
  static const std::regex expert(R"((.*)\.experts\.(\d+)\.(\w+)\.weight)");
  static const std::regex norm(
      R"(.*(\.input_layernorm|\.post_attention_layernorm|model\.norm|\.q_norm|\.k_norm)\.weight)");
  Container out;
  std::map<std::string, std::map<int, const RawTensor*>> stacks;
  for (const RawTensor& tensor : published.tensors) {
    std::smatch found;
    if (std::regex_match(tensor.name, found, expert)) {
      stacks[Cat(found[1].str(), ".switch_mlp.", Called(found[3], nemotron), ".weight")]
            [std::stoi(found[2])] = &tensor;
      continue;
    }
    RawTensor changed = tensor;
    if (tensor.name.ends_with("conv1d.weight") || tensor.name.ends_with(".conv.weight")) {
      std::swap(changed.shape[1], changed.shape[2]);
      changed.strides = ContiguousStrides(changed.shape);
    } else if (adds && std::regex_match(tensor.name, norm)) {
      std::vector<float> values = ValuesOf(tensor);
      for (float& value : values) value += 1;
      changed = Stored(tensor.name, tensor.shape, values);
    }
    out.tensors.push_back(std::move(changed));
  }
  for (const auto& [name, experts] : stacks) {
    std::vector<uint64_t> shape = experts.begin()->second->shape;
    std::vector<float> all;
    for (const auto& [number, tensor] : experts) {
      const std::vector<float> values = ValuesOf(*tensor);
      all.insert(all.end(), values.begin(), values.end());
    }
    shape.insert(shape.begin(), experts.size());
    out.tensors.push_back(Stored(name, std::move(shape), all));
  }
  return out;
}

class MlxLayout : public ::testing::TestWithParam<std::string> {};

TEST_P(MlxLayout, IsUndone) {
  const std::string folder = testing::ModelPath(GetParam());
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  const auto config = Config::Parse(testing::ReadFile(folder + "/config.json"), "config.json");
  SMELT_ASSERT_OK(config);
  const auto chosen = ChooseFamily(*config);
  SMELT_ASSERT_OK(chosen);
  const auto form = FindWeights(folder);
  SMELT_ASSERT_OK(form);
  auto published = OpenWeights(folder, *form);
  SMELT_ASSERT_OK(published);
  std::erase_if(published->tensors, [](const RawTensor& tensor) {  // mlx-lm leaves draft heads out
    return tensor.name.starts_with("mtp.");
  });
  const bool adds = GetParam().starts_with("qwen3_");
  Container mlx = AsMlx(*published, adds, GetParam().starts_with("nemotron"));
  SMELT_ASSERT_OK(UndoMlxLayout(*chosen->family, mlx));
  std::map<std::string, const RawTensor*> undone;
  for (const RawTensor& tensor : mlx.tensors) undone[tensor.name] = &tensor;
  for (const RawTensor& tensor : published->tensors) {
    ASSERT_TRUE(undone.contains(tensor.name)) << tensor.name;
    const RawTensor& again = *undone[tensor.name];
    EXPECT_EQ(again.shape, tensor.shape) << tensor.name;
    if (BitsOf(tensor.dtype) == 8) continue;
    const std::vector<float> a = ValuesOf(tensor), b = ValuesOf(again);
    for (size_t i = 0; i < a.size(); ++i)  // a sum with one has rounded
      ASSERT_NEAR(a[i], b[i], again.computed == nullptr ? 0 : 1e-6) << tensor.name << " at " << i;
  }
  EXPECT_EQ(undone.size(), published->tensors.size());
}

INSTANTIATE_TEST_SUITE_P(Classes, MlxLayout,
                         ::testing::Values("qwen3_next", "qwen3_5", "qwen3_5_moe", "mixtral",
                                           "jamba", "mamba", "mamba2", "lfm2", "lfm2_moe",
                                           "nemotron_h_moe", "qwen3moe", "minimax_m2", "olmoe"),
                         testing::TestName);

/// Rows [first, +count) of each of `outer` parts of a tensor's values.
FolderTensor PartOfEach(const RawTensor& tensor, const std::vector<float>& values, uint64_t outer,
                        uint64_t first, uint64_t count) {
  const uint64_t columns = tensor.shape.back(), unit = values.size() / outer;
  FolderTensor part{{outer, count, columns}, {}};
  for (uint64_t i = 0; i < outer; ++i) {
    const auto begin = values.begin() + static_cast<ptrdiff_t>(i * unit + first * columns);
    part.values.insert(part.values.end(), begin, begin + static_cast<ptrdiff_t>(count * columns));
  }
  return part;
}

/// Every matrix of (outer, rows, columns) turned.
FolderTensor Turned(const FolderTensor& in) {
  const uint64_t rows = in.shape[1], columns = in.shape[2];
  FolderTensor out{{in.shape[0], columns, rows}, std::vector<float>(in.values.size())};
  for (uint64_t i = 0; i < in.values.size(); ++i) {
    const uint64_t matrix = i / (rows * columns), row = i / columns % rows, column = i % columns;
    out.values[matrix * rows * columns + column * rows + row] = in.values[i];
  }
  return out;
}

/// The tensors of a folder as mlx-lm's classes write those that only one family has otherwise.
FolderTensors MlxTensors(const Container& published, const Config& config) {
  const auto count = [&](const char* key) {
    return static_cast<uint64_t>(config.Find(key)->as_int().value_or(0));
  };
  FolderTensors out;
  for (const RawTensor& tensor : AsMlx(published, false, false).tensors) {
    if (BitsOf(tensor.dtype) == 8) continue;
    const std::vector<float> values = ValuesOf(tensor);
    const auto named = [&](std::string_view old, std::string_view mlx) {
      std::string name = tensor.name;
      name.replace(name.find(old), old.size(), mlx);
      return name.ends_with(".weight") ? name : name + ".weight";
    };
    const auto is = [&](std::string_view part) {
      return tensor.name.find(part) != std::string::npos;
    };
    if (is(".kv_b_proj.")) {
      const uint64_t heads = count("num_attention_heads"), keys = count("qk_nope_head_dim"),
                     sizes = count("v_head_dim");
      out[named("kv_b_proj", "embed_q")] = Turned(PartOfEach(tensor, values, heads, 0, keys));
      out[named("kv_b_proj", "unembed_out")] = PartOfEach(tensor, values, heads, keys, sizes);
    } else if (is(".block_sparse_moe.input_linear") || is(".experts.gate_up_proj")) {
      const bool granite = is("input_linear");
      const std::string_view old = granite ? "input_linear" : "gate_up_proj",
                             stack = granite ? "switch_mlp" : "switch_glu";
      const uint64_t experts = tensor.shape[0], half = tensor.shape[1] / 2;
      out[named(old, Cat(stack, ".gate_proj"))] = PartOfEach(tensor, values, experts, 0, half);
      out[named(old, Cat(stack, ".up_proj"))] = PartOfEach(tensor, values, experts, half, half);
    } else if (is(".block_sparse_moe.output_linear")) {
      out[named("output_linear", "switch_mlp.down_proj")] = {tensor.shape, values};
    } else if (is(".experts.down_proj") && tensor.shape.size() == 3) {
      out[named("down_proj", "switch_glu.down_proj")] = {tensor.shape, values};
    } else if (is("e_score_correction_bias") && is("moe_statics")) {
      continue;
    } else if (tensor.name.starts_with("gpt_neox.") || tensor.name.starts_with("embed_out")) {
      static const std::regex body(R"(^gpt_neox\.(layers\.)?)");
      const std::string name = std::regex_replace(
          tensor.name, body, tensor.name.starts_with("gpt_neox.layers.") ? "h." : "");
      out["model." + name] = {tensor.shape, values};
    } else if (tensor.name.starts_with("transformer.h.") && tensor.shape.size() == 2) {
      const FolderTensor turned = Turned({{1, tensor.shape[0], tensor.shape[1]}, values});
      out[named("transformer", "model")] = {{tensor.shape[1], tensor.shape[0]}, turned.values};
    } else if (tensor.name.starts_with("transformer.")) {
      out[Cat("model", tensor.name.substr(tensor.name.find('.')))] = {tensor.shape, values};
    } else {
      out[tensor.name] = {tensor.shape, values};
    }
  }
  return out;
}

class MlxForms : public ::testing::TestWithParam<std::string> {};

TEST_P(MlxForms, GiveTheSameTensors) {
  const std::string folder = testing::ModelPath(GetParam());
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  const std::string text = testing::ReadFile(folder + "/config.json");
  const auto config = Config::Parse(text, "config.json");
  SMELT_ASSERT_OK(config);
  const auto published = OpenWeights(folder, *FindWeights(folder));
  SMELT_ASSERT_OK(published);
  const testing::TempDir dir;
  const std::string mlx = dir.path();
  testing::WriteFolder(mlx, text, MlxTensors(*published, *config));
  const auto opened = testing::OpenFolder(mlx), original = testing::OpenFolder(folder);
  SMELT_ASSERT_OK(opened);
  SMELT_ASSERT_OK(original);
  const auto& tensors = original->source->tensors();
  EXPECT_EQ(opened->source->tensors().size(), tensors.size());
  for (const TensorInfo& tensor : tensors) {
    EXPECT_EQ(testing::ReadTensor(*opened->source, tensor.name),
              testing::ReadTensor(*original->source, tensor.name))
        << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Classes, MlxForms,
                         ::testing::Values("deepseek_v3", "granitemoehybrid", "granitemoe",
                                           "gemma4_moe", "glm4_moe_lite", "gptneox", "gpt2"),
                         testing::TestName);

// Of a bias that is nowhere the values are those that mlx-lm computes with, and a note says so.
TEST(MlxLayouts, WhatIsLeftAwayIsZeroAndNamed) {
  const std::string folder = testing::ModelPath("ernie4_5_moe");
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  const std::string text = testing::ReadFile(folder + "/config.json");
  const auto config = Config::Parse(text, "config.json");
  SMELT_ASSERT_OK(config);
  const auto published = OpenWeights(folder, *FindWeights(folder));
  SMELT_ASSERT_OK(published);
  FolderTensors tensors = MlxTensors(*published, *config);
  const testing::TempDir dir;
  const auto open = [&](const std::string& name) {
    const std::string path = dir / name;
    std::filesystem::create_directory(path);
    testing::WriteFolder(path, text, tensors);
    return testing::OpenFolder(path);
  };
  const auto opened = open("mlx"), original = testing::OpenFolder(folder);
  SMELT_ASSERT_OK(opened);
  SMELT_ASSERT_OK(original);
  size_t zeros = 0;
  for (const TensorInfo& tensor : original->source->tensors()) {
    std::vector<float> expected = testing::ReadTensor(*original->source, tensor.name);
    if (tensor.name.ends_with("exp_probs_b.bias")) {
      expected.assign(expected.size(), 0.0f);
      ++zeros;
    }
    EXPECT_EQ(testing::ReadTensor(*opened->source, tensor.name), expected) << tensor.name;
  }
  EXPECT_GT(zeros, 0u);
  const auto says = [](const OpenedModel& model) {
    return std::ranges::any_of(model.notes, [](const std::string& note) {
      return note.find("e_score_correction_bias away") != std::string::npos;
    });
  };
  EXPECT_TRUE(says(*opened));
  EXPECT_FALSE(says(*original));

  // Experts that are not stacked are no model of mlx-lm's: the bias is missing.
  tensors = {};
  for (const RawTensor& tensor : published->tensors) {
    if (tensor.name.find("e_score_correction_bias") == std::string::npos)
      tensors[tensor.name] = {tensor.shape, ValuesOf(tensor)};
  }
  const auto damaged = open("damaged");
  EXPECT_EQ(CodeOf(damaged.status()), ErrorCode::kInvalidInput) << damaged.status();
}

// Published checkpoints are left alone, and factors that were multiplied in are not guessed.
TEST(MlxLayouts, OthersStayOrAreNamed) {
  const std::string folder = testing::ModelPath("falcon_h1");
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  const auto config = Config::Parse(testing::ReadFile(folder + "/config.json"), "config.json");
  const auto chosen = ChooseFamily(*config);
  SMELT_ASSERT_OK(chosen);
  const auto published = OpenWeights(folder, *FindWeights(folder));
  SMELT_ASSERT_OK(published);
  Container same = *published;
  SMELT_ASSERT_OK(UndoMlxLayout(*chosen->family, same));
  for (size_t i = 0; i < same.tensors.size(); ++i)
    EXPECT_EQ(same.tensors[i].name, published->tensors[i].name);
  Container mlx = AsMlx(*published, false, false);
  const absl::Status status = UndoMlxLayout(*chosen->family, mlx);
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported) << status;
}

}  // namespace
}  // namespace smelt
