// Folders as mlx-lm writes them: its changes are made here to the tensors of fixtures, by its
// classes' `sanitize` (mlx-lm 0.32), and undone.
#include "lib/model/mlx_layout.h"

#include <gtest/gtest.h>

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
#include "tests/testing/testing.h"

namespace smelt {
namespace {

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
