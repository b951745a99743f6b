#include "lib/jobs/journal.h"

#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::ReadFile;
using testing::TempDir;
using testing::WriteFile;

TEST(Journal, KeepsRecordsInTheOrderOfTheirWriting) {
  TempDir dir;
  const std::string path = dir / "x.part.journal";
  auto journal = Journal::Create(path, 77, {{5, 50}});
  SMELT_ASSERT_OK(journal);
  SMELT_ASSERT_OK((*journal)->Add(3, 30));
  SMELT_ASSERT_OK((*journal)->Add(9, 90));
  const auto content = Journal::Read(path);
  SMELT_ASSERT_OK(content);
  ASSERT_TRUE(content->has_value());
  EXPECT_EQ((*content)->fingerprint, 77u);
  ASSERT_EQ((*content)->records.size(), 3u);
  EXPECT_EQ((*content)->records[0].tile, 5u);
  EXPECT_EQ((*content)->records[2].hash, 90u);
}

TEST(Journal, ATornTailIsIgnored) {
  TempDir dir;
  const std::string path = dir / "x.part.journal";
  {
    auto journal = Journal::Create(path, 1, {{1, 10}, {2, 20}});
    SMELT_ASSERT_OK(journal);
  }
  const std::string whole = ReadFile(path);
  ASSERT_EQ(whole.size(), 16u + 2 * 16);
  for (size_t size = 0; size < whole.size(); ++size) {
    WriteFile(path, whole.substr(0, size));
    const auto content = Journal::Read(path);
    SMELT_ASSERT_OK(content);
    ASSERT_TRUE(content->has_value()) << size;
    EXPECT_EQ((*content)->records.size(), size < 32 ? 0u : 1u) << size;
  }
}

TEST(Journal, AForeignFileIsNeverTakenForOne) {
  TempDir dir;
  const std::string path = dir / "x.part.journal";
  WriteFile(path, "somebody's notes");
  const auto content = Journal::Read(path);
  ASSERT_FALSE(content.ok());
  EXPECT_EQ(CodeOf(content.status()), ErrorCode::kAlreadyExists);
  EXPECT_FALSE(*Journal::Read(dir / "absent") ? true : false);
}

TEST(Journal, ChecksumsBelongToOnePlan) {
  const std::vector<std::byte> bytes(100, std::byte{7});
  EXPECT_EQ(TileHash(1, bytes), TileHash(1, bytes));
  EXPECT_NE(TileHash(1, bytes), TileHash(2, bytes));
}

}  // namespace
}  // namespace smelt
