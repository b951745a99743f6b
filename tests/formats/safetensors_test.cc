#include "formats/safetensors.h"

#include <gmock/gmock.h>

#include <cstring>
#include <string>
#include <vector>

#include "formats/safetensors_writer.h"
#include "formats/weights_directory.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "tests/testing/faulty_storage.h"
#include "tests/testing/safetensors.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::SafetensorsFile;
using testing::SharedPath;
using testing::TempDir;
using testing::TestdataPath;

std::shared_ptr<const Storage> InMemory(const std::string& content) {
  const auto bytes = std::as_bytes(std::span(content));
  return MemoryStorage("m.safetensors", {bytes.begin(), bytes.end()});
}

TEST(Safetensors, ReadsTensorsInHeaderOrder) {
  const auto got = ReadSafetensors(InMemory(SafetensorsFile(
      R"({"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  )",
      std::string(16, 'x'))));
  SMELT_ASSERT_OK(got);
  ASSERT_EQ(got->tensors.size(), 2u);
  const RawTensor& b = got->tensors[0];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype, RawType::kBF16);
  EXPECT_THAT(b.shape, ElementsAre(2, 3));
  EXPECT_THAT(b.strides, ElementsAre(3, 1));
  EXPECT_TRUE(b.contiguous());
  EXPECT_EQ(b.elements(), 6u);
  const RawTensor* a = got->Find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->offset + 4, b.offset);
  EXPECT_EQ(b.offset + 12, got->files[0]->size());
  EXPECT_EQ(got->metadata.size(), 1u);
}

TEST(Safetensors, HalfByteTypesFillWholeBytes) {
  const auto with_shape = [](int n, int bytes) {
    return ReadSafetensors(InMemory(SafetensorsFile(
        Cat(R"({"a":{"dtype":"F4","shape":[)", n, R"(],"data_offsets":[0,)", bytes, "]}}"),
        std::string(bytes, 'x'))));
  };
  SMELT_EXPECT_OK(with_shape(6, 3));
  EXPECT_FALSE(with_shape(5, 3).ok());
}

TEST(Safetensors, SystemErrorsAreReported) {
  auto whole =
      InMemory(SafetensorsFile(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  SMELT_ASSERT_OK(ReadSafetensors(whole));
  for (int reads = 0; reads < 2; ++reads) {
    const auto got = ReadSafetensors(std::make_shared<testing::FaultyStorage>(whole, reads));
    EXPECT_EQ(CodeOf(got.status()), ErrorCode::kIo);
  }
}

TEST(Safetensors, MissingFileAndFolder) {
  const TempDir dir;
  EXPECT_EQ(CodeOf(OpenSafetensors(dir / "none").status()), ErrorCode::kNotFound);
  EXPECT_FALSE(OpenSafetensors(dir.path()).ok());
  const auto empty = OpenWeights(dir.path());
  EXPECT_EQ(CodeOf(empty.status()), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(empty.status().message()), HasSubstr("model.safetensors"));
}

TEST(SafetensorsDirectory, ShardsGiveTheSameTensorsAsOneFile) {
  const auto whole = OpenWeights(TestdataPath("bad/base/weights"));
  SMELT_ASSERT_OK(whole);
  const TempDir dir;
  for (const char* name :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
    testing::WriteFile(dir / name, testing::ReadFile(TestdataPath(Cat("bad/base/shards/", name))));
  }
  testing::WriteFile(
      dir / "model.safetensors.index.json",
      testing::ReadFile(TestdataPath("bad/idx/idx-valid/model.safetensors.index.json")));
  const auto shards = OpenWeights(dir.path());
  SMELT_ASSERT_OK(shards);
  EXPECT_EQ(shards->files.size(), 2u);
  ASSERT_EQ(shards->tensors.size(), whole->tensors.size());
  for (const RawTensor& tensor : shards->tensors) {
    const RawTensor* same = whole->Find(tensor.name);
    ASSERT_NE(same, nullptr) << tensor.name;
    EXPECT_EQ(tensor.shape, same->shape);
    std::vector<std::byte> a(tensor.elements() * BitsOf(tensor.dtype) / 8), b(a.size());
    SMELT_ASSERT_OK(tensor.storage->ReadAt(tensor.offset, a));
    SMELT_ASSERT_OK(same->storage->ReadAt(same->offset, b));
    EXPECT_EQ(a, b) << tensor.name;
  }
}

TEST(SafetensorsDirectory, OneFileWinsOverAnIndex) {
  const TempDir dir;
  testing::WriteFile(
      dir / "model.safetensors",
      SafetensorsFile(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  testing::WriteFile(dir / "model.safetensors.index.json", "not even JSON");
  const auto got = OpenWeights(dir.path());
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->tensors.size(), 1u);
  ASSERT_EQ(got->warnings.size(), 1u);
  EXPECT_THAT(got->warnings[0], HasSubstr("index.json"));
}

TEST(SafetensorsDirectory, SharedModelHasFourShards) {
  SMELT_REQUIRE_SHARED();
  const auto got = OpenWeights(SharedPath("fixtures/models/llama"));
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->files.size(), 4u);
  EXPECT_NE(got->Find("model.embed_tokens.weight"), nullptr);
  EXPECT_TRUE(got->warnings.empty());
}

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  const TempDir dir;
  const std::string path = dir / "logits.safetensors";
  auto writer = SafetensorsWriter::Create(path, "logits", {2, 3}, false);
  SMELT_ASSERT_OK(writer);
  const std::vector<float> values = {0, 1, -2.5f, 3, 4, 1e30f};
  SMELT_ASSERT_OK((*writer)->Append(std::span(values).first(4)));
  EXPECT_EQ(CodeOf((*writer)->Finish()), ErrorCode::kInternal);  // too early
  SMELT_ASSERT_OK((*writer)->Append(std::span(values).subspan(4)));
  EXPECT_FALSE((*writer)->Append(std::span(values).first(1)).ok());
  SMELT_ASSERT_OK((*writer)->Finish());

  const auto got = OpenSafetensors(path);
  SMELT_ASSERT_OK(got);
  ASSERT_EQ(got->tensors.size(), 1u);
  const RawTensor& tensor = got->tensors[0];
  EXPECT_EQ(tensor.name, "logits");
  EXPECT_THAT(tensor.shape, ElementsAre(2, 3));
  EXPECT_EQ(tensor.offset % 8, 0u);
  std::vector<float> back(6);
  SMELT_ASSERT_OK(tensor.storage->ReadAt(tensor.offset, std::as_writable_bytes(std::span(back))));
  EXPECT_EQ(back, values);
}

TEST(SafetensorsWriter, NothingStaysWithoutFinish) {
  const TempDir dir;
  { SMELT_ASSERT_OK(SafetensorsWriter::Create(dir / "l", "x", {4}, false)); }
  EXPECT_FALSE(OpenSafetensors(dir / "l").ok());
  EXPECT_FALSE(OpenSafetensors(dir / "l.part").ok());
}

}  // namespace
}  // namespace smelt
