// One prompt, many continuations, through the public header.
#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/status.h"
#include "smelt/generate.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TestdataPath;

std::unique_ptr<Generator> Open(const std::string& model) {
  GeneratorOptions options;
  options.model = TestdataPath("models/" + model);
  options.f32_activations = true;
  absl::StatusOr<std::unique_ptr<Generator>> generator = Generator::Open(options);
  SMELT_EXPECT_OK(generator);
  return generator.ok() ? *std::move(generator) : nullptr;
}

ContinueOptions Greedy(int64_t tokens) {
  ContinueOptions options;
  options.max_tokens = tokens;
  options.temperature = 0;
  options.ignore_eos = true;
  return options;
}

class GeneratorTest : public ::testing::TestWithParam<std::string> {};

TEST_P(GeneratorTest, APromptProcessedOnceIsContinuedManyTimes) {
  const std::unique_ptr<Generator> generator = Open(GetParam());
  ASSERT_NE(generator, nullptr);
  const auto prompt = generator->Encode("It was the best of times, it was the worst of times");
  SMELT_ASSERT_OK(prompt);
  SMELT_ASSERT_OK(generator->Feed(*prompt));
  const GeneratorState after = generator->Save();
  EXPECT_EQ(after.positions(), prompt->size());

  const auto greedy = generator->Continue(Greedy(40));
  SMELT_ASSERT_OK(greedy);
  EXPECT_EQ(greedy->ids.size(), 40u);
  // Another continuation in between changes nothing for those after it.
  SMELT_ASSERT_OK(generator->Restore(after));
  ContinueOptions hot;
  hot.temperature = 3, hot.top_k = 0, hot.top_p = 1, hot.min_p = 0, hot.max_tokens = 25;
  hot.ignore_eos = true;
  SMELT_ASSERT_OK(generator->Continue(hot));
  const GeneratorState copy = after;
  SMELT_ASSERT_OK(generator->Restore(copy));
  EXPECT_EQ(generator->positions(), prompt->size());
  const auto again = generator->Continue(Greedy(40));
  SMELT_ASSERT_OK(again);
  EXPECT_EQ(again->ids, greedy->ids);
  EXPECT_EQ(again->text, greedy->text);

  // The state goes to another generator of the same model, and the first one may go.
  const std::unique_ptr<Generator> other = Open(GetParam());
  ASSERT_NE(other, nullptr);
  SMELT_ASSERT_OK(other->Restore(copy));
  const auto elsewhere = other->Continue(Greedy(40));
  SMELT_ASSERT_OK(elsewhere);
  EXPECT_EQ(elsewhere->ids, greedy->ids);

  // And all of it is what one call gives.
  GenerateOptions options;
  static_cast<ContinueOptions&>(options) = Greedy(40);
  options.model = TestdataPath("models/" + GetParam());
  options.f32_activations = true;
  options.prompt_ids = *prompt;
  options.use_prompt_ids = true;
  const auto whole = Generate(options);
  SMELT_ASSERT_OK(whole);
  EXPECT_EQ(whole->ids, greedy->ids);
}

INSTANTIATE_TEST_SUITE_P(Models, GeneratorTest,
                         ::testing::Values("llama", "gemma2", "mamba", "mamba2", "jamba"));

TEST(Generator, RefusesStatesOfOtherModelsAndIdsThatAreNone) {
  const std::unique_ptr<Generator> llama = Open("llama"), mamba = Open("mamba");
  ASSERT_TRUE(llama != nullptr && mamba != nullptr);
  EXPECT_EQ(CodeOf(llama->Restore(GeneratorState())), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(llama->Continue(Greedy(1)).status()), ErrorCode::kUsage);
  const std::vector<int32_t> ids = {1, 2, 3}, bad = {1, 1 << 20};
  SMELT_ASSERT_OK(llama->Feed(ids));
  EXPECT_EQ(CodeOf(mamba->Restore(llama->Save())), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(llama->Feed(bad)), ErrorCode::kInvalidInput);
  EXPECT_EQ(llama->positions(), 3u);
}

}  // namespace
}  // namespace smelt
