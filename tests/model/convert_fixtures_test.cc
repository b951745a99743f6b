// Directories of the fixtures against what llama.cpp's converter makes of them
// (expected_gguf.json).
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <span>

#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "quant/codec.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

// Keys that are written otherwise.
const std::set<std::string> kGemma4Keys = {
    // It has those special tokens that tokenizer_config.json does not name again as normal ones,
    // which no text would be encoded to.
    "tokenizer.ggml.token_type",
    // It does not name the token that ends a turn, which generation_config.json names.
    "tokenizer.ggml.eot_token_id"};
const std::map<std::string, std::set<std::string>> kOtherKeys = {
    {"gemma4", kGemma4Keys},
    {"gemma4_moe", kGemma4Keys},
    {"gemma4_e", kGemma4Keys},
    // It states what is so without the key.
    {"internlm2", {"tokenizer.ggml.add_space_prefix"}}};

class ConvertFixtures : public ::testing::TestWithParam<std::string> {};

TEST_P(ConvertFixtures, TensorsAndHyperparametersEqual) {
  const std::string folder = testing::ModelPath(GetParam());
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  auto opened = OpenModel(folder);
  SMELT_ASSERT_OK(opened);
  const ModelSource& source = *opened->source;
  testing::CompareTensors(source, folder);
  const auto other = kOtherKeys.find(GetParam());
  testing::CompareKeys(source.metadata(), folder, "",
                       other == kOtherKeys.end() ? std::set<std::string>() : other->second);
}

/// Another layout of the same weights gives the same tensors.
struct Layout {
  std::string folder, same_as;
};
void PrintTo(const Layout& layout, std::ostream* out) { *out << layout.folder; }

class Layouts : public ::testing::TestWithParam<Layout> {};

TEST_P(Layouts, TensorsEqualThoseOfTheOther) {
  const std::string folder = testing::ModelPath(GetParam().folder),
                    other = testing::ModelPath(GetParam().same_as);
  if (folder.empty() || other.empty()) SMELT_REQUIRE_SHARED();
  auto opened = OpenModel(folder);
  SMELT_ASSERT_OK(opened);
  testing::CompareTensors(*opened->source, other);
  SMELT_EXPECT_OK(ReadModelSpec(*opened->source));
}

// Of Meta's layout the converter's keys are known for the same model as a Hugging Face folder: what
// a folder's card and generation_config.json say beside these is not in params.json.
TEST(ParamsJsonKeys, HyperparametersAndVocabularyEqual) {
  const std::string folder = testing::ModelPath("llama-meta3");
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  auto opened = OpenModel(folder);
  SMELT_ASSERT_OK(opened);
  testing::CompareKeys(opened->source->metadata(), folder, "llama.");
  testing::CompareKeys(opened->source->metadata(), folder, "tokenizer.");
}

INSTANTIATE_TEST_SUITE_P(Archives, Layouts,
                         ::testing::Values(Layout{"llama-pt", "llama-q-base"},
                                           Layout{"llama-pt-legacy", "llama-spm"},
                                           Layout{"llama-pth", "llama-q-base"},
                                           Layout{"llama-meta", "llama-q-base"},
                                           Layout{"llama-meta3", "llama-meta3"},
                                           Layout{"mistral-consolidated", "mistral"},
                                           Layout{"codestral-mamba", "codestral-mamba"}));

INSTANTIATE_TEST_SUITE_P(Attention, ConvertFixtures, ::testing::ValuesIn(testing::kAttentionModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Of2026, ConvertFixtures, ::testing::ValuesIn(testing::kModelsOf2026),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Hybrid, ConvertFixtures, ::testing::ValuesIn(testing::kHybridModels),
                         testing::TestName);
/// Of quantized checkpoints the converter's tensors are known; most of them it does not read.
class QuantizedFixtures : public ::testing::TestWithParam<std::string> {};

TEST_P(QuantizedFixtures, TensorsEqual) {
  const std::string folder = testing::ModelPath(GetParam());
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  auto opened = OpenModel(folder);
  SMELT_ASSERT_OK(opened);
  testing::CompareTensors(*opened->source, folder);
}

// Experts as gpt-oss publishes them: GGUF's blocks hold the very same values.
TEST(QuantizedExperts, AreTheirValuesAndTheirBlocks) {
  const std::string folder = testing::TestdataPath("quantized/experts/gpt-oss");
  OpenOptions options;
  options.vocabulary = false;
  const auto opened = OpenModel(folder, options);
  SMELT_ASSERT_OK(opened);
  const ModelSource& source = *opened->source;
  SMELT_EXPECT_OK(ReadModelSpec(source));
  const auto values = ParseJsonValue(testing::ReadFile(folder + "/values.json"), "values.json");
  SMELT_ASSERT_OK(values);
  for (const auto& [name, hash] : *values->as_object()) {
    const int at = source.Find(name);
    ASSERT_GE(at, 0) << name;
    const auto tensor = static_cast<size_t>(at);
    const TensorInfo& info = source.tensors()[tensor];
    const uint64_t rows = info.shape.rows(), columns = info.shape.columns();
    std::vector<float> decoded(rows * columns), again(rows * columns);
    SMELT_ASSERT_OK(source.ReadRows(tensor, 0, rows, decoded.data()));
    EXPECT_EQ(Sha256Hex(std::as_bytes(std::span(decoded))), *hash.as_string()) << name;
    ASSERT_EQ(info.type, TensorType::kMXFP4) << name;
    std::vector<std::byte> blocks(rows * *RowBytes(info.type, columns));
    SMELT_ASSERT_OK(source.ReadRawRows(tensor, 0, rows, blocks.data()));
    FindCodec(info.type)->Decode(blocks.data(), again.size(), again.data());
    EXPECT_EQ(decoded, again) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Quantized, QuantizedFixtures,
                         ::testing::ValuesIn(testing::kQuantizedModels), testing::TestName);
INSTANTIATE_TEST_SUITE_P(StateSpace, ConvertFixtures,
                         ::testing::ValuesIn(testing::kStateSpaceModels), testing::TestName);

}  // namespace
}  // namespace smelt
