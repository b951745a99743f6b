// Two models tensor by tensor, and one by itself.
#include "smelt/compare.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "formats/gguf.h"
#include "lib/base/status.h"
#include "lib/model/gguf_source.h"
#include "smelt/convert.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::HasSubstr;
using testing::Model;
using testing::ReadFile;
using testing::TempDir;
using testing::UncheckedConversion;
using testing::WriteFile;

const TensorDifference& Of(const Comparison& c, const std::string& name) {
  return *std::ranges::find_if(c.tensors, [&](const auto& t) { return t.name == name; });
}

TEST(Compare, FindsWhatTheDefinitionsSay) {
  const TempDir dir;
  SMELT_ASSERT_OK(Convert(UncheckedConversion(Model("llama"), dir / "a.gguf", "f32")));
  SMELT_ASSERT_OK(Convert(UncheckedConversion(Model("llama"), dir / "b.gguf", "q4_0")));
  const auto result = Compare({.a = dir / "a.gguf", .b = dir / "b.gguf", .imatrix = ""});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->problems, 0u);
  auto file_a = OpenGguf(dir / "a.gguf"), file_b = OpenGguf(dir / "b.gguf");
  SMELT_ASSERT_OK(file_a);
  SMELT_ASSERT_OK(file_b);
  const auto a = MakeGgufSource("a", *std::move(file_a)),
             b = MakeGgufSource("b", *std::move(file_b));
  ASSERT_EQ(result->tensors.size(), a->tensors().size());
  uint64_t equal = 0;
  for (size_t i = 0; i < a->tensors().size(); ++i) {
    const TensorInfo& info = a->tensors()[i];
    SCOPED_TRACE(info.name);
    std::vector<float> x(info.shape.elements()), y(x.size());
    SMELT_ASSERT_OK(a->ReadRows(i, 0, info.shape.rows(), x.data()));
    SMELT_ASSERT_OK(
        b->ReadRows(static_cast<size_t>(b->Find(info.name)), 0, info.shape.rows(), y.data()));
    double xx = 0, yy = 0, xy = 0, error = 0, worst = 0;
    for (size_t k = 0; k < x.size(); ++k) {
      const double d = static_cast<double>(x[k]) - y[k];
      xx += static_cast<double>(x[k]) * x[k], yy += static_cast<double>(y[k]) * y[k];
      xy += static_cast<double>(x[k]) * y[k], error += d * d;
      worst = std::max(worst, std::fabs(d));
    }
    const TensorDifference& t = Of(*result, info.name);
    EXPECT_TRUE(t.comparable);
    EXPECT_NEAR(t.relative_error, std::sqrt(error / xx), 1e-9);
    EXPECT_NEAR(t.cosine, xy / std::sqrt(xx * yy), 1e-9);
    EXPECT_EQ(t.worst, worst);
    const size_t at = t.worst_row * info.shape.columns() + t.worst_column;
    EXPECT_EQ(std::fabs(static_cast<double>(x[at]) - y[at]), worst);
    equal += error == 0 ? 1 : 0;
  }
  EXPECT_EQ(result->equal, equal);
  EXPECT_GT(equal, 0u);
  EXPECT_GT(result->relative_error, 0.01);
}

TEST(Compare, APublishedFolderIsWhatItsFileHolds) {
  const TempDir dir;
  SMELT_ASSERT_OK(Convert(UncheckedConversion(Model("qwen2moe"), dir / "b.gguf", "f32")));
  const auto result = Compare({.a = Model("qwen2moe"), .b = dir / "b.gguf", .imatrix = ""});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->equal, result->tensors.size());
  EXPECT_EQ(result->relative_error, 0);
}

TEST(Compare, ModelsOfOtherShapesAreToldApart) {
  const auto result = Compare({.a = Model("llama"), .b = Model("phi3"), .imatrix = ""});
  SMELT_ASSERT_OK(result);
  EXPECT_GT(result->problems, 0u);
  const TensorDifference& q = Of(*result, "blk.0.attn_q.weight");
  EXPECT_FALSE(q.comparable);
  EXPECT_THAT(q.problem, HasSubstr("only in the first"));
}

TEST(CheckModel, SeesABrokenScaleAndAWrongTensor) {
  const TempDir dir;
  SMELT_ASSERT_OK(Convert(UncheckedConversion(Model("llama"), dir / "x.gguf", "q4_0")));
  const auto good = CheckModel(dir / "x.gguf", Model("llama"));
  SMELT_ASSERT_OK(good);
  EXPECT_TRUE(good->passed());
  EXPECT_EQ(good->tensors[0].sha256.size(), 64u);

  const auto file = OpenGguf(dir / "x.gguf");
  SMELT_ASSERT_OK(file);
  const auto tensor = std::ranges::find_if(
      file->tensors, [](const auto& t) { return t.name == "blk.1.ffn_up.weight"; });
  std::string bytes = ReadFile(dir / "x.gguf");
  std::string broken = bytes;
  broken[tensor->offset + 1] = '\x7c';  // the first block's f16 scale: infinite
  broken[tensor->offset] = '\x00';
  WriteFile(dir / "broken.gguf", broken);
  const auto bad = CheckModel(dir / "broken.gguf", "");
  SMELT_ASSERT_OK(bad);
  EXPECT_EQ(bad->problems, 1u);
  for (const TensorCheck& t : bad->tensors) {
    EXPECT_EQ(t.bad_blocks, t.name == "blk.1.ffn_up.weight" ? 1u : 0u);
    EXPECT_EQ(t.problem.empty(), t.name != "blk.1.ffn_up.weight");
  }

  // Every scale with the other sign: numbers all, and further from the source than zeros.
  std::string negative = bytes;
  const uint64_t blocks = Of(*good->against, "blk.1.ffn_up.weight").shape_a[0] *
                          Of(*good->against, "blk.1.ffn_up.weight").shape_a[1] / 32;
  for (uint64_t block = 0; block < blocks; ++block)
    negative[tensor->offset + block * 18 + 1] ^= '\x80';
  WriteFile(dir / "negative.gguf", negative);
  EXPECT_TRUE(CheckModel(dir / "negative.gguf", "")->passed());
  const auto wrong = CheckModel(dir / "negative.gguf", Model("llama"));
  SMELT_ASSERT_OK(wrong);
  EXPECT_EQ(wrong->problems, 1u);
  EXPECT_THAT(Of(*wrong->against, "blk.1.ffn_up.weight").problem, HasSubstr("zeros"));
}

}  // namespace
}  // namespace smelt
