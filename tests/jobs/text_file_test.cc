// Texts as people have them.
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "smelt/text.h"
#include "tests/testing/said.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Said;
using testing::TempDir;

constexpr std::string_view kEnglish = "The quick brown fox jumps over the lazy dog.\n";
constexpr std::string_view kRussian =
    "\xd0\xa1\xd1\x8a\xd0\xb5\xd1\x88\xd1\x8c \xd0\xb5\xd1\x89\xd1\x91 \xd1\x8d\xd1\x82\xd0\xb8\xd1"
    "\x85 \xd0\xb1\xd1\x83\xd0\xbb\xd0\xbe\xd0\xba, \xd0\xb2\xd1\x8b\xd0\xbf\xd0\xb5\xd0\xb9.\n";

/// Code units of `width` bytes.
std::string Encoded(std::string_view utf8, size_t width, bool big_endian, bool mark) {
  std::string out;
  const auto put = [&](uint32_t unit) {
    for (size_t i = 0; i < width; ++i)
      out.push_back(static_cast<char>(unit >> (8 * (big_endian ? width - 1 - i : i))));
  };
  if (mark) put(0xfeff);
  while (!utf8.empty()) {
    const Utf8Char c = DecodeUtf8(utf8);
    put(static_cast<uint32_t>(c.code_point));  // of the basic plane
    utf8.remove_prefix(c.length);
  }
  return out;
}

TEST(AcceptText, OtherEncodingsAreRefusedByName) {
  for (const std::string_view text : {kEnglish, kRussian}) {
    for (const bool mark : {true, false}) {
      for (const bool big : {false, true}) {
        for (const size_t width : {2u, 4u}) {
          const auto read = AcceptText(Encoded(text, width, big, mark), "x.txt");
          const std::string name =
              std::string(width == 2 ? "UTF-16" : "UTF-32") + (big ? "BE" : "LE");
          ASSERT_FALSE(read.ok()) << name << mark;
          const std::string said(read.status().message());
          EXPECT_NE(said.find("x.txt is " + name), std::string::npos) << said;
          EXPECT_NE(said.find("UTF-8"), std::string::npos) << said;
        }
      }
    }
  }
  EXPECT_FALSE(AcceptText(Encoded("ab", 2, false, false), "x").ok());
}

TEST(AcceptText, Utf8IsLeftAlone) {
  using namespace std::string_literals;
  for (const std::string& text :
       {""s, "a"s, std::string(kEnglish), std::string(kRussian), "\xe4\xbd\xa0\xe5\xa5\xbd"s,
        "one\0two three four five"s, "tail\0"s, std::string(kEnglish) + "\0\0\0\0"s}) {
    Said said;
    const auto read = AcceptText(text, "x", said.observer);
    SMELT_ASSERT_OK(read);
    EXPECT_EQ(*read, text);
    EXPECT_EQ(said.notes + said.warnings, "");
  }
}

TEST(AcceptText, AMarkOfUtf8IsLeftOut) {
  Said said;
  const auto read = AcceptText("\xef\xbb\xbfhello", "x", said.observer);
  SMELT_ASSERT_OK(read);
  EXPECT_EQ(*read, "hello");
  EXPECT_NE(said.notes.find("byte order mark"), std::string::npos);
  EXPECT_EQ(said.warnings, "");
}

TEST(AcceptText, BrokenBytesAreOneWarning) {
  Said said;
  const auto read = AcceptText("caf\xe9 na\xefve", "x", said.observer);  // Latin-1
  SMELT_ASSERT_OK(read);
  EXPECT_EQ(*read, "caf\xe9 na\xefve");
  EXPECT_NE(said.warnings.find("x is not valid UTF-8 from byte 3 on"), std::string::npos)
      << said.warnings;
  EXPECT_EQ(std::count(said.warnings.begin(), said.warnings.end(), '\n'), 1);
}

TEST(ReadText, FilesAndPipes) {
  TempDir dir;
  const std::string file = dir / "a.txt", pipe = dir / "pipe";
  std::ofstream(file, std::ios::binary) << "\xef\xbb\xbf" << kRussian;
  const auto read = ReadText(file);
  SMELT_ASSERT_OK(read);
  EXPECT_EQ(*read, kRussian);
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << kEnglish; });
  const auto piped = ReadText(pipe);
  writer.join();
  SMELT_ASSERT_OK(piped);
  EXPECT_EQ(*piped, kEnglish);
  EXPECT_EQ(CodeOf(ReadText(dir / "absent.txt").status()), ErrorCode::kNotFound);
  std::ofstream(file, std::ios::binary) << Encoded(kEnglish, 2, false, true);
  const absl::Status refused = ReadText(file).status();
  EXPECT_NE(std::string(refused.message()).find("a.txt is UTF-16LE"), std::string::npos) << refused;
}

}  // namespace
}  // namespace smelt
