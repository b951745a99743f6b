// Files as bytes at rest: what memory keeps of them.
#include "lib/base/storage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/base/fd.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

const uint64_t kPage = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));

/// Which pages of a file are in memory.
std::vector<bool> Resident(const std::string& path, uint64_t pages) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* const mapped = mmap(nullptr, pages * kPage, PROT_READ, MAP_SHARED, fd.get(), 0);
  std::vector<unsigned char> bits(pages);
  EXPECT_EQ(mincore(mapped, pages * kPage, bits.data()), 0);
  munmap(mapped, pages * kPage);
  std::vector<bool> resident;
  for (const unsigned char bit : bits) resident.push_back((bit & 1) != 0);
  return resident;
}

TEST(Storage, PagesThatAreDroppedLeaveMemoryAndAreReadAgain) {
  constexpr uint64_t kPages = 4096;
  const testing::TempDir dir;
  struct statfs where {};
  ASSERT_EQ(statfs(dir.path().c_str(), &where), 0);
  if (where.f_type == TMPFS_MAGIC || where.f_type == RAMFS_MAGIC)
    GTEST_SKIP() << "SKIPPED: " << dir.path() << " lies in memory";
  const std::string path = dir / "a", text(kPages * kPage, 'x');
  testing::WriteFile(path, text);
  {
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(fsync(fd.get()), 0);
  }
  const auto file = OpenFile(path);
  SMELT_ASSERT_OK(file);
  const auto mapped = (*file)->Map();
  SMELT_ASSERT_OK(mapped);
  const auto sum = [&] { return std::count(mapped->begin(), mapped->end(), std::byte{'x'}); };
  EXPECT_EQ(sum(), static_cast<int64_t>(text.size()));
  EXPECT_EQ(std::ranges::count(Resident(path, kPages), true), static_cast<int64_t>(kPages));

  // The system may keep pages together: those at the window's beginning can stay.
  const auto window = SubStorage(*file, "window", text.size() / 2, text.size() / 2);
  SMELT_ASSERT_OK(window);
  (*window)->DropPages(0, text.size() / 2);
  const std::vector<bool> resident = Resident(path, kPages);
  const auto half = resident.begin() + kPages / 2;
  EXPECT_EQ(std::count(resident.begin(), half, true), static_cast<int64_t>(kPages / 2));
  EXPECT_LT(std::count(half, resident.end(), true), static_cast<int64_t>(kPages / 8));
  EXPECT_EQ(sum(), static_cast<int64_t>(text.size()));

  (*file)->DropPages(0, text.size());
  EXPECT_EQ(std::ranges::count(Resident(path, kPages), true), 0);
  std::string again(text.size(), ' ');
  SMELT_EXPECT_OK((*file)->ReadAt(0, std::as_writable_bytes(std::span(again))));
  EXPECT_EQ(again, text);
}

}  // namespace
}  // namespace smelt
