// Foundations: messages, JSON, storage, metadata, tensor types, threads.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "lib/base/ascii.h"
#include "lib/base/cat.h"
#include "lib/base/checked.h"
#include "lib/base/float16.h"
#include "lib/base/folder.h"
#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/metadata.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/system_error.h"
#include "lib/base/tensor_type.h"
#include "lib/base/utf8.h"
#include "smelt/nearest.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::smelt::testing::TempDir;
using ::smelt::testing::WriteFile;

TEST(Cat, JoinsEveryKind) {
  EXPECT_EQ(Cat("a", std::string("b"), 'c', -1, 2u, 0.5, true), "abc-120.5true");
}

TEST(Escape, ControlsBidiAndBrokenBytes) {
  EXPECT_EQ(Escape("a\x1b[31m\n"), "a\\x1b[31m\\n");
  EXPECT_EQ(Escape("\xe2\x80\xae"), "\\u202e");
  EXPECT_EQ(Escape("ok \xff"), "ok \\xff");
  EXPECT_EQ(Escape("\xc3\xa9"), "\xc3\xa9");
  const std::string cut = Escape(std::string(1000, 'x'), 100);
  EXPECT_EQ(cut.size(), 103u);
}

TEST(Status, CodeAndSentenceSurvive) {
  const absl::Status status = Prefixed("m: ", Error(ErrorCode::kNoSpace, "disk ", 3));
  EXPECT_EQ(CodeOf(status), ErrorCode::kNoSpace);
  EXPECT_EQ(std::string(status.message()), "m: disk 3");
}

TEST(Utf8, RefusesOverlongAndSurrogates) {
  EXPECT_TRUE(IsValidUtf8("\xf0\x9f\x98\x80 plain \xce\xb1"));
  for (const char* bad : {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"}) {
    EXPECT_FALSE(IsValidUtf8(bad));
  }
}

TEST(Json, StrictWhereFilesLie) {
  EXPECT_TRUE(ParseJsonValue(R"({"a": [1, 2.5, "x", null, true]})", "f").ok());
  for (const char* bad : {"", "{", R"({"a":1,"a":2})", "[1] x", "\xef\xbb\xbf{}", "[NaN]",
                          "[\"\xff\"]", "[1e999]", "nul"}) {
    EXPECT_FALSE(ParseJsonValue(bad, "f").ok()) << bad;
  }
  EXPECT_FALSE(ParseJsonValue(std::string(100, '[') + std::string(100, ']'), "f").ok());
}

TEST(Json, ReadsPythonsInfinities) {
  const auto value =
      ParseJsonValue(R"({"a": [NaN, Infinity, -Infinity], "b": "NaN"})", "f", {.allow_nan = true});
  SMELT_ASSERT_OK(value);
  const auto& list = *value->Find("a")->as_array();
  EXPECT_TRUE(std::isnan(*list[0].as_double()));
  EXPECT_EQ(*list[1].as_double(), std::numeric_limits<double>::infinity());
  EXPECT_EQ(*list[2].as_double(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(*value->Find("b")->as_string(), "NaN");
}

TEST(Json, HugeIntegersAreNoIntegers) {
  const auto value = ParseJsonValue("[9223372036854775807, 18446744073709551615, 1e3]", "f");
  SMELT_ASSERT_OK(value);
  const auto& list = *value->as_array();
  EXPECT_EQ(list[0].as_int(), std::numeric_limits<int64_t>::max());
  EXPECT_FALSE(list[1].as_int().has_value());
  EXPECT_FALSE(list[2].is_int());
}

TEST(Storage, ReadsMapsAndRefuses) {
  const TempDir dir;
  WriteFile(dir / "f", "hello");
  const auto file = OpenFile(dir / "f");
  SMELT_ASSERT_OK(file);
  std::byte two[2];
  SMELT_ASSERT_OK((*file)->ReadAt(3, two));
  EXPECT_EQ(static_cast<char>(two[1]), 'o');
  EXPECT_FALSE((*file)->ReadAt(4, two).ok());
  EXPECT_FALSE((*file)->ReadAt(std::numeric_limits<uint64_t>::max(), two).ok());
  EXPECT_EQ((*file)->Map()->size(), 5u);
  EXPECT_EQ(CodeOf(OpenFile(dir / "none").status()), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(OpenFile(dir.path()).status()), ErrorCode::kInvalidInput);
}

TEST(Storage, NoticesAShrunkFile) {
  const TempDir dir;
  WriteFile(dir / "f", "hello");
  const auto file = OpenFile(dir / "f");
  WriteFile(dir / "f", "h");
  std::byte all[5];
  EXPECT_EQ(CodeOf((*file)->ReadAt(0, all)), ErrorCode::kIo);
}

TEST(Storage, ManyFilesNeedFewDescriptors) {
  const TempDir dir;
  std::vector<std::shared_ptr<Storage>> files;
  constexpr int kFiles = 1500;  // more than are ever kept open
  for (int i = 0; i < kFiles; ++i) {
    WriteFile(dir / Cat(i), Cat("content ", i));
    auto file = OpenFile(dir / Cat(i));
    SMELT_ASSERT_OK(file);
    if (i == 1) {
      SMELT_ASSERT_OK((*file)->Map());
    }
    files.push_back(*std::move(file));
  }
  // One that is mapped is not opened again: what this process writes to it since is seen.
  std::filesystem::last_write_time(
      dir / "1", std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  size_t open = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++open;
  EXPECT_LT(open, 1200u);
  std::atomic<int> wrong = 0;
  const absl::Status status = ParallelFor(kFiles, 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      std::string text(files[i]->size(), '\0');
      const absl::Status read = files[i]->ReadAt(0, std::as_writable_bytes(std::span(text)));
      if (!read.ok() || text != Cat("content ", i)) ++wrong;
    }
    return absl::OkStatus();
  });
  SMELT_EXPECT_OK(status);
  EXPECT_EQ(wrong, 0);
  // One that was closed and is another file now is not read as if nothing had happened.
  WriteFile(dir / "new", "other content");
  std::filesystem::rename(dir / "new", dir / "0");
  std::byte byte;
  const absl::Status read = files[0]->ReadAt(0, std::span(&byte, 1));
  if (!read.ok()) {
    EXPECT_NE(std::string(read.message()).find("changed"), std::string::npos);
  }
}

TEST(Metadata, KeepsOrderAndTypes) {
  Metadata metadata;
  metadata.Set("b", uint32_t{7});
  metadata.Set("a", "text");
  metadata.Set("list", std::vector<std::string>{"x"});
  metadata.Set("b", int32_t{-7});
  EXPECT_EQ(metadata.entries()[0].key, "b");
  EXPECT_EQ(metadata.Find("b")->type(), ValueType::kI32);
  EXPECT_FALSE(metadata.Uint("b").ok());
  EXPECT_FALSE(metadata.Uint("none").ok());
  EXPECT_EQ(*metadata.UintOr("none", 3), 3u);
  EXPECT_EQ(metadata.Find("list")->element_type(), ValueType::kString);
  EXPECT_TRUE(metadata.Erase("b"));
  EXPECT_EQ(*metadata.String("a"), "text");
  EXPECT_EQ(MetadataValue(true).type(), ValueType::kBool);
  EXPECT_EQ(MetadataValue::BoolArray({1, 0}).element_type(), ValueType::kBool);
}

TEST(TensorType, TableIsConsistent) {
  for (const TensorTypeInfo& info : AllTensorTypes()) {
    EXPECT_EQ(FindTensorType(static_cast<uint32_t>(info.type)), &info);
    EXPECT_EQ(ParseTensorType(info.name), info.type);
  }
  EXPECT_EQ(ParseTensorType("q4_k"), TensorType::kQ4_K);
  EXPECT_EQ(FindTensorType(4), nullptr);
  EXPECT_EQ(FindTensorType(4000000000u), nullptr);
  EXPECT_EQ(RemovedTensorTypeName(4), "Q4_2");
  EXPECT_EQ(RowBytes(TensorType::kQ6_K, 512), 420u);
  EXPECT_FALSE(RowBytes(TensorType::kQ6_K, 500).has_value());
}

TEST(Float16, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = F16ToF32(static_cast<uint16_t>(h));
    if (std::isnan(f)) continue;
    EXPECT_EQ(F32ToF16(f), h);
  }
}

TEST(Float16, RoundsToNearestEven) {
  EXPECT_EQ(F32ToF16(65519.0f), 0x7bff);
  EXPECT_EQ(F32ToF16(65520.0f), 0x7c00);
  EXPECT_EQ(F32ToF16(0x1p-25f), 0x0000);  // tie between 0 and the smallest subnormal
  EXPECT_EQ(F32ToF16(0x1.000002p-25f), 0x0001);
  EXPECT_EQ(F32ToF16(1.0f + 0x1p-11f), 0x3c00);  // tie, even below
  EXPECT_EQ(F32ToF16(1.0f + 0x3p-11f), 0x3c02);  // tie, even above
  EXPECT_EQ(F32ToBf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(F32ToBf16(1.0f + 0x3p-8f), 0x3f82);
}

TEST(Hash, KnownValues) {
  EXPECT_EQ(Sha256Hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(CheckedTest, NumbersOfFilesAsIntegers) {
  EXPECT_EQ(CheckedInteger<uint32_t>(4294967295.0), 4294967295u);
  EXPECT_EQ(CheckedInteger<int64_t>(-0x1p63), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(CheckedInteger<uint64_t>(0x1p63), uint64_t{1} << 63);
  EXPECT_EQ(CheckedInteger<uint8_t>(-0.0), 0);
  for (double value : {4294967296.0, 1e12, -1.0, 0.5, 1e300, std::nan(""), HUGE_VAL, -HUGE_VAL})
    EXPECT_FALSE(CheckedInteger<uint32_t>(value)) << value;
  EXPECT_FALSE(CheckedInteger<int64_t>(0x1p63));
  EXPECT_FALSE(CheckedInteger<uint64_t>(0x1p64));
}

TEST(CheckedTest, NumbersOfFilesAsFloats) {
  EXPECT_EQ(CheckedFloat(0.1), 0.1f);
  EXPECT_EQ(CheckedFloat(0), 0.0f);
  for (double value : {1e39, -1e39, 1e-300, std::nan(""), HUGE_VAL})
    EXPECT_FALSE(CheckedFloat(value)) << value;
}

TEST(NearestTest, NamesByHowMuchDiffers) {
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("--qunat", "--quant"), 1u);
  EXPECT_EQ(EditDistance("ca", "abc"), 3u);
  const std::vector<std::string_view> names = {"model.norm.weight", "lm_head.weight",
                                               "head.weight"};
  EXPECT_EQ(NearestNames("Head.Weights", names, 2),
            (std::vector<std::string_view>{"head.weight", "lm_head.weight"}));
  EXPECT_TRUE(NearestNames("x", {}, 3).empty());
}

TEST(Folder, WhatStandsAtAPath) {
  const TempDir dir;
  WriteFile(dir / "file", "x");
  std::filesystem::create_symlink("file", dir / "link");
  std::filesystem::create_symlink("nowhere", dir / "broken");
  struct Case {
    const char* name = "";
    bool exists = false, file = false, folder = false, named = false;
  };
  for (const Case& c :
       {Case{.name = "file", .exists = true, .file = true, .named = true},
        Case{.name = "link", .exists = true, .file = true, .named = true},
        Case{.name = ".", .exists = true, .folder = true, .named = true},
        Case{.name = "broken", .named = true}, Case{.name = "none"}, Case{.name = "file/below"}}) {
    const std::string path = dir / c.name;
    EXPECT_EQ(Exists(path), c.exists) << c.name;
    EXPECT_EQ(IsFile(path), c.file) << c.name;
    EXPECT_EQ(IsFolder(path), c.folder) << c.name;
    EXPECT_EQ(NameExists(path), c.named) << c.name;
  }
}

TEST(SystemErrors, NameThePlaceTheCauseAndTheWayOut) {
  const absl::Status full = SystemError("a\nb", "writing failed", ENOSPC, "; make room");
  EXPECT_EQ(CodeOf(full), ErrorCode::kNoSpace);
  EXPECT_EQ(std::string(full.message()),
            Cat("a\\nb: writing failed: ", std::strerror(ENOSPC), "; make room"));
  const absl::Status denied = SystemError("a", "cannot be opened", EACCES, "; make room");
  EXPECT_EQ(CodeOf(denied), ErrorCode::kIo);
  EXPECT_EQ(std::string(denied.message()), Cat("a: cannot be opened: ", std::strerror(EACCES)));
  EXPECT_NE(SystemReason(EMFILE).find("ulimit -n"), std::string::npos);
}

TEST(Ascii, PartsAndCase) {
  EXPECT_EQ(SplitAt("a||b", '|'), (std::vector<std::string_view>{"a", "", "b"}));
  EXPECT_EQ(SplitAt("", '|'), (std::vector<std::string_view>{""}));
  EXPECT_EQ(LowerAscii("Q4_K \xc3\x84"), "q4_k \xc3\x84");
  EXPECT_TRUE(SameWithoutCase("Llama", "lLAMA"));
  EXPECT_FALSE(SameWithoutCase("Llama", "Llama2"));
  EXPECT_FALSE(SameWithoutCase("\x40", "\x60"));  // a bit apart as letters are
}

}  // namespace
}  // namespace smelt
