// Importance: made of models, merged, shown, and what plans and outputs make of it.
#include "formats/importance.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "formats/gguf.h"
#include "lib/base/folder.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/fill.h"
#include "lib/jobs/plan.h"
#include "lib/jobs/plan_file.h"
#include "quant/encoder.h"
#include "smelt/imatrix.h"
#include "tests/jobs/fake_source.h"
#include "tests/testing/conversions.h"
#include "tests/testing/said.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::ElementsAre;
using testing::FakeSource;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ReadFile;
using testing::Said;
using testing::TempDir;
using testing::TestdataPath;
using testing::WriteFile;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

/// A matrix, experts and an embedding.
struct Source : FakeSource {
  Source() {
    Add("token_embd.weight", {256, 40});
    Add("blk.0.attn_q.weight", {256, 300});
    Add("blk.0.ffn_gate_exps.weight", {256, 500, 3});
    Add("blk.0.attn_norm.weight", {256});
  }
};

/// The sum of column c of matrix m.
float SumAt(uint64_t m, uint64_t c) { return static_cast<float>((c * 37 + m * 11) % 53); }

std::string Write(const TempDir& dir, const std::vector<ImportanceEntry>& entries,
                  const std::string& name = "m.gguf") {
  const std::string path = dir / name;
  SMELT_EXPECT_OK(WriteImportance(
      path, {.datasets = {"a.txt", "b.txt"}, .chunks = 3, .chunk_size = 512}, entries,
      [&](size_t entry, std::span<float> out) {
        for (size_t i = 0; i < out.size(); ++i) {
          const uint64_t matrix = i / entries[entry].columns;
          out[i] =
              entries[entry].counts[matrix] > 0 ? SumAt(matrix, i % entries[entry].columns) : 0;
        }
        return absl::OkStatus();
      },
      true));
  return path;
}

const ImportanceEntry kQuery{"blk.0.attn_q.weight", 256, {4}};
const ImportanceEntry kExperts{"blk.0.ffn_gate_exps.weight", 256, {4, 0, 8}};

TEST(PlanWithImportance, KeysAreThoseOfLlamaQuantize) {
  const Source source;
  const TempDir dir;
  const std::string path = Write(dir, {kQuery, kExperts});
  const auto plan = MakePlan(source, {.type = "q4_0", .imatrix = path});
  SMELT_ASSERT_OK(plan);
  const auto file = ReadGguf(MemoryStorage("plan", [&] {
    std::vector<std::byte> bytes = plan->files[0].header;
    bytes.resize(plan->file_bytes);
    return bytes;
  }()));
  SMELT_ASSERT_OK(file);
  const Metadata& m = file->metadata;
  EXPECT_EQ(*m.Find("quantize.imatrix.file"), MetadataValue(path.substr(0, 127)));
  EXPECT_EQ(*m.Find("quantize.imatrix.dataset"), MetadataValue("a.txt"));
  EXPECT_EQ(*m.Find("quantize.imatrix.entries_count"), MetadataValue(uint32_t{2}));
  EXPECT_EQ(*m.Find("quantize.imatrix.chunks_count"), MetadataValue(uint32_t{3}));
  EXPECT_THAT(plan->warnings, IsEmpty());
}

TEST(PlanWithImportance, AnotherFileIsAnotherPlan) {
  const Source source;
  const TempDir dir;
  const std::string path = Write(dir, {kQuery, kExperts});
  const auto first = MakePlan(source, {.type = "q4_0", .imatrix = path});
  SMELT_ASSERT_OK(first);
  const std::string json = PlanToJson(*first);
  const auto again = PlanFromJson(json, "plan.json", source, {});
  SMELT_ASSERT_OK(again);
  EXPECT_EQ(again->Fingerprint(), first->Fingerprint());
  Write(dir, {kQuery, {kExperts.name, 256, {4, 1, 8}}});
  const auto second = MakePlan(source, {.type = "q4_0", .imatrix = path});
  SMELT_ASSERT_OK(second);
  EXPECT_NE(first->Fingerprint(), second->Fingerprint());
  EXPECT_THAT(Message(PlanFromJson(json, "plan.json", source, {}).status()),
              HasSubstr("importance matrix"));
}

TEST(PlanWithImportance, WhatDoesNotFitIsRefusedOrSaid) {
  const Source source;
  const TempDir dir;
  const auto plan = [&](const std::vector<ImportanceEntry>& entries, const char* type) {
    return MakePlan(source, {.type = type, .imatrix = Write(dir, entries)});
  };
  EXPECT_THAT(Message(plan({{kQuery.name, 128, {4}}}, "q4_0").status()), HasSubstr("attn_q"));
  EXPECT_THAT(Message(plan({kQuery, {kExperts.name, 256, {4}}}, "q4_0").status()),
              HasSubstr("ffn_gate_exps"));
  SMELT_EXPECT_OK(plan({kQuery, kExperts, {"token_embd.weight", 7, {4}}}, "q4_0"));
  const auto part = plan({kQuery}, "q4_0");
  SMELT_ASSERT_OK(part);
  EXPECT_THAT(part->warnings, ElementsAre(HasSubstr("ffn_gate_exps")));
  EXPECT_THAT(plan({{"other.weight", 256, {4}}}, "q4_0")->warnings,
              ElementsAre(HasSubstr("another model")));
  EXPECT_THAT(plan({kQuery, kExperts}, "f16")->warnings, ElementsAre(HasSubstr("no effect")));
}

TEST(PlanWithImportance, TypesThatNeedItAreRefusedWithout) {
  const Source source;
  const TempDir dir;
  const auto refused = MakePlan(source, {.type = "q2_k_s"});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(CodeOf(refused.status()), ErrorCode::kUnsupported);
  EXPECT_THAT(Message(refused.status()), HasSubstr("--imatrix"));
  EXPECT_THAT(
      Message(MakePlan(source, {.type = "q2_k_s", .imatrix = Write(dir, {kQuery})}).status()),
      HasSubstr("ffn_gate_exps"));
  SMELT_EXPECT_OK(MakePlan(source, {.type = "q2_k_s", .imatrix = Write(dir, {kQuery, kExperts})}));
}

absl::Status FillTo(const Source& source, const Plan& plan, const std::string& path) {
  const std::vector<std::string> names = {path};
  SMELT_ASSIGN_OR_RETURN(PartialOutput output, OpenPartialOutput(names, plan, true, {}));
  MemoryPeak peak;
  const FillTarget target{&plan, &output};
  SMELT_RETURN_IF_ERROR(Fill(std::span(&target, 1), source, {}, peak));
  return output.CommitAs(names, true);
}

/// What an encoder makes of one matrix of a tensor with the importance that the file has for it.
std::string Encoded(const PlannedTensor& t, uint64_t matrix, std::span<const float> importance) {
  const uint64_t columns = t.shape.columns(), rows = t.matrix_rows();
  std::vector<float> values(columns * rows);
  for (uint64_t r = 0; r < rows; ++r) {
    for (uint64_t c = 0; c < columns; ++c)
      values[r * columns + c] = FakeSource::Value(t.source, matrix * rows + r, c);
  }
  std::string bytes(t.bytes / t.shape.ne[2], '\0');
  EncodeScratch scratch;
  FindEncoder(t.type, Effort::kNormal)
      ->Encode(rows, columns, values.data(), {.importance = importance},
               reinterpret_cast<std::byte*>(bytes.data()), scratch);
  return bytes;
}

TEST(FillWithImportance, EachExpertIsEncodedWithItsOwn) {
  const Source source;
  const TempDir dir;
  const auto plan =
      MakePlan(source, {.type = "q4_0", .pure = true, .imatrix = Write(dir, {kQuery, kExperts})});
  SMELT_ASSERT_OK(plan);
  for (const int threads : {1, 4}) {
    SetThreads(threads);
    SMELT_ASSERT_OK(FillTo(source, *plan, dir / "out.gguf"));
    const std::string file = ReadFile(dir / "out.gguf");
    for (const PlannedTensor& t : plan->tensors) {
      if (t.importance < 0) continue;
      const std::vector<float>& counts = t.source == 1 ? kQuery.counts : kExperts.counts;
      for (uint64_t m = 0; m < t.shape.ne[2]; ++m) {
        std::vector<float> importance;
        for (uint64_t c = 0; counts[m] > 0 && c < 256; ++c)
          importance.push_back(SumAt(m, c) / counts[m]);
        const std::string want = Encoded(t, m, importance);
        EXPECT_TRUE(file.substr(t.offset + m * want.size(), want.size()) == want)
            << t.name << " matrix " << m << " with " << threads << " threads";
        if (!importance.empty()) {
          EXPECT_FALSE(want == Encoded(t, m, {})) << "importance matters";
        }
      }
    }
  }
  SetThreads(0);
}

ImportanceOptions GatheringOf(const std::string& model, const std::string& output) {
  ImportanceOptions options;
  options.model = TestdataPath("models/" + model);
  options.text_files = {TestdataPath("models/eval.txt")};
  options.output = output;
  options.context = 96;
  options.chunks = 3;
  return options;
}

TEST(MakeImportance, CoversEveryMatrixOfALayerWithEveryToken) {
  const TempDir dir;
  const auto made = MakeImportance(GatheringOf("llama", dir / "m.gguf"));
  SMELT_ASSERT_OK(made);
  EXPECT_EQ(made->format, "gguf");
  EXPECT_EQ(made->chunks, 3u);
  EXPECT_EQ(made->chunk_size, 96u);
  EXPECT_EQ(made->tokens, 288u);
  size_t queries = 0;
  for (const ImportanceTensor& t : made->tensors) {
    EXPECT_TRUE(t.name.starts_with("blk.")) << t.name;
    EXPECT_THAT(t.tokens, ElementsAre(288u)) << t.name;
    EXPECT_GT(t.mean, 0) << t.name;
    EXPECT_GE(t.largest, t.mean);
    EXPECT_LE(t.smallest, t.mean);
    queries += t.name.ends_with("attn_q.weight") ? 1 : 0;
  }
  EXPECT_EQ(made->tensors.size(), 7 * queries) << "q, k, v, output, gate, up, down";
  auto with_output = GatheringOf("llama", dir / "o.gguf");
  with_output.process_output = true;
  const auto more = MakeImportance(with_output);
  SMELT_ASSERT_OK(more);
  EXPECT_EQ(more->tensors.size(), made->tensors.size() + 1);
  EXPECT_EQ(more->tensors.back().name, "output.weight");
}

TEST(MakeImportance, OfAModelWithAnAdapterIsThatOfTheMergedOne) {
  const TempDir dir;
  ConvertOptions convert;
  convert.source = TestdataPath("models/llama");
  convert.output = dir / "merged.gguf";
  convert.type = "f32";
  convert.validate = Validate::kOff;
  convert.adapters = {{TestdataPath("lora/llama-qv"), 1}};
  SMELT_ASSERT_OK(Convert(convert));
  auto options = GatheringOf("llama", dir / "adapted.gguf");
  const auto base = MakeImportance(GatheringOf("llama", dir / "base.gguf"));
  options.adapters = convert.adapters;
  const auto adapted = MakeImportance(options);
  options = GatheringOf("llama", dir / "of-merged.gguf");
  options.model = convert.output;
  const auto merged = MakeImportance(options);
  SMELT_ASSERT_OK(base);
  SMELT_ASSERT_OK(adapted);
  SMELT_ASSERT_OK(merged);
  ASSERT_EQ(adapted->tensors.size(), merged->tensors.size());
  bool changed = false;
  for (size_t i = 0; i < merged->tensors.size(); ++i) {
    const double mean = merged->tensors[i].mean;
    EXPECT_NEAR(adapted->tensors[i].mean, mean, 1e-5 * mean) << merged->tensors[i].name;
    changed |= std::abs(base->tensors[i].mean - mean) > 1e-3 * mean;
  }
  EXPECT_TRUE(changed);
}

TEST(MakeImportance, CountsTheTokensOfEachExpert) {
  const TempDir dir;
  const auto made = MakeImportance(GatheringOf("qwen2moe", dir / "m.gguf"));
  SMELT_ASSERT_OK(made);
  size_t stacked = 0;
  for (const ImportanceTensor& t : made->tensors) {
    if (t.tokens.size() == 1) continue;
    ++stacked;
    const uint64_t all = std::accumulate(t.tokens.begin(), t.tokens.end(), uint64_t{0});
    EXPECT_EQ(all % 288, 0u) << t.name;
    EXPECT_GE(all, 288u) << t.name;
    EXPECT_EQ(t.values, t.columns * t.tokens.size());
  }
  EXPECT_GT(stacked, 0u);
}

TEST(MakeImportance, TheFileIsTheSameForAnyNumberOfThreads) {
  const TempDir dir;
  for (const char* model : {"llama", "qwen2moe", "jamba", "mistral4"}) {
    SetThreads(1);
    SMELT_ASSERT_OK(MakeImportance(GatheringOf(model, dir / (std::string(model) + "1.gguf"))));
    SetThreads(5);
    SMELT_ASSERT_OK(MakeImportance(GatheringOf(model, dir / (std::string(model) + "5.gguf"))));
    EXPECT_TRUE(ReadFile(dir / (std::string(model) + "1.gguf")) ==
                ReadFile(dir / (std::string(model) + "5.gguf")))
        << model;
  }
  SetThreads(0);
}

TEST(MakeImportance, WhatCannotBeDoneIsRefusedAndLeavesNothing) {
  const TempDir dir;
  auto options = GatheringOf("llama", dir / "m.gguf");
  options.text_files.clear();
  EXPECT_EQ(CodeOf(MakeImportance(options).status()), ErrorCode::kUsage);
  options = GatheringOf("llama", "");
  EXPECT_EQ(CodeOf(MakeImportance(options).status()), ErrorCode::kUsage);
  options = GatheringOf("llama", dir / "m.gguf");
  WriteFile(dir / "empty.txt", "");
  options.text_files = {dir / "empty.txt"};
  EXPECT_EQ(CodeOf(MakeImportance(options).status()), ErrorCode::kInvalidInput);
  WriteFile(dir / "m.gguf", "precious");
  EXPECT_EQ(CodeOf(MakeImportance(GatheringOf("llama", dir / "m.gguf")).status()),
            ErrorCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(dir / "m.gguf"), "precious");
  options.output = dir / "empty.txt";
  options.force = true;
  EXPECT_EQ(CodeOf(MakeImportance(options).status()), ErrorCode::kUsage) << "the text itself";
  EXPECT_FALSE(Exists(dir / "m.gguf.part"));
}

TEST(MergeImportance, IsWhatBothTextsTogetherGive) {
  const TempDir dir;
  const std::string text = ReadFile(TestdataPath("models/eval.txt"));
  WriteFile(dir / "a.txt", text.substr(0, 2500));
  WriteFile(dir / "b.txt", text.substr(2500, 2500));
  const auto make = [&](const std::vector<std::string>& texts, const std::string& output) {
    auto options = GatheringOf("qwen2moe", dir / output);
    options.text_files.clear();
    for (const std::string& name : texts) options.text_files.push_back(dir / name);
    return MakeImportance(options);
  };
  SMELT_ASSERT_OK(make({"a.txt"}, "a.gguf"));
  SMELT_ASSERT_OK(make({"b.txt"}, "b.gguf"));
  const auto both = make({"a.txt", "b.txt"}, "both.gguf");
  SMELT_ASSERT_OK(both);
  const auto merged = MergeImportance({dir / "a.gguf", dir / "b.gguf"}, dir / "merged.gguf", false);
  SMELT_ASSERT_OK(merged);
  EXPECT_EQ(merged->chunks, both->chunks);
  EXPECT_EQ(merged->datasets, both->datasets);
  ASSERT_EQ(merged->tensors.size(), both->tensors.size());
  for (size_t i = 0; i < merged->tensors.size(); ++i) {
    EXPECT_EQ(merged->tensors[i].tokens, both->tensors[i].tokens);
    EXPECT_NEAR(merged->tensors[i].mean, both->tensors[i].mean, 1e-6 * both->tensors[i].mean);
    EXPECT_NEAR(merged->tensors[i].largest, both->tensors[i].largest,
                1e-6 * both->tensors[i].largest);
  }
}

TEST(MergeImportance, OtherModelsAreRefused) {
  const TempDir dir;
  const std::string a = Write(dir, {kQuery}, "a.gguf");
  const std::string b = Write(dir, {{kQuery.name, 128, {4}}}, "b.gguf");
  EXPECT_THAT(Message(MergeImportance({a, b}, dir / "c.gguf", false).status()),
              HasSubstr("different models"));
  EXPECT_EQ(CodeOf(MergeImportance({a}, dir / "c.gguf", false).status()), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(MergeImportance({a, a}, a, true).status()), ErrorCode::kUsage);
  EXPECT_FALSE(Exists(dir / "c.gguf"));
}

TEST(ShowImportance, SaysWhatIsKnownOfEachExpert) {
  const TempDir dir;
  const auto shown = ShowImportance(Write(dir, {kExperts}));
  SMELT_ASSERT_OK(shown);
  ASSERT_EQ(shown->tensors.size(), 1u);
  const ImportanceTensor& t = shown->tensors[0];
  EXPECT_THAT(t.tokens, ElementsAre(4u, 0u, 8u));
  EXPECT_EQ(t.smallest, 0);
  EXPECT_EQ(t.largest, 52.0 / 4);
  uint64_t zeros = 0;
  for (const uint64_t m : {0, 2}) {
    for (uint64_t c = 0; c < 256; ++c) zeros += SumAt(m, c) == 0 ? 1 : 0;
  }
  EXPECT_EQ(t.zeros, zeros) << "of the experts that saw anything";
}

}  // namespace
}  // namespace smelt
