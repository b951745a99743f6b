#include "tests/testing/testing.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace smelt::testing {

std::string TestdataPath(std::string_view relative) {
  return (std::filesystem::path(SMELT_TESTDATA_DIR) / relative).string();
}

std::string SharedPath(std::string_view relative) {
  const char* override = std::getenv("SMELT_SHARED_DIR");
  return (std::filesystem::path(override != nullptr ? override : SMELT_SHARED_DIR) / relative)
      .string();
}

bool HaveShared() { return std::filesystem::is_directory(SharedPath("fixtures")); }

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "smelt-test-XXXXXX").string();
  EXPECT_NE(mkdtemp(pattern.data()), nullptr);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::operator/(std::string_view name) const {
  return (std::filesystem::path(path_) / name).string();
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream content;
  content << file.rdbuf();
  return std::move(content).str();
}

void WriteFile(const std::string& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  EXPECT_TRUE(file.good()) << path;
}

}  // namespace smelt::testing
