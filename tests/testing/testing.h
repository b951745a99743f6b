// What every test needs: paths of the ground truth, temporary folders, assertions on Status.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace smelt::testing {

/// A file or folder of testdata/.
std::string TestdataPath(std::string_view relative);

/// A file or folder of the shared ground truth (environment SMELT_SHARED_DIR, else the CMake
/// variable of that name).
std::string SharedPath(std::string_view relative);
bool HaveShared();

/// A new empty folder, removed with its contents when the object goes.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const;

 private:
  std::string path_;
};

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, std::string_view content);

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

}  // namespace smelt::testing

#define SMELT_EXPECT_OK(expr) EXPECT_EQ(::smelt::testing::GetStatus(expr).ToString(), "OK")
#define SMELT_ASSERT_OK(expr) ASSERT_EQ(::smelt::testing::GetStatus(expr).ToString(), "OK")

/// Skips, in plain words, a test whose third-party ground truth is not on this machine.
#define SMELT_REQUIRE_SHARED()                                                                 \
  if (!::smelt::testing::HaveShared())                                                         \
  GTEST_SKIP() << "SKIPPED: third-party ground truth is missing; set SMELT_SHARED_DIR to its " \
                  "folder"
