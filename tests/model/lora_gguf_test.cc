// Adapters merged into GGUFs: PEFT's by the way that the base's tensors were made, and those that
// llama.cpp's converter writes; and such files as we write them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "formats/gguf.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/model/lora_file.h"
#include "lib/model/open.h"
#include "lib/model/recipe.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/model/golden_model.h"
#include "tests/model/recorded_adapters.h"
#include "tests/model/small_folder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

std::string BaseOf(const std::string& adapter) {
  const auto config = ParseJsonValue(testing::ReadFile(adapter + "/adapter_config.json"), "config");
  return Cat(adapter, "/", *config->Find("base_model_name_or_path")->as_string());
}

/// A GGUF of every tensor of a source, as it is.
void WriteGguf(const ModelSource& source, const std::string& path) {
  std::vector<GgufTensorSpec> specs;
  for (const TensorInfo& tensor : source.tensors())
    specs.push_back({tensor.name, tensor.shape.ne, tensor.shape.dims, TensorType::kF32});
  const auto layout = SerializeGgufHeader(source.metadata(), specs);
  SMELT_ASSERT_OK(layout);
  std::string bytes(layout->file_size, '\0');
  std::memcpy(bytes.data(), layout->header.data(), layout->header.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    const std::vector<float> values = testing::ReadTensor(source, specs[i].name);
    std::memcpy(bytes.data() + layout->offsets[i], values.data(), values.size() * sizeof(float));
  }
  testing::WriteFile(path, bytes);
}

/// The same adapter merged into a GGUF that was made of the base.
class AdaptersOfGgufs : public ::testing::TestWithParam<std::string> {
 protected:
  void ExpectSame(const std::string& base, const std::string& adapter) {
    const auto plain = OpenModel(base, WithoutVocabulary());
    SMELT_ASSERT_OK(plain);
    const std::string file = dir_.path() + "/base.gguf";
    WriteGguf(*plain->source, file);
    OpenOptions options = WithoutVocabulary();
    options.adapters = {{adapter, 1}};
    const auto of_folder = OpenModel(base, options);
    SMELT_ASSERT_OK(of_folder);
    const auto of_gguf = OpenModel(file, options);
    SMELT_ASSERT_OK(of_gguf);
    ASSERT_EQ(of_folder->source->tensors().size(), of_gguf->source->tensors().size());
    for (const TensorInfo& tensor : of_folder->source->tensors()) {
      const std::vector<float> expected = testing::ReadTensor(*of_folder->source, tensor.name),
                               values = testing::ReadTensor(*of_gguf->source, tensor.name);
      ASSERT_EQ(expected.size(), values.size()) << tensor.name;
      for (size_t i = 0; i < values.size(); ++i)
        ASSERT_NEAR(expected[i], values[i], 1e-6f * (1 + std::abs(expected[i])))
            << tensor.name << " " << i;
    }
  }

  testing::TempDir dir_;
};

TEST_P(AdaptersOfGgufs, GiveWhatThePublishedFolderDoes) {
  const std::string folder = RecordedAdapter(GetParam());
  ExpectSame(BaseOf(folder), folder);
}

INSTANTIATE_TEST_SUITE_P(Recorded, AdaptersOfGgufs,
                         ::testing::Values("llama-qv", "llama-rslora", "llama-patterns",
                                           "llama-dora", "ends", "tokens", "bias", "all-biases",
                                           "norms", "dora-ends", "ranks", "gpt2", "gpt2-dora",
                                           "experts", "experts-down", "experts-turned",
                                           "tied-tokens"),
                         testing::TestName);

TEST(AdaptersOfGguf, AddedTokensNeedTheFolder) {
  testing::TempDir dir;
  const auto plain = OpenModel(RecordedAdapter("bases/llama"), WithoutVocabulary());
  SMELT_ASSERT_OK(plain);
  WriteGguf(*plain->source, dir.path() + "/base.gguf");
  OpenOptions options = WithoutVocabulary();
  options.adapters = {{RecordedAdapter("added-tokens"), 1}};
  const auto opened = OpenModel(dir.path() + "/base.gguf", options);
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.status().message().find("added tokens"), absl::string_view::npos)
      << opened.status();
}

/// Whether a published tensor is the weight of a module that an adapter can be for.
bool IsAdaptable(const RawTensor& tensor) {
  // Draft heads, which nobody trains by adapters, what is no linear layer, what is cut on its way.
  constexpr std::string_view kNone[] = {"mtp.", "norm",    "embed",        "wte",       "wpe",
                                        "conv", "lm_head", "in_proj_qkvz", "in_proj_ba"};
  return tensor.name.ends_with(".weight") && tensor.shape.size() == 2 &&
         std::ranges::none_of(kNone, [&](std::string_view part) {
           return tensor.name.find(part) != std::string::npos;
         });
}

/// An adapter for every matrix of a model that has a module of its own, experts too.
void WriteAdapterForAll(const ModelSource& base, const std::string& folder) {
  testing::FolderTensors tensors;
  for (const TensorInfo& info : base.tensors()) {
    for (const Leaf& leaf : info.recipe->leaves) {
      const auto* raw = std::get_if<RawLeaf>(&leaf);
      if (raw == nullptr || !IsAdaptable(raw->tensor)) continue;
      const std::string& name = raw->tensor.name;
      const std::string module = Cat("base_model.model.", name.substr(0, name.rfind(".weight")));
      const uint64_t outputs = raw->tensor.shape[raw->transposed ? 1 : 0],
                     inputs = raw->tensor.shape[raw->transposed ? 0 : 1];
      testing::FolderTensor a = testing::Counting({2, inputs}, 1),
                            b = testing::Counting({outputs, 2}, 3);
      for (float& value : a.values) value = std::sin(value) / 8;
      for (float& value : b.values) value = std::cos(value) / 8;
      tensors[module + ".lora_A.weight"] = a;
      tensors[module + ".lora_B.weight"] = b;
    }
  }
  ASSERT_FALSE(tensors.empty());
  testing::WriteFolder(folder, R"({"peft_type":"LORA","r":2,"lora_alpha":3})", tensors);
  fs::rename(folder + "/config.json", folder + "/adapter_config.json");
  fs::rename(folder + "/model.safetensors", folder + "/adapter_model.safetensors");
}

class AdaptersOfEveryFamily : public AdaptersOfGgufs {};

TEST_P(AdaptersOfEveryFamily, GiveWhatThePublishedFolderDoes) {
  const std::string folder = testing::ModelPath(GetParam());
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  const auto plain = OpenModel(folder, WithoutVocabulary());
  SMELT_ASSERT_OK(plain);
  fs::create_directory(dir_.path() + "/adapter");
  WriteAdapterForAll(*plain->source, dir_.path() + "/adapter");
  if (GetParam() != "internlm2") return ExpectSame(folder, dir_.path() + "/adapter");
  // Queries, keys and values are parts of one tensor, whose rows the GGUF does not tell.
  WriteGguf(*plain->source, dir_.path() + "/base.gguf");
  OpenOptions options = WithoutVocabulary();
  options.adapters = {{dir_.path() + "/adapter", 1}};
  const auto refused = OpenModel(dir_.path() + "/base.gguf", options);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("cannot be told from a GGUF"), absl::string_view::npos)
      << refused.status();
}

INSTANTIATE_TEST_SUITE_P(Attention, AdaptersOfEveryFamily,
                         ::testing::ValuesIn(testing::kAttentionModels), testing::TestName);
INSTANTIATE_TEST_SUITE_P(Of2026, AdaptersOfEveryFamily, ::testing::ValuesIn(testing::kModelsOf2026),
                         testing::TestName);

/// Adapters as files of their own.
class AdapterFiles : public ::testing::TestWithParam<std::string> {};

TEST_P(AdapterFiles, DoWhatTheFolderDoes) {
  const testing::TempDir dir;
  const std::string folder = RecordedAdapter(GetParam()), file = dir.path() + "/adapter.gguf";
  const auto alone = OpenAsLoraFile(folder, 1, "");
  SMELT_ASSERT_OK(alone);
  WriteGguf(*alone->source, file);
  OpenOptions options = WithoutVocabulary();
  options.adapters = {{file, 1}};
  const auto opened = OpenModel(BaseOf(folder), options);
  SMELT_ASSERT_OK(opened);
  testing::ExpectRecordedLogits(*opened->source, folder + "/golden/golden_logits.safetensors");
}

INSTANTIATE_TEST_SUITE_P(Recorded, AdapterFiles,
                         ::testing::Values("llama-qv", "llama-rslora", "llama-patterns", "ranks",
                                           "gpt2", "experts", "experts-turned"),
                         testing::TestName);

TEST(AdapterFile, RefusesWhatItCannotHold) {
  for (const char* name : {"llama-dora", "added-tokens", "tokens", "bias", "norms", "all-biases"}) {
    const auto alone = OpenAsLoraFile(RecordedAdapter(name), 1, "");
    ASSERT_FALSE(alone.ok()) << name;
    EXPECT_NE(alone.status().message().find("--lora"), absl::string_view::npos) << alone.status();
    EXPECT_LT(alone.status().message().size(), 400u);
  }
}

}  // namespace
}  // namespace smelt
