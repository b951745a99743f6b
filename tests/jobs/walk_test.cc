// The walk that writes an output: stages, importance that is gathered on the way, resuming.
#include "lib/jobs/walk.h"

#include <gmock/gmock.h>

#include <cstring>

#include "formats/gguf.h"
#include "lib/base/folder.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/embedding_factor.h"
#include "lib/jobs/gate.h"
#include "lib/jobs/journal.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/stages.h"
#include "lib/model/forwarding_source.h"
#include "lib/model/gguf_source.h"
#include "lib/model/layer_spec.h"
#include "smelt/convert.h"
#include "tests/jobs/fake_source.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Conversion;
using ::testing::ElementsAre;
using testing::FakeSource;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Model;
using testing::ReadFile;
using testing::TempDir;
using testing::TestdataPath;
using testing::UncheckedConversion;
using testing::WriteFile;

TEST(Stages, HoldEveryTensorOnceWhereItIsNeededFirst) {
  FakeSource source;
  source.Add("token_embd.weight", {256, 500});    // 0
  source.Add("output.weight", {256, 500});        // 1
  source.Add("output_norm.weight", {256});        // 2
  source.Add("blk.0.attn_q.weight", {256, 256});  // 3
  source.Add("blk.0.attn_norm.weight", {256});    // 4
  source.Add("blk.1.attn_q.weight", {256, 256});  // 5
  source.Add("blk.2.attn_q.weight", {256, 256});  // 6: carried along
  source.Add("rope_freqs.weight", {32});          // 7
  source.Add("blk.x.odd.weight", {256, 256});     // 8
  const auto plan = MakePlan(source, {.type = "q8_0"});
  SMELT_ASSERT_OK(plan);
  const Plan* const plans[] = {&*plan};
  const Stages stages = StagesOf(source, plans, 2);
  EXPECT_THAT(stages.embedding, ElementsAre(0u, 2u, 4u, 7u, 8u));
  EXPECT_THAT(stages.layers, ElementsAre(ElementsAre(3u), ElementsAre(5u)));
  EXPECT_THAT(stages.head, ElementsAre(1u, 6u));
}

TEST(Walk, WritesWhatFillingAtOnceWrites) {
  const TempDir dir;
  for (const char* name : {"llama", "gemma2", "jamba", "qwen2moe", "mistral4", "phi3"}) {
    SCOPED_TRACE(name);
    SMELT_ASSERT_OK(Convert(UncheckedConversion(Model(name), dir / "off.gguf", "q4_0")));
    for (const Validate validate : {Validate::kQuick, Validate::kFull}) {
      ConvertOptions options = Conversion(Model(name), dir / "on.gguf", "q4_0");
      options.validate = validate;
      options.max_kl = 50;
      options.max_ppl_increase = 50;
      options.force = true;
      const auto walked = Convert(options);
      SMELT_ASSERT_OK(walked);
      EXPECT_TRUE(walked->validation.has_value());
      EXPECT_TRUE(ReadFile(dir / "on.gguf") == ReadFile(dir / "off.gguf"));
    }
    std::remove((dir / "off.gguf").c_str());
  }
}

/// Remembers what was given up.
class WatchedSource : public ForwardingSource {
 public:
  using ForwardingSource::ForwardingSource;
  void DropPages(size_t tensor) const override {
    dropped.push_back(tensor);
    ForwardingSource::DropPages(tensor);
  }
  mutable std::vector<size_t> dropped;
};

TEST(Walk, WithLittleMemoryALayerIsGivenUpOnceItHasRun) {
  for (const char* name : {"llama", "qwen2moe"}) {
    const TempDir dir;
    const auto model = OpenModelByName(Model(name), {}, {});
    SMELT_ASSERT_OK(model);
    const WatchedSource source(**model);
    const auto plan = MakePlan(source, {.type = "q4_0"});
    SMELT_ASSERT_OK(plan);
    const ConvertOptions options = Conversion(Model(name), dir / "a.gguf", "q4_0");
    const auto texts = ReadGateTexts(options, {});
    SMELT_ASSERT_OK(texts);
    for (const std::optional<uint64_t> memory :
         {std::optional<uint64_t>(), std::optional<uint64_t>(1ull << 40),
          std::optional<uint64_t>(1)}) {
      const std::string path = dir / "a.gguf";
      auto part = OpenPartialOutput(std::span(&path, 1), *plan, true, {});
      SMELT_ASSERT_OK(part);
      const FillTarget target{&*plan, &*part};
      const Walk walk{
          source, std::span(&target, 1), std::span(&path, 1), options, Validate::kQuick, *texts, {},
          memory};
      MemoryPeak peak;
      SMELT_ASSERT_OK(WalkThrough(walk, peak));
      const Plan* const plans[] = {&*plan};
      std::vector<size_t> expected;
      if (memory == 1) {
        for (const auto& layer : StagesOf(source, plans, 2).layers)
          expected.insert(expected.end(), layer.begin(), layer.end());
      }
      EXPECT_EQ(source.dropped, expected) << name;
    }
  }
}

ConvertOptions Auto(const std::string& model, const std::string& output) {
  ConvertOptions options = Conversion(model, output, "q4_0");
  options.imatrix = "auto";
  options.calibration_tokens = testing::kFewTokens;
  options.max_kl = 50;
  options.max_ppl_increase = 50;
  return options;
}

TEST(Walk, GatheredImportanceIsTheSameForAnyNumberOfThreads) {
  const TempDir dir;
  for (const char* name : {"llama", "qwen2moe"}) {
    SCOPED_TRACE(name);
    const std::string one = dir / (std::string(name) + "1.gguf"),
                      four = dir / (std::string(name) + "4.gguf"),
                      none = dir / (std::string(name) + "0.gguf");
    SetThreads(1);
    SMELT_ASSERT_OK(Convert(Auto(Model(name), one)));
    SetThreads(4);
    ConvertOptions unchecked = Auto(Model(name), four);
    unchecked.max_kl.reset();
    unchecked.max_ppl_increase.reset();
    unchecked.validate = Validate::kOff;
    SMELT_ASSERT_OK(Convert(unchecked));
    EXPECT_TRUE(ReadFile(one) == ReadFile(four));
    SMELT_ASSERT_OK(Convert(UncheckedConversion(Model(name), none, "q4_0")));
    EXPECT_FALSE(ReadFile(one).ends_with(ReadFile(none).substr(ReadFile(none).size() / 2)))
        << "importance matters";
    const auto file = OpenGguf(one);
    SMELT_ASSERT_OK(file);
    EXPECT_EQ(*file->metadata.Find("quantize.imatrix.file"), MetadataValue("auto"));
  }
  SetThreads(0);
}

TEST(Walk, AnInterruptedOneGoesOnAndGivesTheSameFile) {
  const TempDir dir;
  SMELT_ASSERT_OK(Convert(Auto(Model("llama"), dir / "whole.gguf")));
  const Observer observer = testing::StopsHalfWay();
  const ConvertOptions options = Auto(Model("llama"), dir / "part.gguf");
  EXPECT_EQ(CodeOf(Convert(options, observer).status()), ErrorCode::kCancelled);
  EXPECT_TRUE(Exists(dir / "part.gguf.part"));
  const auto resumed = Convert(options);
  SMELT_ASSERT_OK(resumed);
  EXPECT_TRUE(resumed->resumed);
  EXPECT_TRUE(ReadFile(dir / "part.gguf") == ReadFile(dir / "whole.gguf"));
}

TEST(Walk, AnInterruptedOneWithOtherFiguresDoesNotGoOn) {
  const TempDir dir;
  const Observer observer = testing::StopsHalfWay();
  const ConvertOptions options = Auto(Model("llama"), dir / "x.gguf");
  EXPECT_EQ(CodeOf(Convert(options, observer).status()), ErrorCode::kCancelled);
  const std::string path = Journal::PathFor(options.output);
  std::string journal = ReadFile(path);
  size_t changed = 0;
  for (size_t at = 16; at + sizeof(Journal::Record) <= journal.size();
       at += sizeof(Journal::Record)) {
    Journal::Record record{};
    std::memcpy(&record, journal.data() + at, sizeof(record));
    if ((record.tile & Journal::kStage) == 0) continue;
    record.hash ^= 1;
    std::memcpy(journal.data() + at, &record, sizeof(record));
    ++changed;
  }
  ASSERT_GT(changed, 0u);
  WriteFile(path, journal);
  const absl::Status status = Convert(options).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
  EXPECT_THAT(std::string(status.message()), HasSubstr("layer 0"));
  EXPECT_FALSE(Exists(options.output + ".part")) << "the next run starts over";
  SMELT_EXPECT_OK(Convert(options));
}

TEST(Walk, ThePlanSaysFromWhatImportanceIsGathered) {
  const TempDir dir;
  const auto plan = PlanConversion(Auto(Model("llama"), dir / "x.gguf"));
  SMELT_ASSERT_OK(plan);
  EXPECT_THAT(plan->importance, HasSubstr("tokens of the bundled calibration text"));
  EXPECT_THAT(plan->warnings, IsEmpty());
  EXPECT_THAT(plan->walk, HasSubstr("read once"));
}

ConvertOptions Best(const std::string& model, const std::string& output) {
  ConvertOptions options = Auto(model, output);
  options.imatrix = "";
  options.effort = "best";
  return options;
}

class BestWalk : public ::testing::TestWithParam<const char*> {};

TEST_P(BestWalk, IsTheSameForAnyNumberOfThreadsAndResumed) {
  const TempDir dir;
  const std::string one = dir / "one.gguf", four = dir / "four.gguf";
  SetThreads(1);
  SMELT_ASSERT_OK(Convert(Best(Model(GetParam()), one)));
  SetThreads(4);
  bool stop = false;
  Observer observer;
  observer.progress = [&](const Progress& progress) {
    stop = stop || (progress.phase == "writing" && 3 * progress.done >= 2 * progress.total);
  };
  observer.cancelled = [&] { return stop; };
  EXPECT_EQ(CodeOf(Convert(Best(Model(GetParam()), four), observer).status()),
            ErrorCode::kCancelled);
  const auto resumed = Convert(Best(Model(GetParam()), four));
  SMELT_ASSERT_OK(resumed);
  EXPECT_TRUE(resumed->resumed);
  EXPECT_TRUE(ReadFile(one) == ReadFile(four));
  SetThreads(0);
}

INSTANTIATE_TEST_SUITE_P(Models, BestWalk, ::testing::Values("llama", "qwen2moe", "mistral4"),
                         [](const auto& test) { return std::string(test.param); });

/// What the embedding of a GGUF costs those that read it, by the factor of the model it is made of.
double ErrorOfEmbedding(const ModelSource& source, const std::string& file) {
  const auto spec = ReadModelSpec(source);
  SMELT_EXPECT_OK(spec);
  const auto factor = EmbeddingFactor(source, *spec);
  SMELT_EXPECT_OK(factor);
  const auto made = OpenModelByName(file, {}, {});
  SMELT_EXPECT_OK(made);
  const size_t tensor = static_cast<size_t>(spec->embedding);
  const Shape& shape = source.tensors()[tensor].shape;
  std::vector<float> off(shape.elements()), as_made(shape.elements());
  SMELT_EXPECT_OK(source.ReadRows(tensor, 0, shape.rows(), off.data()));
  const int same = (*made)->Find(source.tensors()[tensor].name);
  SMELT_EXPECT_OK((*made)->ReadRows(static_cast<size_t>(same), 0, shape.rows(), as_made.data()));
  for (size_t i = 0; i < off.size(); ++i) off[i] -= as_made[i];
  return (*factor)->ErrorOf(shape.rows(), off);
}

TEST(Walk, BestRoundsTheEmbeddingForThoseThatReadIt) {
  const TempDir dir;
  for (const char* name : {"llama", "qwen2moe"}) {
    SCOPED_TRACE(name);
    for (ConvertOptions options :
         {Auto(Model(name), dir / "normal.gguf"), Best(Model(name), dir / "best.gguf")}) {
      options.calibration_tokens = 256;
      options.validate = Validate::kOff;
      SMELT_ASSERT_OK(Convert(options));
    }
    const auto source = OpenModelByName(Model(name), {}, {});
    SMELT_ASSERT_OK(source);
    EXPECT_LT(ErrorOfEmbedding(**source, dir / "best.gguf"),
              0.8 * ErrorOfEmbedding(**source, dir / "normal.gguf"));
    std::remove((dir / "normal.gguf").c_str());
    std::remove((dir / "best.gguf").c_str());
  }
}

TEST(Walk, CalibrationTextsAreRead) {
  const TempDir dir;
  std::string prose, numbers;
  for (int i = 0; i < 400; ++i) {
    prose += "The ship went down the river before the morning came. ";
    numbers += std::to_string(i * i) + ", ";
  }
  WriteFile(dir / "prose.txt", prose);
  WriteFile(dir / "numbers.txt", numbers);
  ConvertOptions options = Best(Model("llama"), dir / "a.gguf");
  options.calibration_files = {dir / "prose.txt"};
  options.calibration_tokens = 300;
  options.plan_file = dir / "plan.json";
  SMELT_ASSERT_OK(Convert(options));
  const auto plan = PlanConversion(options);
  SMELT_ASSERT_OK(plan);
  EXPECT_THAT(plan->importance, HasSubstr("prose.txt"));

  ConvertOptions other = options;
  other.plan_file = "";
  other.output = dir / "b.gguf";
  other.calibration_files = {dir / "numbers.txt"};
  SMELT_ASSERT_OK(Convert(other));
  const std::string a = ReadFile(dir / "a.gguf"), b = ReadFile(dir / "b.gguf");
  EXPECT_FALSE(a.ends_with(b.substr(b.size() / 2)));

  WriteFile(dir / "prose.txt", prose + "And so on.");
  options.output = dir / "c.gguf";
  const absl::Status changed = Convert(options).status();
  EXPECT_EQ(CodeOf(changed), ErrorCode::kInvalidInput);
  EXPECT_THAT(std::string(changed.message()), HasSubstr("calibration text"));
}

TEST(Walk, CalibrationTextsAreForThoseWhoReadThem) {
  const TempDir dir;
  ConvertOptions options = Conversion(Model("llama"), dir / "x.gguf", "q4_0");
  options.calibration_files = {dir / "none.txt"};
  EXPECT_EQ(CodeOf(PlanConversion(options).status()), ErrorCode::kUsage);
  options.effort = "best";
  EXPECT_EQ(CodeOf(PlanConversion(options).status()), ErrorCode::kNotFound);
}

TEST(Walk, BestNeedsMoreMemoryAndSaysSo) {
  const TempDir dir;
  const auto normal = PlanConversion(Conversion(Model("llama"), dir / "x.gguf", "q4_0"));
  const auto best = PlanConversion(Best(Model("llama"), dir / "x.gguf"));
  SMELT_ASSERT_OK(normal);
  SMELT_ASSERT_OK(best);
  EXPECT_GT(best->memory_bytes, normal->memory_bytes);
}

TEST(Walk, NothingIsGatheredForTypesThatNeedNone) {
  const TempDir dir;
  ConvertOptions options = Auto(Model("llama"), dir / "x.gguf");
  options.type = "f16";
  const auto plan = PlanConversion(options);
  SMELT_ASSERT_OK(plan);
  EXPECT_THAT(plan->importance, IsEmpty());
  EXPECT_THAT(plan->warnings, ElementsAre(HasSubstr("--imatrix has no effect with --type f16")));
}

TEST(Walk, PartsAreOneOutput) {
  const TempDir dir;
  SMELT_ASSERT_OK(Convert(Auto(Model("llama"), dir / "whole.gguf")));
  ConvertOptions options = Auto(Model("llama"), dir / "part.gguf");
  options.split_tensors = 5;
  const Observer observer = testing::StopsHalfWay();
  EXPECT_EQ(CodeOf(Convert(options, observer).status()), ErrorCode::kCancelled);
  const auto resumed = Convert(options);
  SMELT_ASSERT_OK(resumed);
  EXPECT_TRUE(resumed->resumed);
  ASSERT_GT(resumed->files.size(), 1u);
  std::vector<std::string> paths;
  for (const OutputFile& file : resumed->files) paths.push_back(file.path);
  const auto parts = OpenGgufParts(paths), whole = OpenGgufParts({dir / "whole.gguf"});
  SMELT_ASSERT_OK(parts);
  SMELT_ASSERT_OK(whole);
  ASSERT_EQ(parts->tensors.size(), whole->tensors.size());
  const auto a = MakeGgufSource("parts", *parts), b = MakeGgufSource("whole", *whole);
  for (size_t i = 0; i < a->tensors().size(); ++i) {
    const TensorInfo& info = a->tensors()[i];
    ASSERT_EQ(info.name, b->tensors()[i].name);
    std::vector<float> of_parts(info.shape.elements()), of_whole(of_parts.size());
    SMELT_ASSERT_OK(a->ReadRows(i, 0, info.shape.rows(), of_parts.data()));
    SMELT_ASSERT_OK(b->ReadRows(i, 0, info.shape.rows(), of_whole.data()));
    EXPECT_EQ(of_parts, of_whole) << info.name;
  }
}

TEST(Walk, MatricesWithoutAModelHaveNothingToGather) {
  const TempDir dir;
  ConvertOptions options =
      UncheckedConversion(TestdataPath("quant/matrices.safetensors"), dir / "x.gguf", "q4_0");
  options.imatrix = "auto";
  EXPECT_EQ(CodeOf(Convert(options).status()), ErrorCode::kUnsupported);
  EXPECT_FALSE(Exists(dir / "x.gguf.part"));
}

}  // namespace
}  // namespace smelt
