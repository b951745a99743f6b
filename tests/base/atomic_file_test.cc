#include "lib/base/atomic_file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::ReadFile;
using testing::TempDir;
using testing::WriteFile;
using Existing = AtomicFile::Existing;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(AtomicFile, AppearsOnlyOnCommit) {
  const TempDir dir;
  const std::string path = dir / "out.gguf";
  auto file = AtomicFile::Open(path, 6, false);
  SMELT_ASSERT_OK(file);
  SMELT_ASSERT_OK((*file)->WriteAt(3, Bytes("def")));
  SMELT_ASSERT_OK((*file)->WriteAt(0, Bytes("abc")));
  EXPECT_FALSE(fs::exists(path));
  SMELT_ASSERT_OK((*file)->Commit());
  EXPECT_EQ(ReadFile(path), "abcdef");
  EXPECT_FALSE(fs::exists(path + ".part"));
}

TEST(AtomicFile, UnwrittenBytesAreZero) {
  const TempDir dir;
  auto file = AtomicFile::Open(dir / "out", 8, false);
  SMELT_ASSERT_OK(file);
  SMELT_ASSERT_OK((*file)->WriteAt(2, Bytes("x")));
  SMELT_ASSERT_OK((*file)->Commit());
  EXPECT_EQ(ReadFile(dir / "out"), std::string("\0\0x\0\0\0\0\0", 8));
}

TEST(AtomicFile, NeverReplacesWithoutForce) {
  const TempDir dir;
  WriteFile(dir / "out", "precious");
  EXPECT_EQ(CodeOf(AtomicFile::Open(dir / "out", 1, false).status()), ErrorCode::kAlreadyExists);

  auto file = AtomicFile::Open(dir / "late", 1, false);
  SMELT_ASSERT_OK(file);
  SMELT_ASSERT_OK((*file)->WriteAt(0, Bytes("x")));
  WriteFile(dir / "late", "somebody else's");
  EXPECT_EQ(CodeOf((*file)->Commit()), ErrorCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(dir / "late"), "somebody else's");
  EXPECT_TRUE(fs::exists(dir / "late.part"));
  (*file)->Discard();
  EXPECT_FALSE(fs::exists(dir / "late.part"));
}

TEST(AtomicFile, ReplacesWithForce) {
  const TempDir dir;
  WriteFile(dir / "out", "old");
  auto file = AtomicFile::Open(dir / "out", 3, true);
  SMELT_ASSERT_OK(file);
  SMELT_ASSERT_OK((*file)->WriteAt(0, Bytes("new")));
  EXPECT_EQ(ReadFile(dir / "out"), "old");
  SMELT_ASSERT_OK((*file)->Commit());
  EXPECT_EQ(ReadFile(dir / "out"), "new");
}

TEST(AtomicFile, SecondRunIsRefusedWhileTheFirstWrites) {
  const TempDir dir;
  auto first = AtomicFile::Open(dir / "out", 4, false);
  SMELT_ASSERT_OK(first);
  for (Existing existing : {Existing::kRefuse, Existing::kReplace, Existing::kResume}) {
    const auto second = AtomicFile::Open(dir / "out", 4, true, existing);
    EXPECT_EQ(CodeOf(second.status()), ErrorCode::kAlreadyExists);
    EXPECT_THAT(std::string(second.status().message()), HasSubstr("another run"));
  }
  SMELT_ASSERT_OK((*first)->WriteAt(0, Bytes("data")));
  SMELT_ASSERT_OK((*first)->Commit());
  EXPECT_EQ(ReadFile(dir / "out"), "data");
}

TEST(AtomicFile, InterruptedRunResumes) {
  const TempDir dir;
  {
    auto file = AtomicFile::Open(dir / "out", 4, false);
    SMELT_ASSERT_OK(file);
    SMELT_ASSERT_OK((*file)->WriteAt(0, Bytes("ab")));
  }  // as after a crash: the part stays, the lock goes
  EXPECT_EQ(CodeOf(AtomicFile::Open(dir / "out", 4, false).status()), ErrorCode::kAlreadyExists);
  EXPECT_EQ(CodeOf(AtomicFile::Open(dir / "out", 5, false, Existing::kResume).status()),
            ErrorCode::kInvalidInput);
  auto file = AtomicFile::Open(dir / "out", 4, false, Existing::kResume);
  SMELT_ASSERT_OK(file);
  std::string there(2, ' ');
  SMELT_ASSERT_OK((*file)->ReadAt(0, std::as_writable_bytes(std::span(there))));
  EXPECT_EQ(there, "ab");
  SMELT_ASSERT_OK((*file)->WriteAt(2, Bytes("cd")));
  SMELT_ASSERT_OK((*file)->Commit());
  EXPECT_EQ(ReadFile(dir / "out"), "abcd");
  EXPECT_EQ(CodeOf(AtomicFile::Open(dir / "none", 4, false, Existing::kResume).status()),
            ErrorCode::kNotFound);
}

TEST(AtomicFile, ReplaceStartsFromZeros) {
  const TempDir dir;
  WriteFile(dir / "out.part", "rubbish of another length");
  auto file = AtomicFile::Open(dir / "out", 3, false, Existing::kReplace);
  SMELT_ASSERT_OK(file);
  SMELT_ASSERT_OK((*file)->Commit());
  EXPECT_EQ(ReadFile(dir / "out"), std::string(3, '\0'));
}

TEST(AtomicFile, ForeignPartIsLeftAlone) {
  const TempDir dir;
  WriteFile(dir / "out.part", "a browser's download");
  EXPECT_EQ(CodeOf(AtomicFile::Open(dir / "out", 3, true).status()), ErrorCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(dir / "out.part"), "a browser's download");

  WriteFile(dir / "victim", "data");
  fs::create_symlink("victim", dir / "link.part");
  EXPECT_FALSE(AtomicFile::Open(dir / "link", 3, true, Existing::kReplace).ok());
  EXPECT_EQ(ReadFile(dir / "victim"), "data");
}

TEST(AtomicFile, RefusesWhatIsNoFile) {
  const TempDir dir;
  fs::create_directory(dir / "folder");
  EXPECT_EQ(CodeOf(AtomicFile::Open(dir / "folder", 3, true).status()), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(AtomicFile::Open("/dev/null", 3, true).status()), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(AtomicFile::Open(dir / "no/such", 3, true).status()), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(AtomicFile::Open("", 3, true).status()), ErrorCode::kUsage);
}

TEST(CheckOutput, TheFolderIsThere) {
  const TempDir dir;
  testing::WriteFile(dir / "file", "x");
  for (const auto& [path, what] :
       {std::pair("none/x", "no such folder"), std::pair("none/", "no such folder"),
        std::pair("file/x", "is no folder")}) {
    const absl::Status status = CheckOutput(dir / path, false);
    EXPECT_NE(std::string(status.message()).find(what), std::string::npos) << status.message();
    EXPECT_EQ(std::string(status.message()).find(".part"), std::string::npos);
  }
  SMELT_EXPECT_OK(CheckOutput(dir / "x", false));
}

TEST(AtomicFile, FullDiskIsFoundOutBeforeWriting) {
  const TempDir dir;
  const auto file = AtomicFile::Open(dir / "out", uint64_t{1} << 50, false);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(CodeOf(file.status()), ErrorCode::kNoSpace) << file.status();
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(AtomicFile, WritesOutsideAreRefused) {
  const TempDir dir;
  auto file = AtomicFile::Open(dir / "out", 3, false);
  SMELT_ASSERT_OK(file);
  EXPECT_FALSE((*file)->WriteAt(2, Bytes("ab")).ok());
  EXPECT_FALSE((*file)->WriteAt(UINT64_MAX, Bytes("a")).ok());
}

TEST(AtomicFile, ParallelWritesLandWhereTheyBelong) {
  const TempDir dir;
  constexpr size_t kPiece = 300 << 10, kPieces = 32;
  auto file = AtomicFile::Open(dir / "out", kPiece * kPieces, false);
  SMELT_ASSERT_OK(file);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < kPieces; i += 4) {
        const std::string piece(kPiece, static_cast<char>('A' + i));
        SMELT_EXPECT_OK((*file)->WriteAt(i * kPiece, Bytes(piece)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  SMELT_ASSERT_OK((*file)->Commit());
  const std::string content = ReadFile(dir / "out");
  ASSERT_EQ(content.size(), kPiece * kPieces);
  for (size_t i = 0; i < content.size(); ++i)
    ASSERT_EQ(content[i], static_cast<char>('A' + i / kPiece));
}

TEST(AtomicFile, KilledProcessLeavesAPartAndNoLock) {
  const TempDir dir;
  const pid_t child = fork();
  if (child == 0) {
    auto file = AtomicFile::Open(dir / "out", 4, false);
    if (file.ok()) (void)(*file)->WriteAt(0, Bytes("ab"));
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_FALSE(fs::exists(dir / "out"));
  SMELT_EXPECT_OK(AtomicFile::Open(dir / "out", 4, false, Existing::kResume));
}

TEST(WriteFileAtomically, WritesAndReplaces) {
  const TempDir dir;
  SMELT_ASSERT_OK(WriteFileAtomically(dir / "a", "one", false));
  EXPECT_FALSE(WriteFileAtomically(dir / "a", "two", false).ok());
  EXPECT_EQ(ReadFile(dir / "a"), "one");
  SMELT_ASSERT_OK(WriteFileAtomically(dir / "a", "two", true));
  EXPECT_EQ(ReadFile(dir / "a"), "two");
  EXPECT_FALSE(fs::exists(dir / "a.part"));
}

TEST(DirectoryOf, Paths) {
  EXPECT_EQ(DirectoryOf("a"), ".");
  EXPECT_EQ(DirectoryOf("/a"), "/");
  EXPECT_EQ(DirectoryOf("/a/b"), "/a");
  EXPECT_EQ(DirectoryOf("a/b/c"), "a/b");
}

}  // namespace
}  // namespace smelt
