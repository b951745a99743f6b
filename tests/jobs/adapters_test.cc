// Adapters through the jobs: merged into a quantized GGUF, evaluated in place, written by
// themselves.
#include <gtest/gtest.h>

#include <cstring>

#include "formats/gguf.h"
#include "lib/base/cat.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

std::string Adapter(std::string_view name) { return testing::TestdataPath(Cat("lora/", name)); }
std::string Base() { return testing::TestdataPath("models/llama"); }

std::string Bytes(const GgufTensor& tensor) {
  std::string bytes(tensor.bytes, '\0');
  SMELT_EXPECT_OK(tensor.storage->ReadAt(tensor.offset, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

class AdaptersOfJobs : public ::testing::Test {
 protected:
  /// Converts, and opens what came of it.
  absl::StatusOr<GgufFile> Converted(ConvertOptions options, const std::string& name) {
    options.output = Path(name);
    const auto result = Convert(options);
    if (!result.ok()) return result.status();
    return OpenGguf(options.output);
  }
  std::string Path(const std::string& name) const { return dir_.path() + "/" + name; }

  testing::TempDir dir_;
};

ConvertOptions Options(const std::string& source, const std::string& type) {
  ConvertOptions options;
  options.source = source;
  options.type = type;
  options.validate = Validate::kOff;
  return options;
}

TEST_F(AdaptersOfJobs, AQuantizedGgufTakesOneAndKeepsTheRest) {
  const auto base = Converted(Options(Base(), "q8_0"), "base.gguf");
  SMELT_ASSERT_OK(base);
  ConvertOptions options = Options(Path("base.gguf"), "copy");
  options.adapters = {{Adapter("llama-qv"), 1}};
  const auto refused = Converted(options, "merged.gguf");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("--allow-requantize"), absl::string_view::npos);
  options.allow_requantize = true;
  const auto merged = Converted(options, "merged.gguf");
  SMELT_ASSERT_OK(merged);
  ASSERT_EQ(merged->tensors.size(), base->tensors.size());
  for (size_t i = 0; i < base->tensors.size(); ++i) {
    const GgufTensor &before = base->tensors[i], &after = merged->tensors[i];
    EXPECT_EQ(before.name, after.name);
    EXPECT_EQ(before.type, after.type);
    const bool touched = before.name.find("attn_q.") != std::string::npos ||
                         before.name.find("attn_v.") != std::string::npos;
    EXPECT_EQ(Bytes(before) == Bytes(after), !touched) << before.name;
  }
  EXPECT_EQ(*merged->metadata.String("general.finetune"), "llama-qv");
  EXPECT_EQ(*merged->metadata.String("general.base_model.0.name"),
            *base->metadata.String("general.name"));
}

TEST_F(AdaptersOfJobs, EvaluationMergesThemInPlace) {
  EvaluateOptions options;
  options.model = Base();
  options.text_files = {testing::TestdataPath("models/eval.txt")};
  options.context = 256;
  options.chunks = 2;
  const auto plain = Evaluate(options);
  SMELT_ASSERT_OK(plain);
  options.adapters = {{Adapter("llama-rslora"), 1}};
  const auto adapted = Evaluate(options);
  SMELT_ASSERT_OK(adapted);
  EXPECT_GT(adapted->perplexity, 2 * plain->perplexity);  // its weights are random
  options.model = Adapter("llama-rslora");
  options.adapters = {};
  const auto by_adapter = Evaluate(options);
  SMELT_ASSERT_OK(by_adapter);
  EXPECT_EQ(by_adapter->perplexity, adapted->perplexity);
}

TEST_F(AdaptersOfJobs, OneIsWrittenByItself) {
  ConvertOptions options = Options(Adapter("llama-qv"), "auto");
  options.adapter_only = true;
  const auto alone = Converted(options, "alone.gguf");
  SMELT_ASSERT_OK(alone);
  EXPECT_EQ(*alone->metadata.String("general.type"), "adapter");
  EXPECT_EQ(*alone->metadata.String("adapter.type"), "lora");
  EXPECT_EQ(*alone->metadata.String("general.architecture"), "llama");
  EXPECT_EQ(*alone->metadata.String("general.name"), "Llama Qv");
  EXPECT_EQ(*alone->metadata.Float("adapter.lora.alpha"), 8);
  EXPECT_EQ(alone->tensors.size(), 8u);
  for (const GgufTensor& tensor : alone->tensors) EXPECT_EQ(tensor.type, TensorType::kF32);
  options.type = "f16";
  const auto half = Converted(options, "half.gguf");
  SMELT_ASSERT_OK(half);
  for (const GgufTensor& tensor : half->tensors) EXPECT_EQ(tensor.type, TensorType::kF16);
  options.type = "q4_k_m";
  EXPECT_FALSE(Converted(options, "none.gguf").ok());
  // Named the other way round, and its name where nobody gives one.
  options = Options(Base(), "f32");
  options.adapters = {{Adapter("llama-qv"), 1}};
  options.adapter_only = true;
  const auto plan = PlanConversion(options);
  SMELT_ASSERT_OK(plan);
  EXPECT_EQ(plan->output, "Llama-Qv-F32-LoRA.gguf");
}

}  // namespace
}  // namespace smelt
