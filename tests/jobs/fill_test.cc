#include "lib/jobs/fill.h"

#include <cmath>
#include <limits>

#include "lib/base/folder.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "quant/encoder.h"
#include "tests/jobs/fake_source.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::FakeSource;
using testing::ReadFile;
using testing::TempDir;
using testing::WriteFile;

/// A matrix, a vector, one of several tiles, experts.
struct MixedSource : FakeSource {
  MixedSource() {
    Add("token_embd.weight", {256, 3000});
    Add("blk.0.attn_norm.weight", {255});
    Add("blk.0.ffn_up.weight", {512, 1500});
    Add("blk.0.ffn_gate_exps.weight", {256, 1100, 3});
  }
};

// One run as the convert job does it; the output is committed when all went well.
absl::Status Convert(const FakeSource& source, const Plan& plan, const std::string& path,
                     bool* resumed = nullptr, const Observer& observer = {}) {
  SMELT_ASSIGN_OR_RETURN(PartialOutput output, OpenPartialOutput(path, plan, false, observer));
  if (resumed != nullptr) *resumed = output.resumed;
  MemoryPeak peak;
  const FillTarget target{&plan, &output};
  SMELT_RETURN_IF_ERROR(Fill(std::span(&target, 1), source, observer, peak));
  SMELT_RETURN_IF_ERROR(output.file->Commit());
  output.journal->Remove();
  return absl::OkStatus();
}

// The file as a straight loop over the plan writes it.
std::string Expected(const Plan& plan) {
  std::string file(plan.file_bytes, '\0');
  std::copy(plan.header.begin(), plan.header.end(), reinterpret_cast<std::byte*>(file.data()));
  for (const PlannedTensor& t : plan.tensors) {
    const uint64_t columns = t.shape.columns(), rows = t.shape.rows();
    std::vector<float> values(columns * rows);
    for (uint64_t r = 0; r < rows; ++r)
      for (uint64_t c = 0; c < columns; ++c)
        values[r * columns + c] = FakeSource::Value(t.source, r, c);
    EncodeScratch scratch;
    FindEncoder(t.type, Effort::kNormal)->Encode(rows, columns, values.data(), {},
                                reinterpret_cast<std::byte*>(file.data()) + t.offset, scratch);
  }
  return file;
}

class Threads123 : public ::testing::TestWithParam<int> {};

TEST_P(Threads123, TheFileIsTheSameForAnyNumberOfThreads) {
  MixedSource source;
  TempDir dir;
  SetThreads(GetParam());
  for (const char* type : {"f32", "f16", "bf16", "q8_0", "q4_0"}) {
    const auto plan = MakePlan(source, {.type = type});
    SMELT_ASSERT_OK(plan);
    const std::string path = dir / Cat(type, ".gguf");
    SMELT_ASSERT_OK(Convert(source, *plan, path));
    EXPECT_TRUE(ReadFile(path) == Expected(*plan)) << type;
    EXPECT_FALSE(Exists(path + ".part"));
    EXPECT_FALSE(Exists(path + ".part.journal"));
  }
  SetThreads(0);
}
INSTANTIATE_TEST_SUITE_P(Fill, Threads123, ::testing::Values(1, 2, 5));

TEST(Fill, ResumesAfterAReadErrorWithoutReadingAgain) {
  MixedSource source;
  const auto plan = MakePlan(source, {.type = "q8_0"});
  SMELT_ASSERT_OK(plan);
  TempDir dir;
  const std::string path = dir / "x.gguf";
  for (int64_t reads : {0, 3, 6}) {
    source.reads_left_ = reads;
    const absl::Status status = Convert(source, *plan, path);
    EXPECT_EQ(CodeOf(status), ErrorCode::kIo);
    EXPECT_FALSE(Exists(path));
    EXPECT_TRUE(Exists(path + ".part"));
  }
  source.reads_left_ = -1;
  source.reads_ = 0;
  bool resumed = false;
  SMELT_ASSERT_OK(Convert(source, *plan, path, &resumed));
  EXPECT_TRUE(resumed);
  EXPECT_LE(source.reads_, plan->tiles - 9);
  EXPECT_TRUE(ReadFile(path) == Expected(*plan));
}

TEST(Fill, ADamagedPartIsMendedAndAStrangersPartStaysAlone) {
  MixedSource source;
  const auto plan = MakePlan(source, {.type = "q8_0"});
  SMELT_ASSERT_OK(plan);
  TempDir dir;
  const std::string path = dir / "x.gguf";
  source.reads_left_ = static_cast<int64_t>(plan->tiles) - 1;
  EXPECT_FALSE(Convert(source, *plan, path).ok());
  source.reads_left_ = -1;
  std::string part = ReadFile(path + ".part");
  for (size_t at : {size_t{3}, plan->header.size() + 100, part.size() / 2})
    part[at] = static_cast<char>(part[at] ^ 0x55);
  WriteFile(path + ".part", part);
  SMELT_ASSERT_OK(Convert(source, *plan, path));
  EXPECT_TRUE(ReadFile(path) == Expected(*plan));

  const std::string other = dir / "y.gguf";
  WriteFile(other + ".part", "not ours");
  EXPECT_EQ(CodeOf(Convert(source, *plan, other)), ErrorCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(other + ".part"), "not ours");
  EXPECT_FALSE(Exists(other + ".part.journal"));
}

TEST(Fill, AnotherPlanStartsOver) {
  MixedSource source;
  TempDir dir;
  const std::string path = dir / "x.gguf";
  const auto first = MakePlan(source, {.type = "q8_0"});
  source.reads_left_ = 5;
  EXPECT_FALSE(Convert(source, *first, path).ok());
  source.reads_left_ = -1;
  const auto second = MakePlan(source, {.type = "q8_0", .metadata = {{"general.name", "other"}}});
  SMELT_ASSERT_OK(second);
  auto output = OpenPartialOutput(path, *second, false, {});
  SMELT_ASSERT_OK(output);
  EXPECT_FALSE(output->resumed);
  EXPECT_NE(output->restarted, "");
  output->Discard();
  EXPECT_FALSE(Exists(path + ".part"));
}

TEST(Fill, TwoRunsWithOneOutputDoNotMix) {
  MixedSource source;
  const auto plan = MakePlan(source, {.type = "q8_0"});
  TempDir dir;
  const auto first = OpenPartialOutput(dir / "x.gguf", *plan, false, {});
  SMELT_ASSERT_OK(first);
  const auto second = OpenPartialOutput(dir / "x.gguf", *plan, false, {});
  EXPECT_EQ(CodeOf(second.status()), ErrorCode::kAlreadyExists);
}

TEST(Fill, AnExistingOutputIsRefusedBeforeTheWork) {
  MixedSource source;
  const auto plan = MakePlan(source, {.type = "q8_0"});
  TempDir dir;
  WriteFile(dir / "x.gguf", "precious");
  EXPECT_EQ(CodeOf(Convert(source, *plan, dir / "x.gguf")), ErrorCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(dir / "x.gguf"), "precious");
  EXPECT_EQ(source.reads_, 0u);
}

TEST(Fill, WeightsThatOverflowTheirTypeAreNamed) {
  MixedSource source;
  source.bad_tensor_ = 2;
  source.bad_row_ = 1234;
  source.bad_column_ = 345;
  source.bad_value_ = 1e30f;
  TempDir dir;
  for (const char* type : {"f16", "q8_0", "q4_0", "q4_k_m"}) {
    const auto plan = MakePlan(source, {.type = type});
    SMELT_ASSERT_OK(plan);
    const absl::Status status = Convert(source, *plan, dir / Cat(type, ".gguf"));
    ASSERT_FALSE(status.ok()) << type;
    const std::string message(status.message());
    for (const char* part : {"blk.0.ffn_up.weight", "row 1234", "column 345"})
      EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  SMELT_EXPECT_OK(Convert(source, *MakePlan(source, {.type = "bf16"}), dir / "bf16.gguf"));
}

TEST(Fill, NanInBytesThatPassThroughIsNamed) {
  MixedSource source;
  source.bad_tensor_ = 3;
  source.bad_row_ = 2500;
  source.bad_column_ = 17;
  source.bad_value_ = std::numeric_limits<float>::quiet_NaN();
  TempDir dir;
  const absl::Status status = Convert(source, *MakePlan(source, {.type = "f32"}), dir / "x.gguf");
  ASSERT_FALSE(status.ok());
  EXPECT_NE(std::string(status.message()).find("row 2500, column 17"), std::string::npos) << status;
}

TEST(Fill, SeveralOutputsComeFromOneRead) {
  MixedSource source;
  TempDir dir;
  const Plan a = *MakePlan(source, {.type = "f16"}), b = *MakePlan(source, {.type = "q4_0"});
  auto out_a = OpenPartialOutput(dir / "a.gguf", a, false, {});
  auto out_b = OpenPartialOutput(dir / "b.gguf", b, false, {});
  SMELT_ASSERT_OK(out_a);
  SMELT_ASSERT_OK(out_b);
  const FillTarget targets[] = {{&a, &*out_a}, {&b, &*out_b}};
  MemoryPeak peak;
  SMELT_ASSERT_OK(Fill(targets, source, {}, peak));
  SMELT_ASSERT_OK(out_a->file->Commit());
  SMELT_ASSERT_OK(out_b->file->Commit());
  EXPECT_TRUE(ReadFile(dir / "a.gguf") == Expected(a));
  EXPECT_TRUE(ReadFile(dir / "b.gguf") == Expected(b));
  // The norm stays F32 in both and passes through, once per output; everything else is read once.
  EXPECT_EQ(source.reads_, a.tiles + 1);
}

TEST(Fill, CancellingKeepsWhatIsDone) {
  MixedSource source;
  const auto plan = MakePlan(source, {.type = "q8_0"});
  TempDir dir;
  int calls = 0;
  Observer observer;
  observer.cancelled = [&] { return ++calls > 4; };
  SetThreads(1);
  EXPECT_EQ(CodeOf(Convert(source, *plan, dir / "x.gguf", nullptr, observer)),
            ErrorCode::kCancelled);
  bool resumed = false;
  SMELT_ASSERT_OK(Convert(source, *plan, dir / "x.gguf", &resumed));
  SetThreads(0);
  EXPECT_TRUE(resumed);
  EXPECT_TRUE(ReadFile(dir / "x.gguf") == Expected(*plan));
}

}  // namespace
}  // namespace smelt
