// Every pt- entry of testdata/bad, straight against the reader.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "formats/torch/torch.h"
#include "formats/weights_directory.h"
#include "tests/testing/bad_cases.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::BadCase;

class BadTorch : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadTorch, DoesAsAsked) {
  const BadCase& c = GetParam();
  const std::string directory = testing::TestdataPath("bad/" + c.path);
  const absl::StatusOr<Container> got = OpenWeights(directory);
  if (c.expect == "accept") {
    SMELT_ASSERT_OK(got);
    EXPECT_TRUE(got->warnings.empty());
    return;
  }
  // The file is called the same in every entry: its name proves nothing.
  testing::ExpectRefused(c, got.status(), {directory + "/pytorch_model.bin", directory});
}

INSTANTIATE_TEST_SUITE_P(Bad, BadTorch, ::testing::ValuesIn(testing::BadCases({"pt-"})),
                         testing::BadCaseName);

}  // namespace
}  // namespace smelt
