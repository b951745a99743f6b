// Directories of the fixtures against what llama.cpp's converter makes of them
// (expected_gguf.json).
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/model/open.h"
#include "tests/model/expected_gguf.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

class ConvertFixtures : public ::testing::TestWithParam<std::string> {};

TEST_P(ConvertFixtures, TensorsAndHyperparametersEqual) {
  const std::string folder = testing::ModelPath(GetParam());
  if (folder.empty()) SMELT_REQUIRE_SHARED();
  auto opened = OpenModel(folder);
  SMELT_ASSERT_OK(opened);
  const ModelSource& source = *opened->source;
  testing::CompareTensors(source, folder);
  testing::CompareKeys(source.metadata(), folder, /*tokenizer=*/true);
}

std::string NameOf(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Attention, ConvertFixtures,
                         ::testing::Values("llama", "llama-spm", "mistral", "mixtral", "qwen2",
                                           "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2",
                                           "gemma3", "phi3", "gpt2", "gptneox", "starcoder2",
                                           "olmo2"),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(StateSpace, ConvertFixtures,
                         ::testing::Values("mamba", "mamba2", "codestral-mamba-hf", "jamba"),
                         NameOf);

}  // namespace
}  // namespace smelt
