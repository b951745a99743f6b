// What computes a job: chosen, said once, and the same as the processor's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lib/base/status.h"
#include "smelt/bench.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "smelt/generate.h"
#include "smelt/imatrix.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TempDir;
using testing::TestdataPath;

BenchOptions ShortBench() {
  BenchOptions options;
  options.model = TestdataPath("models/llama");
  options.prompt = 12;
  options.generate = 4;
  options.repeats = 3;
  return options;
}

// What decides bytes is the processor's; the rest is a card's, where there is one.
TEST(Devices, AFreeChoiceIsMadeWhereNoByteDependsOnIt) {
  EXPECT_EQ(ConvertOptions().device.device, "cpu");
  EXPECT_EQ(ImportanceOptions().device.device, "cpu");
  SMELT_REQUIRE_VULKAN();
  TempDir dir;
  GenerateOptions generate;
  generate.model = TestdataPath("models/llama");
  generate.prompt_ids = {1, 2, 3};
  generate.use_prompt_ids = true;
  generate.max_tokens = 2;
  EvaluateOptions evaluate;
  evaluate.model = generate.model;
  evaluate.tokens_file = dir / "ids.json";
  testing::WriteFile(evaluate.tokens_file, "[1, 2, 3, 4]");
  evaluate.logits_out = dir / "logits.safetensors";
  for (const bool card : {false, true}) {
    DeviceTrials::software = card;
    const std::string expected = card ? "vulkan:0" : ListDevices().devices[1].software ? "cpu" : "";
    const auto speed = Bench(ShortBench());
    const auto text = Generate(generate);
    const auto logits = Evaluate(evaluate);
    DeviceTrials::software = false;
    SMELT_ASSERT_OK(speed);
    SMELT_ASSERT_OK(text);
    SMELT_ASSERT_OK(logits);
    if (expected.empty()) continue;  // a card of this machine's
    EXPECT_EQ(speed->device, expected);
    EXPECT_EQ(text->device, expected);
    EXPECT_EQ(logits->device, expected);
  }
}

// A recorded model in block formats: a prompt, then a token, and what that takes besides the
// dispatches of f32: inputs are rounded before q, k and v, output, gate with up, down, and the
// head.
TEST(Devices, RoundedActivationsAreTheProcessors) {
  SMELT_REQUIRE_VULKAN();
  TempDir dir;
  const std::vector<int32_t> prompt = {1, 17, 90, 3, 44, 45, 46, 200, 301, 77, 5, 8};
  for (const char* type : {"q8_0", "q4_k_m"}) {
    SCOPED_TRACE(type);
    const std::string file = dir / (std::string(type) + ".gguf");
    SMELT_ASSERT_OK(
        Convert(testing::UncheckedConversion(TestdataPath("models/llama"), file, type)));
    std::vector<std::vector<float>> logits;
    for (const char* device : {"cpu", "vulkan", "vulkan"}) {
      const auto generator = Generator::Open(
          {.model = file, .activations = Activations::kQ8, .device = {.device = device}});
      SMELT_ASSERT_OK(generator);
      SMELT_ASSERT_OK((*generator)->Feed(prompt));
      std::vector<float> all = (*generator)->logits();
      SMELT_ASSERT_OK((*generator)->Feed(std::vector<int32_t>{9}));
      all.insert(all.end(), (*generator)->logits().begin(), (*generator)->logits().end());
      logits.push_back(std::move(all));
    }
    double largest = 0, worst = 0;
    for (size_t i = 0; i < logits[0].size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(logits[0][i])));
      worst = std::max(worst, std::abs(static_cast<double>(logits[0][i]) - logits[1][i]));
    }
    EXPECT_LT(worst, 2e-3 * largest);
    EXPECT_EQ(logits[2], logits[1]);
  }
  BenchOptions options = ShortBench();
  options.model = dir / "q8_0.gguf";
  options.device.device = "vulkan";
  options.activations = Activations::kQ8;
  const auto bench = Bench(options);
  SMELT_ASSERT_OK(bench);
  EXPECT_EQ(bench->rows[0].commands_per_token->dispatches, 2 * (9 + 4) + 2 + 1);
}

// Each computes as it would alone: the device exactly, the processor with rounded activations.
TEST(Devices, LayersOfTheProcessorBesideADeviceComputeAsTheProcessorDoes) {
  SMELT_REQUIRE_VULKAN();
  BenchOptions options = ShortBench();
  options.device.device = "vulkan";
  const auto whole = Bench(options);
  SMELT_ASSERT_OK(whole);
  EXPECT_EQ(whole->activations, "f32");
  EXPECT_FALSE(whole->rows[0].read_bandwidth || whole->rows[0].bandwidth_share);
  options.device.device_layers = 1;
  const auto parts = Bench(options);
  SMELT_ASSERT_OK(parts);
  EXPECT_EQ(parts->device_layers, 1u);
  EXPECT_EQ(parts->activations, "f32+q8");
  options.activations = Activations::kF32;
  const auto exact = Bench(options);
  SMELT_ASSERT_OK(exact);
  EXPECT_EQ(exact->activations, "f32");
}

#ifdef SMELT_HAS_VULKAN

/// The notes of one job, which had the choice of a device that fails.
template <typename Job>
std::vector<std::string> NotesOf(const Job& job) {
  const testing::Replaced<vkCreateDevice> replaced(
      [](VkPhysicalDevice, const VkDeviceCreateInfo*, const VkAllocationCallbacks*, VkDevice*) {
        return VK_ERROR_INITIALIZATION_FAILED;
      });
  std::vector<std::string> notes;
  Observer observer;
  observer.note = [&](NoteKind, const std::string& note) {
    if (note.find("vulkan:0") != std::string::npos) notes.push_back(note);
  };
  DeviceTrials::software = true;
  const auto result = job(observer);
  DeviceTrials::software = false;
  SMELT_EXPECT_OK(result);
  return notes;
}

TEST(Devices, ADeviceThatFailsIsPassedOverWithOneNote) {
  SMELT_REQUIRE_VULKAN();
  TempDir dir;
  const std::string model = TestdataPath("models/llama");
  testing::WriteFile(dir / "ids.json", "[1, 2, 3, 4]");
  const auto once = ::testing::ElementsAre(::testing::HasSubstr("is passed over"));
  for (const Validate validate : {Validate::kQuick, Validate::kFull}) {
    ConvertOptions convert = testing::Conversion(model, dir / "m.gguf", "q8_0");
    convert.device = AnyDevice();
    convert.validate = validate;
    convert.force = true;
    EXPECT_THAT(NotesOf([&](const Observer& o) { return Convert(convert, o); }), once);
  }
  EXPECT_THAT(NotesOf([&](const Observer& o) { return Bench(ShortBench(), o); }), once);
  GenerateOptions generate;
  generate.model = model;
  generate.prompt_ids = {1, 2, 3};
  generate.use_prompt_ids = true;
  generate.max_tokens = 2;
  EXPECT_THAT(NotesOf([&](const Observer& o) { return Generate(generate, o); }), once);
  EvaluateOptions evaluate;
  evaluate.model = model;
  evaluate.tokens_file = dir / "ids.json";
  evaluate.logits_out = dir / "logits.safetensors";
  EXPECT_THAT(NotesOf([&](const Observer& o) { return Evaluate(evaluate, o); }), once);
  ImportanceOptions importance;
  importance.model = model;
  importance.text_files = {TestdataPath("text/calibration.txt")};
  importance.output = dir / "imatrix.gguf";
  importance.context = 32;
  importance.chunks = 1;
  importance.device = AnyDevice();
  EXPECT_THAT(NotesOf([&](const Observer& o) { return MakeImportance(importance, o); }), once);
}

#endif

}  // namespace
}  // namespace smelt
