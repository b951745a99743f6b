// Several outputs from one read: the same files as one by one, each with its own check, resumed.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <utility>

#include "lib/base/folder.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/fill.h"
#include "lib/model/open.h"
#include "smelt/convert.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Conversion;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Model;
using testing::ReadFile;
using testing::TempDir;
using testing::TestdataPath;
using testing::UncheckedConversion;
using testing::WriteFile;

const std::vector<std::string> kTypes = {"q4_0", "q8_0", "f16"};

/// Of `effort` "auto": normal, with importance that is gathered.
ConvertOptions Options(const std::string& model, const std::string& output,
                       const std::string& effort) {
  ConvertOptions options = Conversion(model, output, "");
  options.max_kl = 50;
  options.max_ppl_increase = 50;
  options.effort = effort == "auto" ? "normal" : effort;
  if (effort == "auto") options.imatrix = "auto";
  if (effort == "auto" || effort == "best") options.calibration_tokens = testing::kFewTokens;
  return options;
}

/// By type; figures of their checks.
struct Alone {
  std::map<std::string, std::string> files;
  std::map<std::string, double> kl;
};

const Alone& OneByOne(const std::string& model, const std::string& effort) {
  static std::map<std::pair<std::string, std::string>, Alone> known;
  Alone& out = known[{model, effort}];
  if (!out.files.empty()) return out;
  const TempDir dir;
  for (const std::string& type : kTypes) {
    ConvertOptions options = Options(model, dir / "x.gguf", effort);
    options.type = type;
    options.force = true;
    const auto result = Convert(options);
    SMELT_EXPECT_OK(result);
    if (!result.ok()) continue;
    out.files[type] = ReadFile(dir / "x.gguf");
    out.kl[type] = result->validation->reference->kl_mean;
  }
  return out;
}

/// Stops a job when so much of it is written.
class StopAt {
 public:
  explicit StopAt(double share) {
    observer.progress = [this, share](const Progress& progress) {
      stop_ = stop_ ||
              (progress.phase == "writing" &&
               static_cast<double>(progress.done) >= share * static_cast<double>(progress.total));
    };
    observer.cancelled = [this] { return stop_; };
  }
  Observer observer;

 private:
  bool stop_ = false;
};

void ExpectAlone(const std::vector<ConvertOutcome>& outcomes, const Alone& alone) {
  ASSERT_EQ(outcomes.size(), kTypes.size());
  for (size_t i = 0; i < outcomes.size(); ++i) {
    SCOPED_TRACE(kTypes[i]);
    SMELT_ASSERT_OK(outcomes[i].status);
    EXPECT_TRUE(ReadFile(outcomes[i].output) == alone.files.at(kTypes[i]));
    ASSERT_TRUE(outcomes[i].result.validation.has_value());
    EXPECT_NEAR(outcomes[i].result.validation->reference->kl_mean, alone.kl.at(kTypes[i]),
                1e-6 * alone.kl.at(kTypes[i]));
  }
}

class SeveralOutputs : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(SeveralOutputs, AreThoseOfSingleConversions) {
  const auto [name, effort] = GetParam();
  const Alone& alone = OneByOne(Model(name), effort);
  for (const int threads : {1, 4}) {
    SetThreads(threads);
    const TempDir dir;
    const auto outcomes = ConvertToTypes(Options(Model(name), dir / "", effort), kTypes);
    SMELT_ASSERT_OK(outcomes);
    ExpectAlone(*outcomes, alone);
    EXPECT_EQ(ListFolder(dir.path())->size(), kTypes.size());
  }
  SetThreads(0);
}

TEST_P(SeveralOutputs, GoOnTogetherOrAlone) {
  const auto [name, effort] = GetParam();
  const Alone& alone = OneByOne(Model(name), effort);
  for (const bool together : {true, false}) {
    const TempDir dir;
    ConvertOptions options = Options(Model(name), dir / "", effort);
    StopAt stop(0.6);
    EXPECT_EQ(CodeOf(ConvertToTypes(options, kTypes, stop.observer).status()),
              ErrorCode::kCancelled);
    if (together) {
      const auto outcomes = ConvertToTypes(options, kTypes);
      SMELT_ASSERT_OK(outcomes);
      ExpectAlone(*outcomes, alone);
      for (const ConvertOutcome& outcome : *outcomes) EXPECT_TRUE(outcome.result.resumed);
      continue;
    }
    for (const std::string& type : kTypes) {
      options.type = type;
      const auto result = Convert(options);
      SMELT_ASSERT_OK(result);
      EXPECT_TRUE(result->resumed);
      EXPECT_TRUE(ReadFile(result->output) == alone.files.at(type));
    }
    EXPECT_EQ(ListFolder(dir.path())->size(), kTypes.size());
  }
}

using Case = std::tuple<const char*, const char*>;
INSTANTIATE_TEST_SUITE_P(Efforts, SeveralOutputs,
                         ::testing::Values(Case("llama", "fast"), Case("llama", "normal"),
                                           Case("llama", "auto"), Case("llama", "best"),
                                           Case("qwen2moe", "normal"), Case("qwen2moe", "best")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::get<1>(info.param);
                         });

TEST(SeveralOutputs, OneThatMissesItsCheckDoesNotStopTheOthers) {
  const Alone& alone = OneByOne(Model("llama"), "normal");
  const TempDir dir;
  ConvertOptions options = Options(Model("llama"), dir / "new/", "normal");
  options.max_kl = (alone.kl.at("q4_0") + alone.kl.at("q8_0")) / 2;
  std::vector<bool> passed;
  options.on_validation = [&](const EvaluateResult& v) { passed.push_back(v.passed); };
  const auto outcomes = ConvertToTypes(options, kTypes);
  SMELT_ASSERT_OK(outcomes);
  EXPECT_THAT(passed, ElementsAre(false, true, true));
  EXPECT_EQ(CodeOf((*outcomes)[0].status), ErrorCode::kGateMissed);
  EXPECT_TRUE((*outcomes)[0].result.validation.has_value());
  for (const size_t i : {1u, 2u}) {
    SMELT_EXPECT_OK((*outcomes)[i].status);
    EXPECT_TRUE(ReadFile((*outcomes)[i].output) == alone.files.at(kTypes[i]));
  }
  EXPECT_EQ(ListFolder(dir / "new")->size(), 2u);

  // Kept under another name where that is asked for, and nothing of the others is in the way.
  options.output = dir / "kept/";
  options.keep_rejected = true;
  const auto kept = ConvertToTypes(options, kTypes);
  SMELT_ASSERT_OK(kept);
  EXPECT_TRUE(ReadFile((*kept)[0].output + ".rejected") == alone.files.at("q4_0"));
}

TEST(SeveralOutputs, WhatAKilledRunHadFinishedIsTakenBack) {
  const Alone& alone = OneByOne(Model("llama"), "best");
  const TempDir dir;
  const ConvertOptions options = Options(Model("llama"), dir / "", "best");
  StopAt stop(1);
  ASSERT_EQ(CodeOf(ConvertToTypes(options, kTypes, stop.observer).status()), ErrorCode::kCancelled);
  // As where the kill came between the names of the first and the second.
  const auto plans = PlanConversions(options, kTypes);
  SMELT_ASSERT_OK(plans);
  const std::string first = (*plans)[0].output;
  ASSERT_EQ(std::rename((first + ".part").c_str(), first.c_str()), 0);
  const auto outcomes = ConvertToTypes(options, kTypes);
  SMELT_ASSERT_OK(outcomes);
  ExpectAlone(*outcomes, alone);
  EXPECT_TRUE((*outcomes)[0].result.resumed);

  // With all of them there, none is touched.
  EXPECT_EQ(CodeOf(ConvertToTypes(options, kTypes).status()), ErrorCode::kAlreadyExists);
  EXPECT_EQ(ListFolder(dir.path())->size(), kTypes.size());
  // Nor is one that is somebody's own.
  std::remove((*plans)[1].output.c_str());
  EXPECT_EQ(CodeOf(ConvertToTypes(options, kTypes).status()), ErrorCode::kAlreadyExists);
  EXPECT_EQ(ListFolder(dir.path())->size(), kTypes.size() - 1);
}

TEST(SeveralOutputs, HaveNamesOfTheirOwn) {
  const TempDir dir;
  ConvertOptions options = Options(Model("llama"), dir / "new/", "normal");
  const auto code = [&](const std::vector<std::string>& types) {
    return CodeOf(ConvertToTypes(options, types).status());
  };
  EXPECT_EQ(code({"q8_0", "Q8_0"}), ErrorCode::kUsage);
  EXPECT_EQ(code({"q8_0", ""}), ErrorCode::kUsage);
  EXPECT_EQ(code({}), ErrorCode::kUsage);
  EXPECT_EQ(code({"q8_0", "q9_9"}), ErrorCode::kUsage);
  options.output = dir / "file.gguf";
  EXPECT_EQ(code({"q8_0", "f16"}), ErrorCode::kUsage);
  options.output = dir / "new/";
  options.plan_file = dir / "plan.json";
  EXPECT_EQ(code({"q8_0", "f16"}), ErrorCode::kUsage);
  options.plan_file = "";
  options.max_kl = 0;
  options.max_ppl_increase = 0;
  const auto missed = ConvertToTypes(options, {"q4_0", "q4_1"});
  SMELT_ASSERT_OK(missed);
  for (const ConvertOutcome& outcome : *missed)
    EXPECT_EQ(CodeOf(outcome.status), ErrorCode::kGateMissed);
  EXPECT_THAT(*ListFolder(dir.path()), IsEmpty()) << "the folder went with what was to be in it";
}

TEST(SeveralOutputs, InPartsGoOnToo) {
  const TempDir dir, other;
  ConvertOptions options = Options(Model("llama"), dir / "", "auto");
  options.split_tensors = 5;
  StopAt stop(0.5);
  EXPECT_EQ(CodeOf(ConvertToTypes(options, kTypes, stop.observer).status()), ErrorCode::kCancelled);
  const auto outcomes = ConvertToTypes(options, kTypes);
  SMELT_ASSERT_OK(outcomes);
  for (const ConvertOutcome& outcome : *outcomes) {
    SMELT_ASSERT_OK(outcome.status);
    options.output = other / "";
    options.type = outcome.type;
    const auto alone = Convert(options);
    SMELT_ASSERT_OK(alone);
    ASSERT_GT(alone->files.size(), 1u);
    ASSERT_EQ(alone->files.size(), outcome.result.files.size());
    for (size_t i = 0; i < alone->files.size(); ++i) {
      EXPECT_TRUE(ReadFile(alone->files[i].path) == ReadFile(outcome.result.files[i].path)) << i;
    }
  }
}

std::string Filled(const ModelSource& source, const std::vector<Plan>& plans,
                   const std::string& folder) {
  std::vector<PartialOutput> outputs(plans.size());
  std::vector<FillTarget> targets;
  std::string bytes;
  for (size_t i = 0; i < plans.size(); ++i) {
    const std::string name = folder + std::to_string(i);
    auto output = OpenPartialOutput({&name, 1}, plans[i], true, {});
    SMELT_EXPECT_OK(output);
    outputs[i] = *std::move(output);
    targets.push_back({&plans[i], &outputs[i]});
  }
  MemoryPeak peak;
  SMELT_EXPECT_OK(Fill(targets, source, {}, peak));
  for (size_t i = 0; i < plans.size(); ++i) {
    const std::string name = folder + std::to_string(i);
    SMELT_EXPECT_OK(outputs[i].CommitAs({&name, 1}, true));
    bytes += ReadFile(name);
  }
  return bytes;
}

// Scales stand beside blocks only where these are kept, so that plans have other tensors.
TEST(SeveralOutputs, NeedNotHaveTheSameTensors) {
  for (const char* name : {"compressed-tensors", "modelopt"}) {
    SCOPED_TRACE(name);
    const TempDir dir;
    const auto opened =
        OpenModel(TestdataPath(std::string("quantized/nvfp4/") + name), {.vocabulary = false});
    SMELT_ASSERT_OK(opened);
    std::vector<Plan> plans;
    std::string alone;
    for (const char* type : {"q8_0", "auto", "bf16"}) {
      auto plan = MakePlan(*opened->source, {.type = type});
      SMELT_ASSERT_OK(plan);
      plans.push_back(*std::move(plan));
      alone += Filled(*opened->source, {plans.back()}, dir / "alone");
    }
    EXPECT_NE(plans[0].tensors.size(), plans[1].tensors.size());
    EXPECT_TRUE(Filled(*opened->source, plans, dir / "together") == alone);
  }
}

TEST(SeveralOutputs, OfAGgufAndOfMatrices) {
  const TempDir dir, other;
  SMELT_ASSERT_OK(Convert(UncheckedConversion(Model("llama"), dir / "f32.gguf", "f32")));
  for (const std::string& source : {dir / "f32.gguf", TestdataPath("quant/matrices.safetensors")}) {
    ConvertOptions options = UncheckedConversion(source, dir / "out/", "");
    options.pure = true;
    const auto outcomes = ConvertToTypes(options, {"q4_0", "q5_1"});
    SMELT_ASSERT_OK(outcomes);
    for (const ConvertOutcome& outcome : *outcomes) {
      SMELT_ASSERT_OK(outcome.status);
      options.output = other / "x.gguf";
      options.type = outcome.type;
      options.force = true;
      SMELT_ASSERT_OK(Convert(options));
      EXPECT_TRUE(ReadFile(outcome.output) == ReadFile(other / "x.gguf"));
      std::remove(outcome.output.c_str());
    }
  }
}

}  // namespace
}  // namespace smelt
