#include "formats/gguf.h"

#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "tests/testing/faulty_storage.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::TestdataPath;

Metadata EveryType() {
  Metadata m;
  m.Set("general.architecture", "test");
  m.Set("u8", uint8_t{200});
  m.Set("i8", int8_t{-100});
  m.Set("u16", uint16_t{60000});
  m.Set("i16", int16_t{-30000});
  m.Set("u32", uint32_t{4000000000});
  m.Set("i32", int32_t{-2000000000});
  m.Set("u64", uint64_t{1} << 63);
  m.Set("i64", std::numeric_limits<int64_t>::min());
  m.Set("f32", 1.5f);
  m.Set("f64", 0.1);
  m.Set("true", true);
  m.Set("false", false);
  m.Set("text", std::string("caf\xc3\xa9\0!", 7));
  m.Set("empty", "");
  m.Set("strings", std::vector<std::string>{"a", "", "b\xff"});
  m.Set("numbers", std::vector<int32_t>{1, -2, 3});
  m.Set("floats", std::vector<float>{0.5f});
  m.Set("bools", MetadataValue::BoolArray({1, 0, 1}));
  m.Set("nothing", std::vector<uint64_t>{});
  return m;
}

std::shared_ptr<const Storage> Whole(const GgufLayout& layout, size_t cut = 0) {
  std::vector<std::byte> bytes = layout.header;
  bytes.resize(layout.file_size - cut);
  return MemoryStorage("m.gguf", std::move(bytes));
}

TEST(Gguf, WhatIsWrittenIsReadBack) {
  const Metadata metadata = EveryType();
  const std::vector<GgufTensorSpec> specs = {
      {"scalar", {1, 1, 1, 1}, 0, TensorType::kF32},
      {"b", {256, 3, 1, 1}, 2, TensorType::kQ4_K},
      {"", {5, 1, 1, 1}, 1, TensorType::kF16},
      {std::string(63, 'n'), {32, 2, 3, 2}, 4, TensorType::kQ8_0},
  };
  const auto layout = SerializeGgufHeader(metadata, specs);
  SMELT_ASSERT_OK(layout);
  EXPECT_EQ(layout->header.size() % 32, 0u);
  EXPECT_EQ(layout->file_size % 32, 0u);
  const auto got = ReadGguf(Whole(*layout));
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->version, 3u);
  ASSERT_EQ(got->metadata.entries().size(), metadata.entries().size());
  for (size_t i = 0; i < metadata.entries().size(); ++i) {
    EXPECT_EQ(got->metadata.entries()[i].key, metadata.entries()[i].key);
    EXPECT_EQ(got->metadata.entries()[i].value, metadata.entries()[i].value)
        << metadata.entries()[i].key;
  }
  ASSERT_EQ(got->tensors.size(), specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(got->tensors[i].name, specs[i].name);
    EXPECT_EQ(got->tensors[i].ne, specs[i].ne);
    EXPECT_EQ(got->tensors[i].dims, specs[i].dims);
    EXPECT_EQ(got->tensors[i].type, specs[i].type);
    EXPECT_EQ(got->tensors[i].offset, layout->offsets[i]);
    EXPECT_EQ(got->tensors[i].bytes, layout->bytes[i]);
    EXPECT_EQ(got->tensors[i].offset % 32, 0u);
  }
  EXPECT_EQ(got->tensors[1].bytes, 3 * 144u);
  EXPECT_EQ(got->tensors[3].bytes, 12 * 34u);
}

TEST(Gguf, LastTensorNeedsNoPaddingButItsBytes) {
  const std::vector<GgufTensorSpec> specs = {{"a", {5, 1, 1, 1}, 1, TensorType::kF32}};
  const auto layout = SerializeGgufHeader({}, specs);
  SMELT_ASSERT_OK(layout);
  SMELT_EXPECT_OK(ReadGguf(Whole(*layout, 12)));
  EXPECT_THAT(std::string(ReadGguf(Whole(*layout, 13)).status().message()), HasSubstr("truncated"));
}

TEST(Gguf, AlignmentKeyGovernsTheLayout) {
  Metadata metadata;
  metadata.Set("general.alignment", uint32_t{64});
  const std::vector<GgufTensorSpec> specs = {{"a", {3, 1, 1, 1}, 1, TensorType::kF32},
                                             {"b", {3, 1, 1, 1}, 1, TensorType::kF32}};
  const auto layout = SerializeGgufHeader(metadata, specs, 64);
  SMELT_ASSERT_OK(layout);
  EXPECT_EQ(layout->offsets[1] - layout->offsets[0], 64u);
  const auto got = ReadGguf(Whole(*layout));
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->alignment, 64u);
  EXPECT_FALSE(SerializeGgufHeader(metadata, specs).ok());
}

TEST(Gguf, WriterRefusesWhatReadersWould) {
  const auto status_of = [](std::vector<GgufTensorSpec> specs) {
    return std::string(SerializeGgufHeader({}, specs).status().message());
  };
  EXPECT_THAT(status_of({{std::string(64, 'n'), {1, 1, 1, 1}, 1, TensorType::kF32}}),
              HasSubstr("63"));
  EXPECT_THAT(status_of({{"a", {1, 1, 1, 1}, 1, TensorType::kF32},
                         {"a", {1, 1, 1, 1}, 1, TensorType::kF32}}),
              HasSubstr("twice"));
  EXPECT_THAT(status_of({{"a", {33, 1, 1, 1}, 1, TensorType::kQ8_0}}), HasSubstr("33 columns"));
  EXPECT_THAT(status_of({{"a", {uint64_t{1} << 62, 4, 1, 1}, 2, TensorType::kF32}}),
              HasSubstr("overflows"));
}

TEST(Gguf, EveryReadErrorIsReported) {
  const auto layout = SerializeGgufHeader(EveryType(), {});
  SMELT_ASSERT_OK(layout);
  const auto got = ReadGguf(std::make_shared<testing::FaultyStorage>(Whole(*layout), 0));
  EXPECT_EQ(CodeOf(got.status()), ErrorCode::kIo);
}

/// Writes one part of a split with the given tensors of 4 floats.
void WritePart(const std::string& path, uint16_t number, uint16_t count, int32_t total,
               const std::vector<std::string>& names, char fill) {
  Metadata metadata;
  if (number == 0) metadata.Set("general.name", "split");
  metadata.Set("split.no", number);
  metadata.Set("split.count", count);
  metadata.Set("split.tensors.count", total);
  std::vector<GgufTensorSpec> specs;
  for (const std::string& name : names) specs.push_back({name, {4, 1, 1, 1}, 1, TensorType::kF32});
  const auto layout = SerializeGgufHeader(metadata, specs);
  SMELT_ASSERT_OK(layout);
  std::string content(reinterpret_cast<const char*>(layout->header.data()), layout->header.size());
  content.resize(layout->file_size, fill);
  testing::WriteFile(path, content);
}

TEST(GgufSplit, PartsAreReadAsOne) {
  const TempDir dir;
  WritePart(dir / "m-00001-of-00003.gguf", 0, 3, 3, {}, '0');
  WritePart(dir / "m-00002-of-00003.gguf", 1, 3, 3, {"a", "b"}, '1');
  WritePart(dir / "m-00003-of-00003.gguf", 2, 3, 3, {"c"}, '2');
  const auto got = OpenGguf(dir / "m-00001-of-00003.gguf");
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->files.size(), 3u);
  ASSERT_EQ(got->tensors.size(), 3u);
  EXPECT_EQ(got->metadata.entries().size(), 1u);  // the split keys are gone
  char byte = 0;
  SMELT_ASSERT_OK(got->tensors[2].storage->ReadAt(got->tensors[2].offset,
                                                  std::as_writable_bytes(std::span(&byte, 1))));
  EXPECT_EQ(byte, '2');
}

TEST(GgufSplit, WrongSetsAreRefused) {
  const auto message = [](const std::string& path) {
    return std::string(OpenGguf(path).status().message());
  };
  const TempDir dir;
  WritePart(dir / "m-00001-of-00002.gguf", 0, 2, 2, {"a"}, '0');
  const std::string first = dir / "m-00001-of-00002.gguf", second = dir / "m-00002-of-00002.gguf";
  EXPECT_THAT(message(first), HasSubstr("m-00002-of-00002.gguf"));  // missing
  WritePart(second, 1, 2, 2, {"a"}, '0');
  EXPECT_THAT(message(first), HasSubstr("also in"));
  WritePart(second, 1, 2, 2, {"b", "c"}, '0');
  EXPECT_THAT(message(first), HasSubstr("split.tensors.count"));
  WritePart(second, 0, 2, 2, {"b"}, '0');
  EXPECT_THAT(message(first), HasSubstr("part 1 of 2"));
  WritePart(second, 1, 2, 2, {"b"}, '0');
  SMELT_EXPECT_OK(OpenGguf(first));
  EXPECT_THAT(message(second), HasSubstr("m-00001-of-00002.gguf"));  // start with the first
  std::filesystem::rename(first, dir / "renamed.gguf");
  EXPECT_THAT(message(dir / "renamed.gguf"), HasSubstr("-00001-of-00002.gguf"));
}

TEST(GgufSplit, PartsJoinedWithCatAreSaid) {
  const TempDir dir;
  WritePart(dir / "a", 0, 2, 3, {"a", "b"}, '0');
  WritePart(dir / "b", 1, 2, 3, {"c"}, '1');
  WritePart(dir / "v", 0, 2, 1, {}, '0');  // no tensors: the header's end counts
  const std::string a = testing::ReadFile(dir / "a"), b = testing::ReadFile(dir / "b"),
                    v = testing::ReadFile(dir / "v");
  for (const std::string& joined : {a + b, b + a, v + a, a + b + a}) {
    testing::WriteFile(dir / "joined.gguf", joined);
    const auto got = OpenGguf(dir / "joined.gguf");
    EXPECT_THAT(got.status().message(), HasSubstr("another GGUF begins at byte"));
    EXPECT_THAT(got.status().message(), HasSubstr("cat"));
  }
}

TEST(Gguf, WhatIsNoModelIsSaid) {
  const struct {
    std::string key, value, tensor, mentions;
  } cases[] = {
      {"general.type", "adapter", "w", "LoRA adapter"},
      {"adapter.type", "lora", "w", "LoRA adapter"},
      {"general.name", "x", "blk.0.attn_q.weight.lora_a", "LoRA adapter"},
      {"general.type", "mmproj", "w", "projector"},
      {"general.architecture", "clip", "w", "projector"},
      {"general.type", "imatrix", "w", "importance matrix"},
      {"general.name", "x", "blk.0.attn_q.weight.in_sum2", "importance matrix"},
      {"general.architecture", "controlvector", "direction.1", "control vector"},
      {"controlvector.layer_count", "3", "direction.1", "control vector"},
      {"general.type", "vocab\n", "w", "vocab\\n"},
      {"clip.has_vision_encoder", "true", "token_embd.weight", ""},
      {"general.type", "model", "w", ""},
      {"general.name", "x", "w", ""},
  };
  for (const auto& c : cases) {
    GgufFile file;
    file.metadata.Set(c.key, c.value);
    file.tensors.push_back({.name = c.tensor,
                            .ne = {1, 1, 1, 1},
                            .dims = 1,
                            .type = TensorType::kF32,
                            .offset = 0,
                            .bytes = 4,
                            .storage = nullptr});
    file.files.push_back(MemoryStorage("m.gguf", {}));
    if (c.mentions.empty()) {
      SMELT_EXPECT_OK(CheckIsModel(file));
    } else {
      EXPECT_THAT(CheckIsModel(file).message(), HasSubstr(c.mentions));
    }
  }
}

TEST(Gguf, ModelOfTestdata) {
  const auto got = OpenGguf(TestdataPath("bad/gguf/gguf-model-valid.gguf"));
  SMELT_ASSERT_OK(got);
  const auto architecture = got->metadata.String("general.architecture");
  SMELT_ASSERT_OK(architecture);
  EXPECT_EQ(*architecture, "llama");
}

}  // namespace
}  // namespace smelt
