#include "lib/jobs/gate.h"

#include <cmath>
#include <limits>

#include "lib/base/folder.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/jobs/evaluation.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "tests/jobs/fake_source.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::FakeSource;
using testing::ReadFile;
using testing::TempDir;
using testing::TestdataPath;

TEST(BreakageLimit, FollowsTheCoarsestTypeThatMatters) {
  FakeSource source;
  source.Add("token_embd.weight", {256, 1000});
  source.Add("blk.0.ffn_up.weight", {256, 1000});
  source.Add("blk.0.ffn_gate.weight", {256, 20});
  double last = 0;
  for (const char* type : {"f16", "q8_0", "q6_k", "q5_0", "q4_0", "q3_k_m", "q2_k"}) {
    const auto plan = MakePlan(source, {.type = type, .pure = std::string_view(type) != "f16"});
    SMELT_ASSERT_OK(plan);
    const double limit = BreakageLimit(*plan);
    EXPECT_GT(limit, last) << type;
    last = limit;
  }
  // One small coarse tensor among fine ones loosens nothing.
  const auto mixed = MakePlan(source, {.type = "q8_0", .tensor_types = {{"ffn_gate", "q2_k"}}});
  SMELT_ASSERT_OK(mixed);
  EXPECT_EQ(mixed->tensors[2].type, TensorType::kQ2_K);
  EXPECT_EQ(BreakageLimit(*mixed), BreakageLimit(*MakePlan(source, {.type = "q8_0"})));
}

TEST(QuickPositions, NeverBelow128) {
  Plan plan;
  for (const auto& [parameters, positions] : {std::pair<uint64_t, uint64_t>{1'000'000, 512},
                                              {135'000'000, 512},
                                              {270'000'000, 256},
                                              {1'100'000'000, 128},
                                              {400'000'000'000, 128}}) {
    plan.parameters = parameters;
    EXPECT_EQ(QuickPositions(plan), positions) << parameters;
  }
}

TEST(Judge, NanNeverPasses) {
  EvaluateResult result;
  Judge("a", 1, 1, result);
  EXPECT_TRUE(result.passed);
  Judge("b", 1, std::numeric_limits<double>::quiet_NaN(), result);
  EXPECT_FALSE(result.passed);
  EXPECT_TRUE(result.gates[0].passed);
  EXPECT_FALSE(result.gates[1].passed);
}

TEST(Convert, ADeviceChecksAndDecidesNoByte) {
  TempDir dir;
  ConvertOptions options =
      testing::Conversion(TestdataPath("models/llama"), dir / "cpu.gguf", "q4_0");
  const auto expected = Convert(options);
  SMELT_ASSERT_OK(expected);
  ASSERT_TRUE(expected->validation.has_value());
  EXPECT_EQ(expected->validation->device, "cpu");
  options.output = dir / "device.gguf";
  options.device.device = "no such device";
  EXPECT_EQ(CodeOf(Convert(options).status()), ErrorCode::kUsage);
  EXPECT_FALSE(Exists(options.output + ".part"));
  if (ListDevices().devices.size() < 2) GTEST_SKIP() << "SKIPPED: there is no Vulkan device here";
  options.device.device = "vulkan";
  const auto result = Convert(options);
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(ReadFile(options.output), ReadFile(dir / "cpu.gguf"));
  EXPECT_TRUE(result->validation->device.starts_with("vulkan:")) << result->validation->device;
  EXPECT_NEAR(result->validation->reference->kl_mean, expected->validation->reference->kl_mean,
              1e-5);
}

TEST(Convert, LimitsDecideAndNothingStaysOfARejectedOutput) {
  TempDir dir;
  ConvertOptions options =
      testing::Conversion(TestdataPath("models/llama"), dir / "x.gguf", "q4_0");
  options.max_kl = 1e-9;
  const auto missed = Convert(options);
  ASSERT_FALSE(missed.ok());
  EXPECT_EQ(CodeOf(missed.status()), ErrorCode::kGateMissed);
  EXPECT_FALSE(Exists(dir / "x.gguf"));
  EXPECT_FALSE(Exists(dir / "x.gguf.part"));
  options.max_kl = 1;
  const auto passed = Convert(options);
  SMELT_ASSERT_OK(passed);
  ASSERT_TRUE(passed->validation.has_value());
  EXPECT_TRUE(passed->validation->passed);
  EXPECT_EQ(passed->validation->context * passed->validation->chunks, 512u);
  EXPECT_GT(passed->peak_anonymous_bytes, 0u);
  EXPECT_LT(passed->peak_anonymous_bytes, 300u << 20);
  EXPECT_EQ(ReadFile(dir / "x.gguf").size(), passed->bytes);
}

TEST(Convert, WithoutATokenizerItIsCheckedOnRandomIds) {
  TempDir dir;
  ConvertOptions options =
      testing::UncheckedConversion(TestdataPath("models/llama"), dir / "a.gguf", "f16");
  options.metadata = {{"tokenizer.ggml.model", "none"}};
  SMELT_ASSERT_OK(Convert(options));
  ConvertOptions again = testing::Conversion(dir / "a.gguf", dir / "b.gguf", "q8_0");
  std::string notes;
  Observer observer;
  observer.note = [&](NoteKind, const std::string& text) { notes += text + "\n"; };
  const auto result = Convert(again, observer);
  SMELT_ASSERT_OK(result);
  EXPECT_NE(notes.find("random ids"), std::string::npos) << notes;
  EXPECT_GT(result->validation->reference->kl_mean, 0);
}

TEST(Convert, AModelOfAContextTooShortForTheCheckIsRefusedForThat) {
  TempDir dir;
  ConvertOptions options = testing::Conversion(TestdataPath("models/llama"), dir / "x.gguf", "f16");
  for (const auto& [context, accepted] : {std::pair("7", false), std::pair("8", true)}) {
    options.metadata = {{"llama.context_length", context}};
    options.validate = Validate::kOff;
    options.output = dir / "short.gguf";
    options.force = true;
    SMELT_ASSERT_OK(Convert(options));
    ConvertOptions checked = testing::Conversion(options.output, dir / "x.gguf", "q8_0");
    const auto result = Convert(checked);
    EXPECT_EQ(result.ok(), accepted) << result.status();
    if (accepted) continue;
    const std::string said(result.status().message());
    EXPECT_NE(said.find("context_length"), std::string::npos) << said;
    EXPECT_NE(said.find("is 7 tokens"), std::string::npos) << said;
    EXPECT_FALSE(Exists(dir / "x.gguf.part"));  // said before anything is written
  }
}

TEST(Convert, CancelledInTheCheckResumesAtTheCheck) {
  TempDir dir;
  ConvertOptions options =
      testing::Conversion(TestdataPath("models/llama"), dir / "x.gguf", "q8_0");
  options.validate = Validate::kFull;  // several batches: all but the first behind the writing
  bool checking = false;
  Observer observer;
  observer.progress = [&](const Progress& p) { checking = checking || p.phase == "checking"; };
  observer.cancelled = [&] { return checking; };
  EXPECT_EQ(CodeOf(Convert(options, observer).status()), ErrorCode::kCancelled);
  EXPECT_TRUE(Exists(dir / "x.gguf.part"));
  const auto result = Convert(options);
  SMELT_ASSERT_OK(result);
  EXPECT_TRUE(result->resumed);
}

// The golden figures are transformers', in f32, over the model's own evaluation text.
TEST(Evaluate, PerplexityOfADirectoryIsTransformers) {
  for (const char* model : {"models/llama", "models/llama-spm"}) {
    const auto golden =
        ParseJsonValue(ReadFile(TestdataPath(Cat(model, "/golden.json"))), "golden.json");
    SMELT_ASSERT_OK(golden);
    EvaluateOptions options{.model = TestdataPath(model),
                            .text_files = {TestdataPath("models/eval.txt")}};
    options.context = static_cast<uint64_t>(*golden->Find("context")->as_int());
    const auto result = Evaluate(options);
    SMELT_ASSERT_OK(result);
    const double expected = *golden->Find("perplexity")->as_double();
    EXPECT_NEAR(result->perplexity / expected, 1, 5e-4) << model;
    EXPECT_NEAR(result->perplexity_error / *golden->Find("perplexity_error")->as_double(), 1, 5e-3)
        << model;
    EXPECT_EQ(static_cast<int64_t>(result->tokens_scored), *golden->Find("n_scored")->as_int())
        << model;
  }
}

TEST(Evaluate, AModelAgainstItselfDiffersInNothing) {
  EvaluateOptions options{.model = TestdataPath("models/llama"),
                          .text_files = {TestdataPath("models/eval.txt")}};
  options.reference = options.model;
  options.context = 64;
  options.chunks = 3;
  options.max_kl = 0;
  options.max_ppl_increase = 0;
  const auto result = Evaluate(options);
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->reference->kl_max, 0);
  EXPECT_EQ(result->reference->ln_ratio, 0);
  EXPECT_EQ(result->reference->top1_agreement, 1);
  EXPECT_TRUE(result->passed);
  options.max_ppl = 1;
  EXPECT_FALSE(Evaluate(options)->passed);
}

}  // namespace
}  // namespace smelt
