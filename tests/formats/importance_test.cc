#include "formats/importance.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/weights_directory.h"
#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ReadFile;
using testing::SharedPath;
using testing::TempDir;
using File = std::shared_ptr<const ImportanceFile>;

absl::StatusOr<File> Read(std::string_view content) {
  const auto bytes = std::as_bytes(std::span(content));
  return ImportanceFile::Read(MemoryStorage("m.imatrix", {bytes.begin(), bytes.end()}));
}

std::string Refusal(std::string_view content) {
  const auto file = Read(content);
  EXPECT_FALSE(file.ok());
  EXPECT_LT(file.status().message().size(), 400u);
  return std::string(file.status().message());
}

std::vector<float> SumsOf(const ImportanceFile& file, size_t entry) {
  std::vector<float> sums(file.entries()[entry].values());
  SMELT_EXPECT_OK(file.ReadSums(entry, 0, sums));
  return sums;
}

std::vector<float> ImportanceOf(const ImportanceFile& file, size_t entry, uint64_t matrix,
                                size_t columns) {
  std::vector<float> out(columns);
  SMELT_EXPECT_OK(file.ReadImportance(entry, matrix, out));
  return out;
}

/// A GGUF of F32 (or other) tensors.
struct GgufTensorOf {
  std::string name;
  std::vector<uint64_t> ne;
  std::vector<float> values;
  TensorType type = TensorType::kF32;
};

Metadata Keys() {
  Metadata keys;
  keys.Set("general.type", "imatrix");
  keys.Set("imatrix.datasets", std::vector<std::string>{"a.txt", "b.txt"});
  keys.Set("imatrix.chunk_count", uint32_t{7});
  keys.Set("imatrix.chunk_size", uint32_t{512});
  return keys;
}

std::string Gguf(const std::vector<GgufTensorOf>& tensors, const Metadata& keys = Keys()) {
  std::vector<GgufTensorSpec> specs;
  for (const GgufTensorOf& t : tensors) {
    GgufTensorSpec spec{t.name, {1, 1, 1, 1}, static_cast<int>(t.ne.size()), t.type};
    std::copy(t.ne.begin(), t.ne.end(), spec.ne.begin());
    specs.push_back(spec);
  }
  const auto layout = SerializeGgufHeader(keys, specs);
  SMELT_EXPECT_OK(layout);
  std::string file(layout->file_size, '\0');
  std::memcpy(file.data(), layout->header.data(), layout->header.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto values = std::as_bytes(std::span(tensors[i].values));
    std::ranges::copy(values.first(std::min<size_t>(layout->bytes[i], values.size())),
                      reinterpret_cast<std::byte*>(file.data() + layout->offsets[i]));
  }
  return file;
}

const GgufTensorOf kSums{"a.weight.in_sum2", {3, 2}, {2, 4, 0, 9, 9, 9}};
const GgufTensorOf kCounts{"a.weight.counts", {1, 2}, {2, 0}};

TEST(Importance, AGgufHasSumsAndCountsOfEachExpert) {
  const auto file = Read(Gguf({kSums, kCounts, {"other", {1}, {5}}}));
  SMELT_ASSERT_OK(file);
  EXPECT_FALSE((*file)->legacy());
  EXPECT_THAT((*file)->origin().datasets, ElementsAre("a.txt", "b.txt"));
  EXPECT_EQ((*file)->origin().chunks, 7u);
  EXPECT_EQ((*file)->origin().chunk_size, 512u);
  ASSERT_EQ((*file)->entries().size(), 1u);
  EXPECT_EQ((*file)->Find("a.weight"), 0);
  EXPECT_EQ((*file)->Find("b.weight"), -1);
  EXPECT_THAT((*file)->entries()[0].counts, ElementsAre(2, 0));
  EXPECT_TRUE((*file)->Fits(0, 3, 2));
  EXPECT_FALSE((*file)->Fits(0, 6, 1));
  EXPECT_FALSE((*file)->Fits(0, 2, 3));
  EXPECT_THAT(ImportanceOf(**file, 0, 0, 3), ElementsAre(1, 2, 0));
  EXPECT_THAT(ImportanceOf(**file, 0, 1, 3), ElementsAre(0, 0, 0)) << "an expert without input";
}

TEST(Importance, HeadsAreOneMatrixWithTheColumnsOfAll) {
  const auto file =
      Read(Gguf({{"a.weight.in_sum2", {6}, {2, 4, 6, 8, 10, 12}}, {"a.weight.counts", {1}, {2}}}));
  SMELT_ASSERT_OK(file);
  EXPECT_TRUE((*file)->Fits(0, 3, 2));
  EXPECT_TRUE((*file)->Fits(0, 6, 1));
  EXPECT_FALSE((*file)->Fits(0, 4, 2));
  EXPECT_THAT(ImportanceOf(**file, 0, 1, 3), ElementsAre(4, 5, 6));
}

TEST(Importance, WhatIsWrongWithAGgufIsNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinity, -1.0f}) {
    EXPECT_THAT(Refusal(Gguf({{"a.weight.in_sum2", {3, 2}, {2, 4, 0, 9, bad, 9}}, kCounts})),
                HasSubstr("a.weight: value 4"));
    EXPECT_THAT(Refusal(Gguf({kSums, {"a.weight.counts", {1, 2}, {2, bad}}})),
                HasSubstr("a.weight"));
  }
  EXPECT_THAT(Refusal(Gguf({kSums})), HasSubstr("counts"));
  EXPECT_THAT(Refusal(Gguf({kCounts})), HasSubstr("sums"));
  EXPECT_THAT(Refusal(Gguf({kSums, {"a.weight.counts", {1, 3}, {1, 1, 1}}})), HasSubstr("3"));
  EXPECT_THAT(Refusal(Gguf({kSums, {"a.weight.counts", {1, 2}, {}, TensorType::kF16}})),
              HasSubstr("F32"));
  EXPECT_THAT(Refusal(Gguf({{"token_embd.weight", {4}, {1, 1, 1, 1}}})),
              HasSubstr("nothing of any tensor"));
  for (const char* key : {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
    Metadata keys = Keys();
    keys.Erase(key);
    EXPECT_THAT(Refusal(Gguf({kSums, kCounts}, keys)), HasSubstr(key));
    keys.Set(key, -1.5f);
    EXPECT_THAT(Refusal(Gguf({kSums, kCounts}, keys)), HasSubstr(key));
  }
}

/// A .dat, written by hand.
class Dat {
 public:
  Dat& Int(int32_t value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Dat& Text(std::string_view text) {
    Int(static_cast<int32_t>(text.size()));
    bytes_ += text;
    return *this;
  }
  Dat& Entry(std::string_view name, int32_t calls, const std::vector<float>& values) {
    Text(name).Int(calls).Int(static_cast<int32_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

TEST(Importance, ADatHoldsMeansTimesCalls) {
  const Dat dat =
      Dat().Int(2).Entry("b", 4, {4, 8, 12, 16}).Entry("a", 0, {3, 5}).Int(9).Text("x.txt");
  const auto file = Read(dat.bytes());
  SMELT_ASSERT_OK(file);
  EXPECT_TRUE((*file)->legacy());
  EXPECT_EQ((*file)->origin().chunks, 9u);
  EXPECT_THAT((*file)->origin().datasets, ElementsAre("x.txt"));
  ASSERT_EQ((*file)->Find("b"), 1);
  EXPECT_TRUE((*file)->Fits(1, 2, 2));
  EXPECT_TRUE((*file)->Fits(1, 4, 1));
  EXPECT_FALSE((*file)->Fits(1, 3, 1));
  EXPECT_THAT(ImportanceOf(**file, 1, 0, 2), ElementsAre(1, 2));
  EXPECT_THAT(ImportanceOf(**file, 1, 1, 2), ElementsAre(3, 4));
  EXPECT_THAT(ImportanceOf(**file, 0, 0, 2), ElementsAre(3, 5))
      << "values themselves without calls";
}

TEST(Importance, ADatMayEndBehindItsEntriesOrItsChunksAndNowhereElse) {
  const std::string entries = Dat().Int(1).Entry("ab", 1, {1, 2}).bytes();
  const std::string whole = Dat().Int(1).Entry("ab", 1, {1, 2}).Int(5).Text("text").bytes();
  for (size_t size = 0; size <= whole.size(); ++size) {
    const bool good = size == entries.size() || size == entries.size() + 4 || size == whole.size();
    EXPECT_EQ(Read(whole.substr(0, size)).ok(), good) << size;
  }
  EXPECT_THAT(Refusal(whole + "x"), HasSubstr("1 byte"));
}

TEST(Importance, WhatIsWrongWithADatIsNamed) {
  EXPECT_THAT(Refusal("This is no importance matrix, but a text."), HasSubstr("neither a GGUF"));
  EXPECT_THAT(Refusal(Dat().Int(0).bytes()), HasSubstr("no"));
  EXPECT_THAT(Refusal(Dat().Int(-1).Entry("a", 1, {1}).bytes()), HasSubstr("neither"));
  EXPECT_THAT(Refusal(Dat().Int(1).Entry("a", -1, {1}).bytes()), HasSubstr("-1 calls"));
  EXPECT_THAT(Refusal(Dat().Int(1).Entry("a", 1, {}).bytes()), HasSubstr("neither"));
  EXPECT_THAT(Refusal(Dat().Int(1).Entry("", 1, {1, 1, 1}).bytes()), HasSubstr("entry 0"));
  EXPECT_THAT(Refusal(Dat().Int(2).Entry("a", 1, {1, 2}).Entry("a", 1, {1, 2}).bytes()),
              HasSubstr("twice"));
  EXPECT_THAT(Refusal(Dat().Int(1).Entry("a", 1, {1, -2}).bytes()), HasSubstr("value 1"));
  EXPECT_THAT(Refusal(Dat().Int(1).Entry("a", 1, {1, 2}).Int(-3).bytes()), HasSubstr("-3"));
}

/// Values of the matrices' importance as their makers published it beside the files.
TEST(Importance, FilesOfLlamaCppSayWhatTheirMakersMeant) {
  SMELT_REQUIRE_SHARED();
  const auto published = OpenSafetensors(SharedPath("fixtures/quant/matrices.safetensors"));
  SMELT_ASSERT_OK(published);
  for (const auto& [file, prefix] : {std::pair("matrices.imatrix.gguf", "importance."),
                                     {"matrices.imatrix.dat", "importance."},
                                     {"matrices.imatrix_half.gguf", "importance_half."}}) {
    SCOPED_TRACE(file);
    const auto got = ImportanceFile::Open(SharedPath(Cat("fixtures/quant/", file)));
    SMELT_ASSERT_OK(got);
    EXPECT_EQ((*got)->entries().size(), 10u);
    for (size_t i = 0; i < (*got)->entries().size(); ++i) {
      const RawTensor* tensor = published->Find(prefix + (*got)->entries()[i].name);
      ASSERT_NE(tensor, nullptr);
      std::vector<float> expected(tensor->elements());
      SMELT_ASSERT_OK(
          tensor->storage->ReadAt(tensor->offset, std::as_writable_bytes(std::span(expected))));
      const std::vector<float> values = ImportanceOf(**got, i, 0, expected.size());
      for (size_t c = 0; c < expected.size(); ++c)
        ASSERT_NEAR(values[c], expected[c], 1e-6f * expected[c]) << c;
    }
  }
}

absl::Status WriteAgain(const ImportanceFile& file, const std::string& path) {
  return WriteImportance(
      path, file.origin(), file.entries(),
      [&](size_t entry, std::span<float> out) { return file.ReadSums(entry, 0, out); }, false);
}

TEST(Importance, AGgufOfLlamaImatrixIsWrittenAgainByteForByte) {
  SMELT_REQUIRE_SHARED();
  const std::string path = SharedPath("fixtures/quant/smollm2.imatrix.gguf");
  const auto file = ImportanceFile::Open(path);
  SMELT_ASSERT_OK(file);
  const TempDir dir;
  SMELT_ASSERT_OK(WriteAgain(**file, dir / "again.gguf"));
  EXPECT_TRUE(ReadFile(dir / "again.gguf") == ReadFile(path));
}

TEST(Importance, ADatSaysTheSameAsTheGgufThatItWasMadeOf) {
  const auto file = Read(Gguf({{"a.weight.in_sum2", {3, 2}, {1024, 2048, 0, 9, 18, 27}},
                               {"a.weight.counts", {1, 2}, {1024, 3}},
                               {"b.weight.in_sum2", {2, 2}, {8, 4, 0, 0}},
                               {"b.weight.counts", {1, 2}, {4, 0}}}));
  SMELT_ASSERT_OK(file);
  const TempDir dir;
  SMELT_ASSERT_OK(WriteAgain(**file, dir / "m.dat"));
  const auto dat = ImportanceFile::Open(dir / "m.dat");
  SMELT_ASSERT_OK(dat);
  EXPECT_TRUE((*dat)->legacy());
  EXPECT_EQ((*dat)->origin().chunks, 7u);
  EXPECT_THAT((*dat)->entries()[0].counts, ElementsAre(2)) << "1024 tokens in chunks of 512";
  EXPECT_THAT(ImportanceOf(**dat, 0, 0, 3), ElementsAre(1, 2, 0));
  EXPECT_THAT(ImportanceOf(**dat, 0, 1, 3), ElementsAre(3, 6, 9));
  EXPECT_THAT(ImportanceOf(**dat, 1, 0, 2), ElementsAre(2, 1));
  EXPECT_THAT(ImportanceOf(**dat, 1, 1, 2), ElementsAre(1, 1)) << "an expert without input";
  EXPECT_EQ(SumsOf(**dat, 0).size(), 6u);
}

TEST(Importance, MoreInputsThanADatCanCountAreRefused) {
  const TempDir dir;
  const std::vector<ImportanceEntry> entries = {{.name = "a", .columns = 2, .counts = {2e22f}}};
  const auto ones = [](size_t, std::span<float> out) {
    std::ranges::fill(out, 1.0f);
    return absl::OkStatus();
  };
  SMELT_EXPECT_OK(WriteImportance(dir / "m.gguf", {}, entries, ones, false));
  EXPECT_THAT(std::string(WriteImportance(dir / "m.dat", {}, entries, ones, false).message()),
              HasSubstr("a saw more inputs"));
  EXPECT_FALSE(OpenFile(dir / "m.dat").ok());
}

TEST(Importance, NothingStaysWhereWritingFails) {
  const TempDir dir;
  const std::vector<ImportanceEntry> entries = {{.name = "a", .columns = 2, .counts = {1}}};
  for (const char* name : {"m.gguf", "m.dat"}) {
    const auto fail = [](size_t, std::span<float>) { return Error(ErrorCode::kIo, "no sums"); };
    EXPECT_FALSE(WriteImportance(dir / name, {}, entries, fail, false).ok());
    EXPECT_FALSE(OpenFile(dir / name).ok());
    EXPECT_FALSE(OpenFile(dir / (std::string(name) + ".part")).ok());
  }
}

}  // namespace
}  // namespace smelt
