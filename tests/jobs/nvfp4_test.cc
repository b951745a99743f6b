// NVFP4 goes over as it is: blocks, and beside them the number that they are multiplied with, as
// llama.cpp's converter writes it; whoever reads the file applies it.
#include <gmock/gmock.h>

#include <cmath>
#include <tuple>

#include "formats/gguf.h"
#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/jobs/fill.h"
#include "lib/jobs/plan_file.h"
#include "lib/jobs/plan_layout.h"
#include "lib/model/gguf_source.h"
#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "quant/codec.h"
#include "tests/testing/conversions.h"
#include "tests/testing/said.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TempDir;

class Nvfp4 : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string folder = testing::TestdataPath(Cat("quantized/nvfp4/", GetParam()));
    OpenOptions options;
    options.vocabulary = false;
    auto opened = OpenModel(folder, options);
    SMELT_ASSERT_OK(opened);
    source_ = std::move(opened->source);
    values_ = *ParseJsonValue(testing::ReadFile(folder + "/values.json"), "values.json");
  }

  std::unique_ptr<ModelSource> Written(const Plan& plan) {
    const std::vector<std::string> names = FileNames(dir_ / "x.gguf", plan.files.size());
    auto output = OpenPartialOutput(names, plan, true, {});
    SMELT_EXPECT_OK(output);
    MemoryPeak peak;
    const FillTarget target{&plan, &*output};
    SMELT_EXPECT_OK(Fill(std::span(&target, 1), *source_, {}, peak));
    SMELT_EXPECT_OK(output->CommitAs(names, true));
    auto file = OpenGguf(names[0]);
    SMELT_EXPECT_OK(file);
    return MakeGgufSource("x", *std::move(file));
  }

  static std::vector<float> Values(const ModelSource& source, size_t tensor) {
    const Shape& shape = source.tensors()[tensor].shape;
    std::vector<float> values(shape.elements());
    SMELT_EXPECT_OK(source.ReadRows(tensor, 0, shape.rows(), values.data()));
    return values;
  }

  TempDir dir_;
  std::unique_ptr<ModelSource> source_;
  JsonValue values_;
};

TEST_P(Nvfp4, StaysWhatItIs) {
  const auto plan = MakePlan(*source_, {.type = "auto"});
  SMELT_ASSERT_OK(plan);
  const auto written = Written(*plan);
  SMELT_EXPECT_OK(ReadModelSpec(*source_));
  SMELT_EXPECT_OK(ReadModelSpec(*written));
  EXPECT_EQ(*written->metadata().Find("general.file_type")->get_if<uint32_t>(), 39u);
  for (const auto& [name, expected] : *values_.as_object()) {
    const int here = source_->Find(name), there = written->Find(name);
    ASSERT_GE(here, 0) << name;
    ASSERT_GE(there, 0) << name;
    const std::vector<float> decoded = Values(*source_, static_cast<size_t>(here)),
                             again = Values(*written, static_cast<size_t>(there));
    if (const JsonValue::Array* scales = expected.as_array()) {
      ASSERT_EQ(again.size(), scales->size()) << name;
      for (size_t i = 0; i < again.size(); ++i)
        EXPECT_EQ(again[i], static_cast<float>(*(*scales)[i].as_double())) << name;
      continue;
    }
    EXPECT_EQ(written->tensors()[static_cast<size_t>(there)].type, TensorType::kNVFP4) << name;
    EXPECT_EQ(Sha256Hex(std::as_bytes(std::span(decoded))), *expected.as_string()) << name;
    ASSERT_EQ(again.size(), decoded.size());
    for (size_t i = 0; i < decoded.size(); ++i) {
      // A division by a number is a product with its reciprocal, but for the last bit.
      if (GetParam() == "modelopt") {
        ASSERT_EQ(again[i], decoded[i]) << name;
      } else {
        ASSERT_LE(std::fabs(again[i] - decoded[i]), std::fabs(decoded[i]) * 3e-7f) << name;
      }
    }
  }
}

// The engine takes the blocks where they lie: decoded and multiplied they are the rows.
TEST_P(Nvfp4, RowsAreMappedWithWhatTheyAreMultipliedWith) {
  const auto plan = MakePlan(*source_, {.type = "auto"});
  SMELT_ASSERT_OK(plan);
  const auto written = Written(*plan);
  size_t kept = 0;
  for (size_t t = 0; t < written->tensors().size(); ++t) {
    const TensorInfo& info = written->tensors()[t];
    if (info.type != TensorType::kNVFP4) continue;
    ++kept;
    const auto mapped = written->MapRows(t);
    SMELT_ASSERT_OK(mapped);
    EXPECT_FALSE(mapped->factors.empty()) << info.name;
    const std::vector<float> expected = Values(*written, t);
    std::vector<float> row(info.shape.columns());
    for (uint64_t r = 0; r < info.shape.rows(); ++r) {
      FindCodec(info.type)->Decode(mapped->row(r), row.size(), row.data());
      for (size_t c = 0; c < row.size(); ++c) {
        const float value = expected[r * row.size() + c];
        ASSERT_LE(std::fabs(row[c] * mapped->factor(r) - value), std::fabs(value) * 3e-7f)
            << info.name;
      }
    }
  }
  EXPECT_EQ(kept, 14u);
}

TEST_P(Nvfp4, ScalesAreOnlyBesideBlocks) {
  const auto scales = [](const Plan& plan) {
    return std::ranges::count_if(plan.tensors,
                                 [](const PlannedTensor& t) { return t.name.ends_with(".scale"); });
  };
  const auto kept = MakePlan(*source_, {.type = "auto"});
  SMELT_ASSERT_OK(kept);
  EXPECT_EQ(scales(*kept), 14);
  for (const char* type : {"bf16", "f32", "q8_0", "q4_0"}) {
    const auto plan = MakePlan(*source_, {.type = type});
    SMELT_ASSERT_OK(plan);
    EXPECT_EQ(scales(*plan), 0) << type;
    // A saved plan comes out again.
    SMELT_EXPECT_OK(PlanFromJson(PlanToJson(*plan), "plan", *source_, {}));
  }
  SMELT_EXPECT_OK(PlanFromJson(PlanToJson(*kept), "plan", *source_, {}));

  // Of the written file the same: copied with them, or decoded without.
  const auto written = Written(*kept);
  const auto copied = MakePlan(*written, {.type = "copy"});
  SMELT_ASSERT_OK(copied);
  EXPECT_EQ(scales(*copied), 14);
  const auto plain = MakePlan(*written, {.type = "f32", .allow_requantize = true});
  SMELT_ASSERT_OK(plain);
  EXPECT_EQ(scales(*plain), 0);
}

INSTANTIATE_TEST_SUITE_P(Libraries, Nvfp4, ::testing::Values("modelopt", "compressed-tensors"),
                         [](const auto& info) { return info.param.substr(0, 8); });

// Of codes that no block type holds, --type auto makes 16 bits, and says that 8 would do.
TEST(AutomaticTypes, OfWidenedCodesANoteSaysWhatWouldDo) {
  for (const auto& [model, type, says] :
       {std::tuple("llama-gptq", "auto", true), std::tuple("llama-fp8", "auto", true),
        std::tuple("llama-mxfp4", "auto", false), std::tuple("llama-q-base", "auto", false),
        std::tuple("llama-gptq", "bf16", false)}) {
    const testing::TempDir dir;
    testing::Said said;
    SMELT_ASSERT_OK(
        Convert(testing::UncheckedConversion(testing::TestdataPath(Cat("models/", model)),
                                             dir / "out.gguf", type),
                said.observer));
    const bool found = said.notes.find("--type q8_0 would do") != std::string::npos;
    EXPECT_EQ(found, says) << model << " " << type;
  }
}

}  // namespace
}  // namespace smelt
