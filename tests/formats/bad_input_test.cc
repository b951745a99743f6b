// Every safetensors, index and container-level GGUF entry of testdata/bad, straight against the
// parsers.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/weights_directory.h"
#include "tests/testing/bad_cases.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::BadCase;
using testing::BadCaseName;
using testing::BadCases;
using testing::Materialize;
using testing::TempDir;

void Judge(const BadCase& c, const std::string& root, const absl::Status& status,
           const std::vector<std::string>& warnings) {
  if (c.expect == "refuse") return testing::ExpectRefused(c, status, {root});
  if (c.expect != "accept" && c.expect != "warn") return;
  SMELT_ASSERT_OK(status);
  ASSERT_EQ(warnings.empty(), c.expect == "accept");
  if (c.expect == "warn") testing::ExpectMention(c, warnings[0]);
}

class Safetensors : public ::testing::TestWithParam<BadCase> {};
TEST_P(Safetensors, DoesAsAsked) {
  const TempDir dir;
  const absl::StatusOr<Container> got = OpenSafetensors(Materialize(GetParam(), dir.path()));
  Judge(GetParam(), dir.path(), got.status(),
        got.ok() ? got->warnings : std::vector<std::string>());
}

class Index : public ::testing::TestWithParam<BadCase> {};
TEST_P(Index, DoesAsAsked) {
  const TempDir dir;
  const absl::StatusOr<Container> got = OpenWeights(Materialize(GetParam(), dir.path()));
  Judge(GetParam(), dir.path(), got.status(),
        got.ok() ? got->warnings : std::vector<std::string>());
}

class Gguf : public ::testing::TestWithParam<BadCase> {};
TEST_P(Gguf, DoesAsAsked) {
  const TempDir dir;
  const absl::StatusOr<GgufFile> got = OpenGguf(Materialize(GetParam(), dir.path()));
  Judge(GetParam(), dir.path(), got.status(), {});
}

INSTANTIATE_TEST_SUITE_P(Bad, Safetensors, ::testing::ValuesIn(BadCases({"st-"}, "inspect")),
                         BadCaseName);
INSTANTIATE_TEST_SUITE_P(Bad, Index, ::testing::ValuesIn(BadCases({"idx-"}, "convert")),
                         BadCaseName);
INSTANTIATE_TEST_SUITE_P(Bad, Gguf, ::testing::ValuesIn(BadCases({"gguf-"}, "inspect")),
                         BadCaseName);
INSTANTIATE_TEST_SUITE_P(BadSplit, Gguf, ::testing::ValuesIn(BadCases({"gguf-split"}, "run")),
                         BadCaseName);

}  // namespace
}  // namespace smelt
