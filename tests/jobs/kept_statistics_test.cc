// Statistics that are kept in a file: the same output again, on any instruction set, and nothing
// else in its place.
#include "lib/jobs/kept_statistics.h"

#include <gmock/gmock.h>

#include <cstring>

#include "formats/gguf.h"
#include "formats/importance.h"
#include "lib/base/folder.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "quant/simd.h"
#include "smelt/convert.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Model;
using testing::ReadFile;
using testing::TempDir;
using testing::UncheckedConversion;
using testing::WriteFile;

/// `effort`: best, or auto for importance at normal effort.
ConvertOptions Options(const std::string& model, const std::string& output,
                       const std::string& effort, const std::string& statistics) {
  ConvertOptions options = UncheckedConversion(model, output, "q4_k_m");
  options.effort = effort == "auto" ? "normal" : effort;
  if (effort == "auto") options.imatrix = "auto";
  options.calibration_tokens = 600;
  options.statistics = statistics;
  options.force = true;
  return options;
}

absl::Status Refusal(const ConvertOptions& options) {
  const absl::Status status = Convert(options).status();
  EXPECT_FALSE(status.ok());
  EXPECT_LT(status.message().size(), 400u);
  EXPECT_FALSE(Exists(options.output));
  EXPECT_FALSE(Exists(options.output + ".part"));
  return status;
}

class KeptStatistics : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(KeptStatistics, GiveTheSameFileAgainForAnyThreadsAndInstructionSet) {
  const auto [name, effort] = GetParam();
  const TempDir dir;
  const std::string file = dir / "s.gguf";
  SetThreads(1);
  SMELT_ASSERT_OK(Convert(Options(Model(name), dir / "none.gguf", effort, "")));
  SetThreads(4);
  SMELT_ASSERT_OK(Convert(Options(Model(name), dir / "kept.gguf", effort, file)));
  const std::string kept = ReadFile(dir / "kept.gguf");
  EXPECT_TRUE(kept == ReadFile(dir / "none.gguf"));
  const std::string statistics = ReadFile(file);

  // The text and its length are the file's.
  ConvertOptions again = Options(Model(name), dir / "again.gguf", effort, file);
  again.calibration_tokens = 0;
  int threads = 0;
  for (const std::string& target : SimdTargets()) {
    SCOPED_TRACE(target);
    SetThreads(++threads);
    SMELT_ASSERT_OK(ForceSimdTarget(target));
    SMELT_ASSERT_OK(Convert(again));
    EXPECT_TRUE(ReadFile(dir / "again.gguf") == kept);
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
  SetThreads(0);
  EXPECT_TRUE(ReadFile(file) == statistics);
  EXPECT_FALSE(Exists(file + ".part"));
}

INSTANTIATE_TEST_SUITE_P(Models, KeptStatistics,
                         ::testing::Combine(::testing::Values("llama", "qwen2moe", "mistral4",
                                                              "jamba"),
                                            ::testing::Values("best", "auto")));

TEST(KeptStatistics, AreAnImportanceMatrix) {
  const TempDir dir;
  const std::string file = dir / "s.gguf";
  SMELT_ASSERT_OK(Convert(Options(Model("llama"), dir / "a.gguf", "best", file)));
  const auto importance = ImportanceFile::Open(file);
  SMELT_ASSERT_OK(importance);
  EXPECT_GE((*importance)->Find("blk.0.attn_q.weight"), 0);
  EXPECT_THAT((*importance)->origin().datasets, ElementsAre("calibration text of smelt"));

  // Also of the walk that gathers importance alone, and the file that names it.
  SMELT_ASSERT_OK(Convert(Options(Model("llama"), dir / "b.gguf", "auto", file)));
  ConvertOptions named = UncheckedConversion(Model("llama"), dir / "c.gguf", "q4_k_m");
  named.imatrix = file;
  SMELT_ASSERT_OK(Convert(named));
  const std::string b = ReadFile(dir / "b.gguf"), c = ReadFile(dir / "c.gguf");
  EXPECT_TRUE(b.ends_with(c.substr(c.size() / 2)));
}

TEST(KeptStatistics, ServeSeveralOutputs) {
  const TempDir dir;
  const std::vector<std::string> types = {"q4_k_m", "q2_k", "q8_0"};
  ConvertOptions options = Options(Model("llama"), dir / "first/", "best", dir / "s.gguf");
  const auto first = ConvertToTypes(options, types);
  SMELT_ASSERT_OK(first);
  options.output = dir / "second/";
  const auto second = ConvertToTypes(options, types);
  SMELT_ASSERT_OK(second);
  for (size_t i = 0; i < types.size(); ++i) {
    SMELT_ASSERT_OK((*first)[i].status);
    SMELT_ASSERT_OK((*second)[i].status);
    EXPECT_TRUE(ReadFile((*first)[i].output) == ReadFile((*second)[i].output));
  }
}

TEST(KeptStatistics, ThePlanSaysHowLargeTheyAreAtMost) {
  const TempDir dir;
  const std::string file = dir / "s.gguf";
  ConvertOptions options = Options(Model("llama"), dir / "a.gguf", "best", file);
  const auto before = PlanConversion(options);
  SMELT_ASSERT_OK(before);
  EXPECT_FALSE(Exists(file));
  EXPECT_THAT(before->importance, HasSubstr("kept in " + file + ", at most "));
  const size_t at = before->importance.rfind(' ', before->importance.size() - 4);
  const uint64_t most = std::stoull(before->importance.substr(at)) * 1'000'000;
  SMELT_ASSERT_OK(Convert(options));
  EXPECT_LE(ReadFile(file).size(), most);
  EXPECT_GT(2 * ReadFile(file).size() + 1'000'000, most);
  const auto after = PlanConversion(options);
  SMELT_ASSERT_OK(after);
  EXPECT_THAT(after->importance, HasSubstr(file + ": at most"));
  EXPECT_THAT(after->walk, HasSubstr("statistics read"));
}

TEST(KeptStatistics, AnInterruptedRunLeavesNoneAndItsOutputGoesOnEitherWay) {
  const TempDir dir;
  const std::string file = dir / "s.gguf";
  SMELT_ASSERT_OK(Convert(Options(Model("llama"), dir / "whole.gguf", "best", dir / "w.gguf")));
  const std::string whole = ReadFile(dir / "whole.gguf");
  const auto interrupt = [&](const ConvertOptions& options) {
    const Observer observer = testing::StopsHalfWay();
    EXPECT_EQ(CodeOf(Convert(options, observer).status()), ErrorCode::kCancelled);
  };
  ConvertOptions options = Options(Model("llama"), dir / "a.gguf", "best", file);
  interrupt(options);
  EXPECT_FALSE(Exists(file));
  EXPECT_FALSE(Exists(file + ".part"));
  const auto gathered = Convert(options);
  SMELT_ASSERT_OK(gathered);
  EXPECT_TRUE(gathered->resumed);
  EXPECT_TRUE(ReadFile(dir / "a.gguf") == whole);
  EXPECT_TRUE(ReadFile(file) == ReadFile(dir / "w.gguf"));

  options = Options(Model("llama"), dir / "b.gguf", "best", "");
  interrupt(options);
  options.statistics = file;
  const auto read = Convert(options);
  SMELT_ASSERT_OK(read);
  EXPECT_TRUE(read->resumed);
  EXPECT_TRUE(ReadFile(dir / "b.gguf") == whole);
}

TEST(KeptStatistics, APartOfARunThatWasKilledIsReplacedAndNoOther) {
  const TempDir dir;
  const std::string file = dir / "s.gguf";
  const ConvertOptions options = Options(Model("llama"), dir / "a.gguf", "best", file);
  WriteFile(file + ".part", "somebody's");
  EXPECT_EQ(CodeOf(Convert(options).status()), ErrorCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(file + ".part"), "somebody's");
  std::remove((file + ".part").c_str());

  // What is there while it is written, and would be there after a kill.
  std::string part;
  Observer observer;
  observer.progress = [&](const Progress&) {
    if (part.empty() && Exists(file + ".part")) part = ReadFile(file + ".part");
  };
  SMELT_ASSERT_OK(Convert(options, observer));
  ASSERT_FALSE(part.empty());
  const std::string whole = ReadFile(file);
  std::remove(file.c_str());
  WriteFile(file + ".part", part);
  SMELT_ASSERT_OK(Convert(options));
  EXPECT_TRUE(ReadFile(file) == whole);
}

TEST(KeptStatistics, OfAnotherModelAreRefused) {
  const TempDir dir;
  const std::string file = dir / "s.gguf";
  SMELT_ASSERT_OK(Convert(Options(Model("llama"), dir / "a.gguf", "best", file)));
  const absl::Status other = Refusal(Options(Model("gemma2"), dir / "b.gguf", "best", file));
  EXPECT_EQ(CodeOf(other), ErrorCode::kInvalidInput);
  EXPECT_THAT(std::string(other.message()), HasSubstr("another model"));

  // The same shapes with other weights.
  SMELT_ASSERT_OK(Convert(UncheckedConversion(Model("llama"), dir / "coarse.gguf", "q8_0")));
  ConvertOptions coarse = Options(dir / "coarse.gguf", dir / "b.gguf", "best", file);
  coarse.allow_requantize = true;
  EXPECT_THAT(std::string(Refusal(coarse).message()), HasSubstr("another model"));
  // A GGUF of the same weights is the same model.
  SMELT_ASSERT_OK(Convert(UncheckedConversion(Model("llama"), dir / "fine.gguf", "f32")));
  SMELT_ASSERT_OK(Convert(Options(dir / "fine.gguf", dir / "b.gguf", "best", file)));
  const std::string a = ReadFile(dir / "a.gguf"), b = ReadFile(dir / "b.gguf");
  EXPECT_TRUE(a.ends_with(b.substr(b.size() / 2)));
}

TEST(KeptStatistics, ThatDoNotHaveWhatIsAskedForAreRefused) {
  const TempDir dir;
  const std::string file = dir / "s.gguf", narrow = dir / "n.gguf";
  SMELT_ASSERT_OK(Convert(Options(Model("llama"), dir / "a.gguf", "auto", file)));
  EXPECT_THAT(std::string(Refusal(Options(Model("llama"), dir / "b.gguf", "best", file)).message()),
              HasSubstr("without --effort best"));
  ConvertOptions some = Options(Model("llama"), dir / "c.gguf", "best", narrow);
  some.tensor_types = {{"ffn_down", "f16"}};
  SMELT_ASSERT_OK(Convert(some));
  EXPECT_THAT(
      std::string(Refusal(Options(Model("llama"), dir / "b.gguf", "best", narrow)).message()),
      HasSubstr("ffn_down"));
  ConvertOptions longer = Options(Model("llama"), dir / "b.gguf", "auto", file);
  longer.calibration_tokens = 1200;
  EXPECT_THAT(std::string(Refusal(longer).message()), HasSubstr("--calibration"));
  ConvertOptions plain = Options(Model("llama"), dir / "b.gguf", "normal", file);
  plain.calibration_tokens = 0;
  EXPECT_EQ(CodeOf(Refusal(plain)), ErrorCode::kUsage);
  plain = Options(Model("llama"), dir / "b.gguf", "best", dir / "b.gguf");
  EXPECT_EQ(CodeOf(Refusal(plain)), ErrorCode::kUsage) << "it is the output itself";
  SMELT_ASSERT_OK(Convert(UncheckedConversion(Model("llama"), dir / "m.gguf", "f16")));
  EXPECT_THAT(
      std::string(
          Refusal(Options(Model("llama"), dir / "b.gguf", "best", dir / "m.gguf")).message()),
      HasSubstr("--statistics has written"));
}

TEST(KeptStatistics, WithoutAnEffectAreAWarning) {
  const TempDir dir;
  ConvertOptions options = Options(Model("llama"), dir / "x.gguf", "best", dir / "s.gguf");
  options.calibration_tokens = 0;
  options.type = "f16";
  const auto plan = PlanConversion(options);
  SMELT_ASSERT_OK(plan);
  EXPECT_THAT(plan->warnings, ElementsAre(HasSubstr("--statistics has no effect")));
}

/// Whatever a byte is changed to: an error, or the same output.
TEST(KeptStatistics, ThatAreDamagedAreRefused) {
  const TempDir dir;
  const std::string file = dir / "s.gguf", damaged = dir / "d.gguf";
  SMELT_ASSERT_OK(Convert(Options(Model("llama"), dir / "a.gguf", "best", file)));
  const std::string output = ReadFile(dir / "a.gguf"), whole = ReadFile(file);
  const auto gguf = OpenGguf(file);
  SMELT_ASSERT_OK(gguf);
  const size_t data = gguf->tensors.front().offset;
  std::vector<size_t> places;
  for (size_t at = 0; at < data; at += 211) places.push_back(at);
  for (const GgufTensor& tensor : gguf->tensors)
    if (places.size() % 3 == 0 || tensor.name.starts_with("moment."))
      places.push_back(tensor.offset + tensor.bytes / 2);
  size_t refused = 0;
  for (const size_t at : places) {
    SCOPED_TRACE(at);
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    WriteFile(damaged, bytes);
    ConvertOptions options = Options(Model("llama"), dir / "b.gguf", "best", damaged);
    options.calibration_tokens = 0;
    const absl::Status status = Convert(options).status();
    if (status.ok()) {
      EXPECT_TRUE(ReadFile(dir / "b.gguf") == output);
      continue;
    }
    ++refused;
    EXPECT_THAT(CodeOf(status), AnyOf(ErrorCode::kInvalidInput, ErrorCode::kUnsupported));
    EXPECT_LT(status.message().size(), 400u);
    EXPECT_FALSE(Exists(dir / "b.gguf.part"));
    std::remove((dir / "b.gguf").c_str());
  }
  EXPECT_GT(refused, places.size() / 2);
  for (const double share : {0.1, 0.5, 0.99}) {
    WriteFile(damaged,
              whole.substr(0, static_cast<size_t>(share * static_cast<double>(whole.size()))));
    std::remove((dir / "b.gguf").c_str());
    EXPECT_EQ(CodeOf(Refusal(Options(Model("llama"), dir / "b.gguf", "best", damaged))),
              ErrorCode::kInvalidInput);
  }
}

}  // namespace
}  // namespace smelt
