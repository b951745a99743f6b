#include "lib/jobs/fill.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "lib/base/fd.h"
#include "lib/base/folder.h"
#include "lib/base/hash.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/hashed_output.h"
#include "lib/jobs/plan_layout.h"
#include "quant/encoder.h"
#include "quant/input_factor.h"
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

absl::StatusOr<PartialOutput> Open(const std::string& path, const Plan& plan, bool force = false,
                                   const Observer& observer = {}) {
  return OpenPartialOutput(FileNames(path, plan.files.size()), plan, force, observer);
}

// One run as the convert job does it; the output is committed when all went well.
absl::Status Convert(const FakeSource& source, const Plan& plan, const std::string& path,
                     bool* resumed = nullptr, const Observer& observer = {}, bool force = false) {
  SMELT_ASSIGN_OR_RETURN(PartialOutput output, Open(path, plan, force, observer));
  if (resumed != nullptr) *resumed = output.resumed;
  MemoryPeak peak;
  const FillTarget target{&plan, &output};
  SMELT_RETURN_IF_ERROR(Fill(std::span(&target, 1), source, observer, peak));
  return output.CommitAs(FileNames(path, plan.files.size()), force);
}

// A file as a straight loop over the plan writes it.
std::string Expected(const Plan& plan, size_t number = 0) {
  const PlannedFile& planned = plan.files[number];
  std::string file(planned.bytes, '\0');
  std::copy(planned.header.begin(), planned.header.end(),
            reinterpret_cast<std::byte*>(file.data()));
  for (const PlannedTensor& t : plan.tensors) {
    if (t.file != number) continue;
    const uint64_t columns = t.shape.columns(), rows = t.shape.rows();
    std::vector<float> values(columns * rows);
    for (uint64_t r = 0; r < rows; ++r)
      for (uint64_t c = 0; c < columns; ++c)
        values[r * columns + c] = FakeSource::Value(t.source, r, c);
    EncodeScratch scratch;
    FindEncoder(t.type, Effort::kNormal)
        ->Encode(rows, columns, values.data(), {},
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

// Whatever the order of the tiles, and what an earlier run left.
TEST_P(Threads123, TheHashIsThatOfTheFile) {
  MixedSource source;
  SetThreads(GetParam());
  const auto plan = MakePlan(source, {.type = "q8_0"});
  SMELT_ASSERT_OK(plan);
  for (const auto& order : std::vector<std::vector<size_t>>{{0, 1, 2, 3}, {3, 2, 1, 0}}) {
    for (const int64_t reads_of_earlier_run : {0, 5}) {
      TempDir dir;
      const std::string path = dir / "x.gguf";
      source.reads_left_ = reads_of_earlier_run;
      EXPECT_FALSE(Convert(source, *plan, path).ok());
      source.reads_left_ = -1;
      auto output = Open(path, *plan);
      SMELT_ASSERT_OK(output);
      output->hash = std::make_unique<HashedOutput>(*output->files[0], *plan, output->done);
      MemoryPeak peak;
      const FillTarget target{&*plan, &*output};
      const Observer observer;
      const auto filler = Filler::Open(std::span(&target, 1), source, observer, peak);
      SMELT_ASSERT_OK(filler);
      for (const size_t tensor : order) SMELT_ASSERT_OK((*filler)->Encode(std::span(&tensor, 1)));
      SMELT_ASSERT_OK(output->hash->Finish());
      const FileHash& hash = output->hash->result();
      SMELT_ASSERT_OK(output->CommitAs(FileNames(path, 1), false));
      const std::string file = ReadFile(path);
      EXPECT_TRUE(file == Expected(*plan));
      EXPECT_EQ(hash.sha256, Sha256Hex(std::as_bytes(std::span(file))));
      struct stat info;
      ASSERT_EQ(stat(path.c_str(), &info), 0);
      EXPECT_EQ(hash.identity, IdentityOf(info));
    }
  }
  SetThreads(0);
}

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
  for (size_t at : {size_t{3}, plan->header_bytes() + 100, part.size() / 2})
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
  auto output = Open(path, *second);
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
  const auto first = Open(dir / "x.gguf", *plan);
  SMELT_ASSERT_OK(first);
  const auto second = Open(dir / "x.gguf", *plan);
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

TEST(Fill, AFactorOfAnotherWidthIsRefusedByTheTensor) {
  const TempDir dir;
  const MixedSource source;
  const auto plan = MakePlan(source, {.type = "q4_0"});
  SMELT_ASSERT_OK(plan);
  auto output = Open(dir / "x.gguf", *plan);
  SMELT_ASSERT_OK(output);
  MemoryPeak peak;
  const FillTarget target{&*plan, &*output};
  const Observer observer;
  const auto filler = Filler::Open(std::span(&target, 1), source, observer, peak);
  SMELT_ASSERT_OK(filler);
  const std::vector<float> gram(256 * 256);
  const auto factor = InputFactor::Make(256, gram, 0);
  SMELT_ASSERT_OK(factor);
  const GatheredStatistics narrow = [&](const PlannedTensor&, uint64_t, std::span<float>) {
    return &*factor;
  };
  const SourceMatrix wide{.tensor = 2, .matrix = 0}, right{.tensor = 3, .matrix = 1};
  SMELT_EXPECT_OK((*filler)->Encode(std::span(&right, 1), narrow));
  const absl::Status status = (*filler)->Encode(std::span(&wide, 1), narrow);
  EXPECT_EQ(CodeOf(status), ErrorCode::kInternal);
  EXPECT_NE(std::string(status.message()).find("blk.0.ffn_up.weight"), std::string::npos);
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
  auto out_a = Open(dir / "a.gguf", a);
  auto out_b = Open(dir / "b.gguf", b);
  SMELT_ASSERT_OK(out_a);
  SMELT_ASSERT_OK(out_b);
  const FillTarget targets[] = {{&a, &*out_a}, {&b, &*out_b}};
  MemoryPeak peak;
  SMELT_ASSERT_OK(Fill(targets, source, {}, peak));
  SMELT_ASSERT_OK(out_a->CommitAs(FileNames(dir / "a.gguf", 1), false));
  SMELT_ASSERT_OK(out_b->CommitAs(FileNames(dir / "b.gguf", 1), false));
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

/// Three parts of it, and what a run leaves where it stops.
class FillParts : public ::testing::Test {
 protected:
  void SetUp() override {
    plan_ = *MakePlan(source_, {.type = "q8_0", .split_tensors = 2});
    ASSERT_EQ(plan_.files.size(), 3u);
    names_ = FileNames(path_, 3);
  }

  std::vector<std::string> Left() const {
    std::vector<std::string> names = *ListFolder(dir_.path());
    std::sort(names.begin(), names.end());
    return names;
  }

  void ExpectWhole() const {
    EXPECT_EQ(Left(), (std::vector<std::string>{"x-00001-of-00003.gguf", "x-00002-of-00003.gguf",
                                                "x-00003-of-00003.gguf"}));
    for (size_t i = 0; i < names_.size(); ++i)
      EXPECT_TRUE(ReadFile(names_[i]) == Expected(plan_, i)) << i;
  }

  /// A run that was killed while it named the files: those from `first` on have their names.
  void StopWhileCommitting(size_t first) {
    auto output = Open(path_, plan_);
    SMELT_ASSERT_OK(output);
    MemoryPeak peak;
    const FillTarget target{&plan_, &*output};
    SMELT_ASSERT_OK(smelt::Fill(std::span(&target, 1), source_, {}, peak));
    for (size_t i = names_.size(); i-- > first;)
      SMELT_ASSERT_OK(output->files[i]->CommitAs(names_[i]));
  }

  struct FivePieces : FakeSource {
    FivePieces() {
      Add("token_embd.weight", {256, 3000});
      Add("blk.0.attn_norm.weight", {255});
      Add("blk.0.ffn_up.weight", {512, 1500});
      Add("blk.0.ffn_gate_exps.weight", {256, 1100, 3});
      Add("output.weight", {256, 3000});
    }
  };
  FivePieces source_;
  TempDir dir_;
  const std::string path_ = dir_ / "x.gguf";
  Plan plan_;
  std::vector<std::string> names_;
};

TEST_F(FillParts, HaveTheirOwnBytesAndNothingElseStays) {
  for (int threads : {1, 5}) {
    SetThreads(threads);
    SMELT_ASSERT_OK(Convert(source_, plan_, path_, nullptr, {}, threads > 1));
    ExpectWhole();
  }
  SetThreads(0);
}

TEST_F(FillParts, ResumeAfterAReadError) {
  bool resumed = false;
  for (int64_t reads = 0; reads < static_cast<int64_t>(plan_.tiles); reads += 3) {
    source_.reads_left_ = reads;
    EXPECT_EQ(CodeOf(Convert(source_, plan_, path_)), ErrorCode::kIo);
    for (const std::string& name : names_) EXPECT_FALSE(Exists(name));
    source_.reads_left_ = -1;
    source_.reads_ = 0;
    SMELT_ASSERT_OK(Convert(source_, plan_, path_, &resumed, {}, true));
    EXPECT_EQ(resumed, reads > 0);
    ExpectWhole();
    for (const std::string& name : names_) std::filesystem::remove(name);
  }
}

TEST_F(FillParts, AreTakenBackAfterAKillBetweenTheirNames) {
  for (size_t first : {3, 2, 1}) {
    StopWhileCommitting(first);
    EXPECT_FALSE(Exists(names_[0]));
    source_.reads_ = 0;
    bool resumed = false;
    SMELT_ASSERT_OK(Convert(source_, plan_, path_, &resumed));
    EXPECT_TRUE(resumed);
    EXPECT_EQ(source_.reads_, 0u) << "all of it was there";
    ExpectWhole();
    for (const std::string& name : names_) std::filesystem::remove(name);
  }
  // The first file's name is the last: where it is given, the output is whole.
  StopWhileCommitting(0);
  EXPECT_EQ(CodeOf(Convert(source_, plan_, path_)), ErrorCode::kAlreadyExists);
  for (size_t i = 0; i < names_.size(); ++i)
    EXPECT_TRUE(ReadFile(names_[i]) == Expected(plan_, i)) << i;
}

TEST_F(FillParts, WhatIsNotOursIsNeverTaken) {
  // Another file of a part's name, also of its size, while the journal of a killed run lies beside.
  for (const std::string& precious :
       {std::string("precious"), std::string(plan_.files[2].bytes, 'x')}) {
    StopWhileCommitting(2);
    WriteFile(names_[2], precious);
    EXPECT_EQ(CodeOf(Convert(source_, plan_, path_)), ErrorCode::kAlreadyExists);
    EXPECT_EQ(ReadFile(names_[2]), precious);
    SMELT_EXPECT_OK(Convert(source_, plan_, path_, nullptr, {}, true));  // with a word it goes
    ExpectWhole();
    for (const std::string& name : names_) std::filesystem::remove(name);
  }
  // A part that no journal calls ours; nothing of the attempt stays.
  WriteFile(names_[1] + ".part", "a download");
  EXPECT_EQ(CodeOf(Convert(source_, plan_, path_)), ErrorCode::kAlreadyExists);
  EXPECT_EQ(Left(), std::vector<std::string>{"x-00002-of-00003.gguf.part"});
  EXPECT_EQ(ReadFile(names_[1] + ".part"), "a download");
}

TEST_F(FillParts, AnOldFirstFileIsNeverReadWithNewOnes) {
  const Plan old = *MakePlan(source_, {.type = "q4_0", .split_tensors = 2});
  SMELT_ASSERT_OK(Convert(source_, old, path_));
  auto output = Open(path_, plan_, true);
  SMELT_ASSERT_OK(output);
  MemoryPeak peak;
  const FillTarget target{&plan_, &*output};
  SMELT_ASSERT_OK(smelt::Fill(std::span(&target, 1), source_, {}, peak));
  EXPECT_TRUE(ReadFile(names_[0]) == Expected(old, 0));
  // The second cannot be replaced: a folder has its name. The first is not the old one any more.
  std::filesystem::remove(names_[1]);
  std::filesystem::create_directories(names_[1] + "/x");
  EXPECT_FALSE(output->CommitAs(names_, true).ok());
  EXPECT_TRUE(ReadFile(names_[0]) == Expected(old, 0)) << "refused before the first was touched";
  std::filesystem::remove_all(names_[1]);
  SMELT_ASSERT_OK(output->CommitAs(names_, true));
  ExpectWhole();
}

TEST_F(FillParts, OneThatFindsNoSpaceTakesAllWithIt) {
  Plan plan = plan_;
  plan.files[2].bytes = uint64_t{1} << 50;
  EXPECT_EQ(CodeOf(Open(path_, plan).status()), ErrorCode::kNoSpace);
  EXPECT_TRUE(Left().empty());
}

TEST_F(FillParts, TwoRunsDoNotMix) {
  const auto first = Open(path_, plan_);
  SMELT_ASSERT_OK(first);
  EXPECT_EQ(CodeOf(Open(path_, plan_).status()), ErrorCode::kAlreadyExists);
  EXPECT_EQ(Left().size(), 6u);
}

}  // namespace
}  // namespace smelt
