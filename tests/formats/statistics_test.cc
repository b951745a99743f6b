#include "formats/statistics.h"

#include <gmock/gmock.h>

#include <cstring>

#include "formats/gguf.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using testing::ReadFile;
using testing::TempDir;
using testing::WriteFile;

const StatisticsOrigin kOrigin = {.texts = {.datasets = {"a.txt"}, .chunks = 3, .chunk_size = 128},
                                  .gathering = "moments 9 128 3 abc",
                                  .asked = {"blk.0.a.weight", "blk.0.b.weight"}};
const ImportanceEntry kSquares = {.name = "blk.0.a.weight", .columns = 3, .counts = {2}};
const ImportanceEntry kExperts = {.name = "output.weight", .columns = 2, .counts = {1, 0}};
const MomentEntry kMoment = {
    .matrices = {{"blk.0.a.weight", 0}, {"blk.0.b.weight", 4}}, .columns = 3, .tokens = 5};
constexpr float kSquareSums[] = {1, 2, 3}, kExpertSums[] = {4, 5, 0, 0};
constexpr float kUnseen = -77;
constexpr float kGram[] = {1, kUnseen, kUnseen, 2, 3, kUnseen, 4, 5, 6};

/// A layer, an empty one and the head. `most`: what the writer is told there may be.
void Write(const std::string& path, const std::vector<StatisticsStage>& most) {
  const auto writer = StatisticsWriter::Open(path, kOrigin, most);
  SMELT_ASSERT_OK(writer);
  (*writer)->AddStage();
  SMELT_ASSERT_OK((*writer)->AddSquares(kSquares, kSquareSums));
  SMELT_ASSERT_OK((*writer)->AddMoment(kMoment, kGram));
  (*writer)->AddStage();
  (*writer)->AddStage();
  SMELT_ASSERT_OK((*writer)->AddSquares(kExperts, kExpertSums));
  SMELT_ASSERT_OK((*writer)->Finish(std::string(64, 'd')));
}

std::vector<StatisticsStage> Exactly() {
  return {{.squares = {kSquares}, .moments = {kMoment}}, {}, {.squares = {kExperts}}};
}

std::string Written() {
  const TempDir dir;
  Write(dir / "s.gguf", Exactly());
  return ReadFile(dir / "s.gguf");
}

absl::StatusOr<std::shared_ptr<const StatisticsFile>> ReadAgain(std::string_view content) {
  const auto bytes = std::as_bytes(std::span(content));
  return StatisticsFile::Read(MemoryStorage("s.gguf", {bytes.begin(), bytes.end()}));
}

TEST(Statistics, AreReadAsTheyWereWritten) {
  const TempDir dir;
  std::vector<StatisticsStage> more = Exactly();
  more[1].squares = {{.name = "blk.1.a.weight", .columns = 900, .counts = {1}}};
  more[1].moments = {{.matrices = {{"blk.1.a.weight", 0}}, .columns = 90, .tokens = 0}};
  for (const std::vector<StatisticsStage>& most : {Exactly(), more}) {
    Write(dir / "s.gguf", most);
    const auto file = StatisticsFile::Open(dir / "s.gguf");
    SMELT_ASSERT_OK(file);
    EXPECT_EQ((*file)->origin().texts.datasets, kOrigin.texts.datasets);
    EXPECT_EQ((*file)->origin().texts.chunks, 3u);
    EXPECT_EQ((*file)->origin().gathering, kOrigin.gathering);
    EXPECT_EQ((*file)->origin().model, std::string(64, 'd'));
    EXPECT_EQ((*file)->origin().asked, kOrigin.asked);
    ASSERT_EQ((*file)->stages().size(), 3u);
    const StatisticsStage& layer = (*file)->stages()[0];
    ASSERT_EQ(layer.moments.size(), 1u);
    EXPECT_THAT(layer.moments[0].matrices,
                ElementsAre(Pair("blk.0.a.weight", 0u), Pair("blk.0.b.weight", 4u)));
    EXPECT_EQ(layer.moments[0].tokens, 5u);
    std::vector<float> sums(3), head(4), gram(9, kUnseen);
    SMELT_ASSERT_OK((*file)->ReadSums(0, 0, sums));
    EXPECT_THAT(sums, ElementsAre(1, 2, 3));
    SMELT_ASSERT_OK((*file)->ReadSums(2, 0, head));
    EXPECT_THAT(head, ElementsAre(4, 5, 0, 0));
    EXPECT_THAT((*file)->stages()[2].squares[0].counts, ElementsAre(1, 0));
    SMELT_ASSERT_OK((*file)->ReadMoment(0, 0, gram.data()));
    EXPECT_EQ(std::memcmp(gram.data(), kGram, sizeof(kGram)), 0);
    const auto most_bytes = StatisticsWriter::Bytes(kOrigin, most);
    SMELT_ASSERT_OK(most_bytes);
    EXPECT_LE(ReadFile(dir / "s.gguf").size(), *most_bytes);
    std::remove((dir / "s.gguf").c_str());
  }
}

TEST(Statistics, OfTheSameFiguresAreTheSameBytesAndNothingStaysOfUnfinishedOnes) {
  const TempDir dir;
  EXPECT_EQ(Written(), Written());
  {
    const auto writer = StatisticsWriter::Open(dir / "s.gguf", kOrigin, Exactly());
    SMELT_ASSERT_OK(writer);
    (*writer)->AddStage();
    SMELT_ASSERT_OK((*writer)->AddSquares(kSquares, kSquareSums));
    EXPECT_TRUE(Exists(dir / "s.gguf.part"));
  }
  EXPECT_TRUE(ListFolder(dir.path())->empty());
  WriteFile(dir / "s.gguf", "mine");
  EXPECT_EQ(CodeOf(StatisticsWriter::Open(dir / "s.gguf", kOrigin, Exactly()).status()),
            ErrorCode::kAlreadyExists);
}

TEST(Statistics, MomentsOfManyRowsAreReadInPieces) {
  const TempDir dir;
  constexpr uint64_t kColumns = 1100;  // its triangle is more than two pieces
  const MomentEntry entry = {.matrices = {{"x", 0}}, .columns = kColumns, .tokens = 1};
  std::vector<float> gram(kColumns * kColumns), again(gram.size());
  for (uint64_t j = 0; j < kColumns; ++j)
    for (uint64_t k = 0; k <= j; ++k) gram[j * kColumns + k] = static_cast<float>(j * 7 + k);
  const auto writer = StatisticsWriter::Open(dir / "s.gguf", kOrigin, {{.moments = {entry}}});
  SMELT_ASSERT_OK(writer);
  (*writer)->AddStage();
  SMELT_ASSERT_OK((*writer)->AddMoment(entry, gram.data()));
  SMELT_ASSERT_OK((*writer)->Finish(std::string(64, 'd')));
  const auto file = StatisticsFile::Open(dir / "s.gguf");
  SMELT_ASSERT_OK(file);
  SMELT_ASSERT_OK((*file)->ReadMoment(0, 0, again.data()));
  EXPECT_EQ(again, gram);
}

/// The file with another value of a key (or without it), everything else in its place.
std::string With(const std::string& key, const MetadataValue* value) {
  const std::string file = Written();
  const auto bytes = std::as_bytes(std::span(std::string_view(file)));
  const auto gguf = ReadGguf(MemoryStorage("s.gguf", {bytes.begin(), bytes.end()}));
  SMELT_EXPECT_OK(gguf);
  Metadata metadata = gguf->metadata;
  value == nullptr ? static_cast<void>(metadata.Erase(key)) : metadata.Set(key, *value);
  std::vector<GgufTensorSpec> specs;
  for (const GgufTensor& t : gguf->tensors) specs.push_back({t.name, t.ne, t.dims, t.type});
  const auto layout = SerializeGgufHeader(metadata, specs);
  SMELT_EXPECT_OK(layout);
  std::string out(layout->file_size, '\0');
  std::memcpy(out.data(), layout->header.data(), layout->header.size());
  for (size_t i = 0; i < specs.size(); ++i)
    std::memcpy(out.data() + layout->offsets[i], file.data() + gguf->tensors[i].offset,
                layout->bytes[i]);
  return out;
}

/// What reading all of it says.
absl::Status ReadAll(const std::string& content) {
  const auto file = ReadAgain(content);
  if (!file.ok()) return file.status();
  for (size_t s = 0; s < (*file)->stages().size(); ++s) {
    const StatisticsStage& stage = (*file)->stages()[s];
    for (size_t i = 0; i < stage.squares.size(); ++i) {
      std::vector<float> sums(stage.squares[i].values());
      SMELT_RETURN_IF_ERROR((*file)->ReadSums(s, i, sums));
    }
    for (size_t i = 0; i < stage.moments.size(); ++i) {
      std::vector<float> gram(stage.moments[i].columns * stage.moments[i].columns);
      SMELT_RETURN_IF_ERROR((*file)->ReadMoment(s, i, gram.data()));
    }
  }
  return absl::OkStatus();
}

TEST(Statistics, ListsThatDisagreeAreRefused) {
  SMELT_ASSERT_OK(ReadAll(Written()));
  using U32 = std::vector<uint32_t>;
  using U64 = std::vector<uint64_t>;
  using Texts = std::vector<std::string>;
  const std::pair<const char*, MetadataValue> kCases[] = {
      {"statistics.gathering", uint32_t{1}},
      {"statistics.gathering", "moments 8 128 3 abc"},
      {"imatrix.datasets", Texts{"b.txt"}},
      {"imatrix.chunk_size", uint32_t{64}},
      {"statistics.asked", Texts{"blk.0.a.weight"}},
      {"statistics.stage_tensors", U32{3, 0, 3}},
      {"statistics.stage_tensors", U32{2, 1, 2}},
      {"statistics.stage_tensors", U32{3, 0}},
      {"statistics.stage_tensors", U32{1, 2, 2}},
      {"statistics.stage_tensors", U32{3, 0, 4000000000u}},
      {"statistics.stage_tensors", "3"},
      {"statistics.moment_tensors", Texts{"blk.0.a.weight"}},
      {"statistics.moment_tensors", Texts{"blk.0.a.weight", "blk.0.c.weight"}},
      {"statistics.moment_tensors", Texts{}},
      {"statistics.moment_matrices", U32{0, 0, 0, 3}},
      {"statistics.moment_matrices", U32{0, 0, 1, 4}},
      {"statistics.moment_matrices", U32{0, 0, 0}},
      {"statistics.moment_matrices", U32{}},
      {"statistics.moment_tokens", U64{6}},
      {"statistics.moment_tokens", U64{}},
      {"statistics.moment_tokens", U64{5, 5}},
      {"statistics.moment_tokens", std::vector<double>{5.5}},
      {"statistics.hashes", Texts{"", "", ""}},
      {"statistics.hashes", Texts{}},
  };
  for (const auto& [key, value] : kCases) {
    SCOPED_TRACE(key);
    const absl::Status status = ReadAll(With(key, &value));
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
    EXPECT_THAT(std::string(status.message()), HasSubstr("s.gguf"));
    EXPECT_LT(status.message().size(), 400u);
  }
  for (const char* key :
       {"imatrix.datasets", "statistics.gathering", "statistics.model", "statistics.asked",
        "statistics.stage_tensors", "statistics.moment_tensors", "statistics.moment_matrices",
        "statistics.moment_tokens", "statistics.hashes"})
    EXPECT_EQ(CodeOf(ReadAll(With(key, nullptr))), ErrorCode::kInvalidInput) << key;
}

TEST(Statistics, ValuesThatChangedAreRefused) {
  const std::string file = Written();
  const auto bytes = std::as_bytes(std::span(std::string_view(file)));
  const auto gguf = ReadGguf(MemoryStorage("s.gguf", {bytes.begin(), bytes.end()}));
  SMELT_ASSERT_OK(gguf);
  for (const GgufTensor& tensor : gguf->tensors) {
    for (uint64_t at = tensor.offset; at < tensor.offset + tensor.bytes; ++at) {
      std::string changed = file;
      changed[at] = static_cast<char>(changed[at] ^ 0x21);
      const absl::Status status = ReadAll(changed);
      if (status.ok() && tensor.name.ends_with(".counts")) {  // rounded to the same whole number
        const auto read = ReadAgain(changed);
        EXPECT_EQ((*read)->stages()[0].squares[0].counts, kSquares.counts);
        EXPECT_EQ((*read)->stages()[2].squares[0].counts, kExperts.counts);
        continue;
      }
      EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << tensor.name << " " << at;
    }
  }
}

}  // namespace
}  // namespace smelt
