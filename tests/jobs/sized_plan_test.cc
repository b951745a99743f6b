// Types chosen for a size: never larger than that, read, edited and taken again.
#include "lib/jobs/sized_plan.h"

#include <gmock/gmock.h>

#include <map>

#include "lib/base/folder.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/tensor_losses.h"
#include "smelt/convert.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Conversion;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::Model;
using testing::ReadFile;
using testing::TempDir;
using testing::WriteFile;

ConvertOptions Sized(const std::string& model, const std::string& output, double bpw) {
  ConvertOptions options = Conversion(model, output, "auto");
  options.target_bpw = bpw;
  options.max_kl = 50;
  options.max_ppl_increase = 50;
  return options;
}

TEST(SizedPlan, IsNeverLargerAndUsesWhatThereIs) {
  const TempDir dir;
  for (const char* name : {"llama", "qwen2moe", "jamba", "gemma2"}) {
    SCOPED_TRACE(name);
    const auto q8 = PlanConversion(Conversion(Model(name), dir / "x.gguf", "q8_0"));
    const auto q4 = PlanConversion(Conversion(Model(name), dir / "x.gguf", "q4_0"));
    SMELT_ASSERT_OK(q8);
    SMELT_ASSERT_OK(q4);
    for (const double share : {0.0, 0.3, 0.71, 1.0}) {
      const double bpw = q4->bits_per_weight + share * (q8->bits_per_weight - q4->bits_per_weight);
      const auto plan = PlanConversion(Sized(Model(name), dir / "x.gguf", bpw));
      SMELT_ASSERT_OK(plan);
      EXPECT_LE(plan->bits_per_weight, bpw);
      EXPECT_GT(plan->bits_per_weight, 0.96 * bpw);
      ConvertOptions by_size = Sized(Model(name), dir / "x.gguf", 0);
      by_size.target_size =
          q4->file_bytes +
          static_cast<uint64_t>(share * static_cast<double>(q8->file_bytes - q4->file_bytes));
      const auto sized = PlanConversion(by_size);
      SMELT_ASSERT_OK(sized);
      EXPECT_LE(sized->file_bytes, by_size.target_size);
      EXPECT_GT(static_cast<double>(sized->file_bytes),
                0.96 * static_cast<double>(by_size.target_size));
      EXPECT_THAT(sized->walk, HasSubstr("measure"));
    }
  }
}

TEST(SizedPlan, LosesLessThanAPresetOfItsSize) {
  const TempDir dir;
  for (const char* name : {"llama", "gemma2"}) {
    SCOPED_TRACE(name);
    ConvertOptions preset = Conversion(Model(name), dir / "p.gguf", "q4_0");
    preset.max_kl = 50;
    preset.max_ppl_increase = 50;
    preset.force = true;
    const auto plain = Convert(preset);
    SMELT_ASSERT_OK(plain);
    ConvertOptions sized = Sized(Model(name), dir / "s.gguf", plain->bits_per_weight);
    sized.force = true;
    const auto fitted = Convert(sized);
    SMELT_ASSERT_OK(fitted);
    EXPECT_LE(fitted->bits_per_weight, plain->bits_per_weight);
    EXPECT_LT(fitted->validation->reference->kl_mean, plain->validation->reference->kl_mean);
  }
}

class SizedPlanOfEffort : public ::testing::TestWithParam<const char*> {};

TEST_P(SizedPlanOfEffort, IsTheSameForAnyNumberOfThreadsAndResumed) {
  const TempDir dir;
  ConvertOptions options = Sized(Model("llama"), dir / "one.gguf", 5.2);
  options.effort = GetParam();
  if (options.effort == "best") options.calibration_tokens = testing::kFewTokens;
  SetThreads(1);
  SMELT_ASSERT_OK(Convert(options));
  SetThreads(4);
  const Observer observer = testing::StopsHalfWay();
  options.output = dir / "four.gguf";
  EXPECT_EQ(CodeOf(Convert(options, observer).status()), ErrorCode::kCancelled);
  const auto resumed = Convert(options);
  SMELT_ASSERT_OK(resumed);
  EXPECT_TRUE(resumed->resumed);
  EXPECT_TRUE(ReadFile(dir / "one.gguf") == ReadFile(dir / "four.gguf"));
  SetThreads(0);
}

INSTANTIATE_TEST_SUITE_P(Efforts, SizedPlanOfEffort, ::testing::Values("normal", "best"),
                         [](const auto& test) { return std::string(test.param); });

TEST(SizedPlan, TypesAreWrittenReadEditedAndTakenAgain) {
  const TempDir dir;
  ConvertOptions options = Sized(Model("llama"), dir / "a.gguf", 5.2);
  options.tensor_types_file = dir / "types.txt";
  options.plan_file = dir / "plan.json";
  SMELT_ASSERT_OK(Convert(options));
  const std::string types = ReadFile(dir / "types.txt");
  EXPECT_THAT(types, HasSubstr("^blk\\.0\\.attn_q\\.weight$="));

  // By the list alone, by the list and the size, by the plan.
  ConvertOptions again = options;
  again.plan_file = "";
  again.output = dir / "b.gguf";
  SMELT_ASSERT_OK(Convert(again));
  EXPECT_TRUE(ReadFile(dir / "a.gguf") == ReadFile(dir / "b.gguf"));
  again = options;
  again.output = dir / "c.gguf";
  again.tensor_types_file = "";
  SMELT_ASSERT_OK(Convert(again));
  EXPECT_TRUE(ReadFile(dir / "a.gguf") == ReadFile(dir / "c.gguf"));

  // Somebody's own wishes: what the user names stays named, what is too large is refused.
  ConvertOptions edited = options;
  edited.plan_file = "";
  edited.output = dir / "d.gguf";
  WriteFile(dir / "types.txt", "# mine\nattn_q = q8_0 # large\n" + types);
  const absl::Status large = Convert(edited).status();
  EXPECT_EQ(CodeOf(large), ErrorCode::kUsage);
  EXPECT_THAT(std::string(large.message()), HasSubstr("5.2"));
  edited.target_bpw = 0;
  edited.type = "q4_0";
  const auto free = PlanConversion(edited);
  SMELT_ASSERT_OK(free);
  for (const PlannedTensorInfo& t : free->tensors) {
    if (t.name.ends_with("attn_q.weight")) {
      EXPECT_EQ(t.type, "Q8_0");
    }
  }
  WriteFile(dir / "types.txt", "attn_q\n");
  const absl::Status bad = PlanConversion(edited).status();
  EXPECT_EQ(CodeOf(bad), ErrorCode::kInvalidInput);
  EXPECT_THAT(std::string(bad.message()), HasSubstr("line 1"));
}

TEST(SizedPlan, ErrorsAreThoseThatTheEffortLeaves) {
  const TempDir dir;
  for (const char* name : {"llama", "qwen2moe"}) {
    SCOPED_TRACE(name);
    const auto source = OpenModelByName(Model(name), {}, {});
    SMELT_ASSERT_OK(source);
    std::map<std::string, std::vector<TensorLosses>> losses;
    std::vector<std::string> names;
    for (const char* effort : {"normal", "best"}) {
      PlanOptions options{.type = "q4_k_m", .effort = effort};
      options.imatrix = options.effort == "normal" ? "auto" : "";
      const auto plan = MakePlan(**source, options);
      SMELT_ASSERT_OK(plan);
      std::vector<size_t> wanted;
      for (size_t i = 0; i < plan->tensors.size(); ++i)
        if (Info(plan->tensors[i].type).quantized) wanted.push_back(i);
      auto measured = MeasureTensorLosses(**source, *plan, wanted, {});
      SMELT_ASSERT_OK(measured);
      for (const TensorLosses& t : *measured) names.push_back(plan->tensors[t.tensor].name);
      losses[effort] = *std::move(measured);
    }
    ASSERT_EQ(losses["normal"].size(), losses["best"].size());
    for (size_t i = 0; i < losses["best"].size(); ++i) {
      SCOPED_TRACE(names[i]);
      const auto& normal = losses["normal"][i].types;
      const auto& best = losses["best"][i].types;
      ASSERT_EQ(normal.size(), best.size());
      double of_normal = 0, of_best = 0;
      for (size_t t = 0; t < best.size(); ++t) {
        if (!Info(best[t].type).quantized) continue;
        of_normal += normal[t].loss;
        of_best += best[t].loss;
        EXPECT_LT(best[t].loss, 1.02 * normal[t].loss) << Info(best[t].type).name;
      }
      EXPECT_LT(of_best, 0.95 * of_normal);
    }
  }
}

TEST(SizedPlan, TheNameOfTheFileSaysTheSize) {
  EXPECT_EQ(NameOf({.bits_per_weight = 4.25}), "4.25bpw");
  EXPECT_EQ(NameOf({.bytes = 4'200'000'000}), "4.2GB");
  EXPECT_EQ(NameOf({.bytes = 350'000'000}), "350MB");
  EXPECT_EQ(NameOf({}), "");
  const auto plan = PlanConversion(Sized(Model("llama"), "", 5.25));
  SMELT_ASSERT_OK(plan);
  EXPECT_THAT(plan->output, EndsWith("-5.25bpw.gguf"));
}

TEST(SizedPlan, MeasuringTakesMemoryThatThePlanStates) {
  const TempDir dir;
  ConvertOptions options = Sized(Model("llama"), dir / "x.gguf", 5.25);
  const auto sized = PlanConversion(options);
  options.target_bpw = 0;
  options.type = "q4_0";
  const auto plain = PlanConversion(options);
  SMELT_ASSERT_OK(sized);
  SMELT_ASSERT_OK(plain);
  EXPECT_GT(sized->memory_bytes, plain->memory_bytes);
}

TEST(SizedPlan, WhatCannotBeIsRefused) {
  const TempDir dir;
  const absl::Status small = PlanConversion(Sized(Model("llama"), dir / "x.gguf", 1.5)).status();
  EXPECT_EQ(CodeOf(small), ErrorCode::kUsage);
  EXPECT_THAT(std::string(small.message()), HasSubstr("smallest types"));
  ConvertOptions options = Sized(Model("llama"), dir / "x.gguf", 5);
  options.target_size = 1'000'000;
  EXPECT_EQ(CodeOf(PlanConversion(options).status()), ErrorCode::kUsage);
  options.target_size = 0;
  for (const char* type : {"f16", "copy"}) {
    options.type = type;
    EXPECT_EQ(CodeOf(PlanConversion(options).status()), ErrorCode::kUsage) << type;
  }
  options.type = "auto";
  EXPECT_EQ(CodeOf(PlanConversions(options, {"q4_0", "q8_0"}).status()), ErrorCode::kUsage);
}

}  // namespace
}  // namespace smelt
