// Every attention family with hyperparameters that no fixture has: small random models are written
// as their makers publish them, opened, written to GGUF and opened again; the logits of both are
// those of plain_model.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "infer/score.h"
#include "lib/base/cat.h"
#include "lib/model/open.h"
#include "tests/model/drawn_models.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

constexpr double kTolerance = 2e-4;  // of logits of a few units; f32 against double gives 1e-5

struct Case {
  const char* family;
  Published (*make)(Maker&, Model&);
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.family; }

class OtherHyperparameters : public ::testing::TestWithParam<std::tuple<Case, int>> {};

/// One note states every expected difference; there are the other expected ones, and no more.
void CheckNotes(const std::vector<std::string>& notes, const Published& published) {
  std::string differences;
  size_t others = 0;
  for (const std::string& note : notes) {
    if (note.starts_with("llama.cpp")) {
      EXPECT_EQ(differences, "");
      differences = note;
      continue;
    }
    ++others;
    const bool known =
        std::any_of(published.notes.begin(), published.notes.end(),
                    [&](const std::string& part) { return note.find(part) != std::string::npos; });
    EXPECT_TRUE(known) << note;
  }
  EXPECT_EQ(others, published.notes.size());
  size_t statements = 0;
  for (size_t at = 0; (at = differences.find(" it ", at)) != std::string::npos; ++at) ++statements;
  EXPECT_EQ(statements, published.differences.size()) << differences;
  for (const std::string& part : published.differences)
    EXPECT_NE(differences.find(part), std::string::npos) << differences;
}

double LargestDifference(const ModelSource& source, const std::vector<int32_t>& ids,
                         const testing::plain::Rows& expected) {
  double worst = 0;
  uint64_t rows = 0;
  SMELT_EXPECT_OK(ComputeLogits(
      source, ids, Precision::kF32,
      [&](uint64_t position, std::span<const float> row) {
        EXPECT_EQ(row.size(), expected[position].size());
        for (size_t i = 0; i < row.size(); ++i)
          worst = std::max(worst, std::abs(row[i] - expected[position][i]));
        ++rows;
        return absl::OkStatus();
      },
      Observer()));
  EXPECT_EQ(rows, expected.size());
  return worst;
}

TEST_P(OtherHyperparameters, LogitsAreThoseOfThePlainForward) {
  const auto& [chosen, seed] = GetParam();
  Maker maker(1000 + seed);
  Model model;
  const Published published = chosen.make(maker, model);
  SCOPED_TRACE(published.config());
  std::vector<int32_t> ids;
  for (size_t i = 0; i < kLength; ++i)
    ids.push_back(static_cast<int32_t>(maker.Below(maker.vocabulary)));
  const testing::plain::Rows expected = Logits(model, ids);

  const testing::TempDir dir;
  published.Write(dir.path());
  OpenOptions options;
  options.vocabulary = false;
  const auto folder = OpenModel(dir.path(), options);
  SMELT_ASSERT_OK(folder);
  CheckNotes(folder->notes, published);
  EXPECT_LE(LargestDifference(*folder->source, ids, expected), kTolerance);

  testing::WriteF32Gguf(*folder->source, dir / "f32.gguf");
  const auto gguf = OpenModel(dir / "f32.gguf", options);
  SMELT_ASSERT_OK(gguf);
  EXPECT_LE(LargestDifference(*gguf->source, ids, expected), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(
    Attention, OtherHyperparameters,
    ::testing::Combine(
        ::testing::Values(Case{"Llama", Llama}, Case{"Mistral", Mistral},
                          Case{"Ministral", Ministral}, Case{"Mixtral", Mixtral},
                          Case{"Qwen2", Qwen2}, Case{"Qwen2Moe", Qwen2Moe}, Case{"Qwen3", Qwen3},
                          Case{"Qwen3Moe", Qwen3Moe}, Case{"Gemma", Gemma}, Case{"Gemma2", Gemma2},
                          Case{"Gemma3", Gemma3}, Case{"Gemma3Conditional", Gemma3Conditional},
                          Case{"Phi3", Phi3}, Case{"Gpt2", Gpt2}, Case{"GptNeox", GptNeox},
                          Case{"Starcoder2", Starcoder2}, Case{"Olmo2", Olmo2},
                          Case{"GptOss", GptOss}, Case{"Granite", Granite}, Case{"Cohere", Cohere},
                          Case{"HunYuan", HunYuan}, Case{"Olmo", Olmo}, Case{"Olmoe", Olmoe},
                          Case{"Dots1", Dots1}, Case{"Apertus", Apertus}, Case{"PhiMoe", PhiMoe},
                          Case{"InternLm2", InternLm2}),
        ::testing::Range(0, 5)),
    [](const auto& info) {
      return Cat(std::get<0>(info.param).family, "_", std::get<1>(info.param));
    });

}  // namespace
}  // namespace smelt::testing
