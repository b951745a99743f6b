// Archives and the makers' own layouts, in place and converted: logits, perplexity and greedy text
// as transformers recorded them for the same weights.
#include <gtest/gtest.h>

#include <string>

#include "lib/model/open.h"
#include "smelt/convert.h"
#include "tests/model/fixture_models.h"
#include "tests/model/golden_model.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

/// Folder of testdata/models, which has all of them; mistral's recorded results are shared ones.
class ArchiveGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = testing::TestdataPath("models/" + GetParam());
    if (recorded_.Find(folder_)) return;
    SMELT_REQUIRE_SHARED();
    ASSERT_TRUE(recorded_.Find(testing::SharedPath("fixtures/models/" + GetParam())));
  }

  void ExpectAsRecorded(const std::string& path) {
    SCOPED_TRACE(path);
    const auto opened = OpenModel(path);
    SMELT_ASSERT_OK(opened);
    recorded_.ExpectLogits(*opened->source);
    recorded_.ExpectPerplexities(*opened->source);
    recorded_.ExpectGreedyTexts(*opened->source);
  }

  std::string folder_;
  testing::GoldenModel recorded_;
};

TEST_P(ArchiveGolden, InPlace) { ExpectAsRecorded(folder_); }

TEST_P(ArchiveGolden, Converted) {
  const testing::TempDir dir;
  const ConvertOptions options = testing::UncheckedConversion(folder_, dir / "model.gguf", "f32");
  SMELT_ASSERT_OK(Convert(options));
  ExpectAsRecorded(options.output);
}

INSTANTIATE_TEST_SUITE_P(Layouts, ArchiveGolden,
                         ::testing::Values("llama-pt", "llama-pt-legacy", "llama-pth", "llama-meta",
                                           "llama-meta3", "mistral-consolidated"),
                         testing::TestName);

}  // namespace
}  // namespace smelt
