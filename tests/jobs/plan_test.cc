#include "lib/jobs/plan.h"

#include <gmock/gmock.h>

#include "lib/base/status.h"
#include "lib/jobs/metadata_edit.h"
#include "lib/jobs/output_name.h"
#include "lib/jobs/plan_file.h"
#include "tests/jobs/fake_source.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::FakeSource;
using ::testing::HasSubstr;

void Fill(FakeSource& source) {
  source.Add("token_embd.weight", {256, 1000});
  source.Add("blk.0.attn_norm.weight", {256});
  source.Add("blk.0.ffn_up.weight", {256, 700});
  source.Add("blk.0.ffn_gate_exps.weight", {256, 600, 4});
  source.Add("blk.0.ffn_down.weight", {96, 256});
}

TEST(Plan, TilesCoverEveryByteOfTheDataOnce) {
  FakeSource source;
  Fill(source);
  for (const char* type : {"f32", "f16", "q8_0", "q4_k_m"}) {
    const auto plan = MakePlan(source, {.type = type});
    SMELT_ASSERT_OK(plan);
    uint64_t position = plan->header_bytes();
    for (uint64_t i = 0; i < plan->tiles; ++i) {
      const Tile tile = plan->TileAt(i);
      EXPECT_EQ(tile.offset, position) << type << " tile " << i;
      EXPECT_LE(tile.rows * plan->tensors[tile.tensor].shape.columns(), 256u * 1024);
      const uint64_t rows = plan->tensors[tile.tensor].matrix_rows();
      EXPECT_EQ(tile.first_row / rows, (tile.first_row + tile.rows - 1) / rows)
          << "crosses an expert";
      position += tile.bytes + tile.padding;
    }
    EXPECT_EQ(position, plan->file_bytes) << type;
  }
}

TEST(Plan, PartsHoldWhatTheyMay) {
  FakeSource source;
  Fill(source);
  const Plan whole = *MakePlan(source, {.type = "f16"});
  const auto expect = [&](const Plan& plan) {
    uint64_t tensors = 0, tiles = 0, bytes = 0;
    for (size_t i = 0; i < plan.files.size(); ++i) {
      const PlannedFile& file = plan.files[i];
      EXPECT_EQ(file.first_tile, tiles);
      EXPECT_GT(file.tensors, 0u);
      uint64_t position = file.header.size();
      for (uint64_t tile = tiles; tile < tiles + file.tiles; ++tile) {
        const Tile t = plan.TileAt(tile);
        EXPECT_EQ(t.file, i);
        EXPECT_EQ(t.offset, position);
        position += t.bytes + t.padding;
      }
      EXPECT_EQ(position, file.bytes);
      tiles += file.tiles;
      tensors += file.tensors;
      bytes += file.bytes;
    }
    EXPECT_EQ(tiles, plan.tiles);
    EXPECT_EQ(tensors, plan.tensors.size());
    EXPECT_EQ(bytes, plan.file_bytes);
    EXPECT_EQ(plan.tiles, whole.tiles);
  };
  for (uint64_t n : {1, 2, 3, 4}) {
    const auto plan = MakePlan(source, {.type = "f16", .split_tensors = n});
    SMELT_ASSERT_OK(plan);
    EXPECT_EQ(plan->files.size(), (5 + n - 1) / n);
    expect(*plan);
  }
  for (uint64_t size : {uint64_t{1}, uint64_t{400'000}, uint64_t{900'000}, whole.file_bytes - 1}) {
    const auto plan = MakePlan(source, {.type = "f16", .split_size = size});
    SMELT_ASSERT_OK(plan);
    EXPECT_GT(plan->files.size(), 1u);
    for (const PlannedFile& file : plan->files)
      EXPECT_TRUE(file.bytes <= size || file.tensors == 1) << file.bytes << " of " << size;
    // No part could have taken the first tensor of the next.
    for (size_t i = 0, next = plan->files[0].tensors; i + 1 < plan->files.size(); ++i) {
      EXPECT_GT(plan->files[i].bytes + 200 + plan->tensors[next].bytes, size);
      next += plan->files[i + 1].tensors;
    }
    expect(*plan);
  }
  // What fits is not split, and has no keys of a split.
  EXPECT_EQ(MakePlan(source, {.type = "f16", .split_size = whole.file_bytes})->files[0].header,
            whole.files[0].header);
  EXPECT_EQ(MakePlan(source, {.type = "f16", .split_tensors = 5})->files.size(), 1u);
  EXPECT_EQ(CodeOf(MakePlan(source, {.type = "f16", .split_size = 1, .split_tensors = 1}).status()),
            ErrorCode::kUsage);
}

TEST(Plan, ARowLongerThanATileIsATile) {
  FakeSource source;
  source.Add("a.weight", {1 << 20, 3});
  const auto plan = MakePlan(source, {.type = "f16"});
  SMELT_ASSERT_OK(plan);
  EXPECT_EQ(plan->tiles, 3u);
}

TEST(Plan, TheFingerprintFollowsWhateverChangesBytes) {
  FakeSource source;
  Fill(source);
  const auto base = MakePlan(source, {.type = "q8_0"});
  SMELT_ASSERT_OK(base);
  EXPECT_EQ(base->Fingerprint(), MakePlan(source, {.type = "q8_0"})->Fingerprint());
  EXPECT_NE(base->Fingerprint(), MakePlan(source, {.type = "q4_0"})->Fingerprint());
  EXPECT_NE(base->Fingerprint(),
            MakePlan(source, {.type = "q8_0", .metadata = {{"general.name", "x"}}})->Fingerprint());
  source.identity_ = "fake-2";
  EXPECT_NE(base->Fingerprint(), MakePlan(source, {.type = "q8_0"})->Fingerprint());
}

TEST(Plan, RefusesToQuantizeTwiceUnlessTold) {
  FakeSource source;
  source.Add("a.weight", {256, 4}, TensorType::kQ4_0);
  const auto refused = MakePlan(source, {.type = "q5_0"});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.status().message()).find("--allow-requantize"), std::string::npos);
  SMELT_EXPECT_OK(MakePlan(source, {.type = "q5_0", .allow_requantize = true}));
  SMELT_EXPECT_OK(MakePlan(source, {.type = "copy"}));
}

TEST(Plan, ACopyChangesWhatIsNamedAndNothingElse) {
  FakeSource source;
  source.Add("blk.0.ffn_down.weight", {256, 4}, TensorType::kQ4_0);
  source.Add("blk.0.ffn_down.bias", {256});
  source.Add("blk.0.ffn_up.weight", {256, 4}, TensorType::kQ4_0);
  source.Add("blk.1.ffn_down.weight", {32, 4}, TensorType::kQ4_0);
  source.Add("blk.1.ffn_norm.weight", {256});
  const auto plan =
      MakePlan(source, {.type = "copy", .tensor_types = {{"FFN_down", "q6_k"}, {"norm", "q8_0"}}});
  SMELT_ASSERT_OK(plan);
  std::vector<TensorType> types;
  for (const PlannedTensor& t : plan->tensors) types.push_back(t.type);
  using enum TensorType;
  EXPECT_EQ(types, (std::vector{kQ6_K, kF32, kQ4_0, kQ4_0, kF32}));
  ASSERT_EQ(plan->warnings.size(), 2u);  // rows of 32 columns; a norm
  EXPECT_NE(plan->warnings[0].find("blk.1.ffn_down.weight has rows of 32"), std::string::npos);
  EXPECT_NE(plan->warnings[1].find("blk.1.ffn_norm.weight keeps its type"), std::string::npos);
  EXPECT_TRUE(plan->fallbacks.kinds.empty());
  EXPECT_FALSE(MakePlan(source, {.type = "copy", .token_embedding_type = "q8_0"}).ok());
}

TEST(Plan, UnknownTypesAndUselessOptionsAreUsageErrors) {
  FakeSource source;
  Fill(source);
  for (const PlanOptions& options :
       {PlanOptions{.type = "q9_9"}, PlanOptions{.type = "f16", .pure = true},
        PlanOptions{.type = "copy", .pure = true},
        PlanOptions{.type = "q4_0", .output_tensor_type = "q77"},
        PlanOptions{.type = "q4_0", .tensor_types = {{"(", "q8_0"}}}}) {
    const auto plan = MakePlan(source, options);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(CodeOf(plan.status()), ErrorCode::kUsage) << plan.status();
  }
}

TEST(Plan, AnUnknownTypeNamesTheNearestOnes) {
  FakeSource source;
  Fill(source);
  const auto message = [&](const char* type) {
    return std::string(MakePlan(source, {.type = type}).status().message());
  };
  EXPECT_THAT(message("q4km"), HasSubstr("the nearest are q4_k_m, "));
  EXPECT_THAT(message("mxfp4"), HasSubstr("--type q4_0 --pure --tensor-type '.*=mxfp4'"));
  EXPECT_THAT(message("q8_k"), HasSubstr("the nearest are q"));  // nobody writes it
  const auto pure =
      MakePlan(source, {.type = "q4_0", .pure = true, .tensor_types = {{".*", "mxfp4"}}});
  SMELT_ASSERT_OK(pure);
  for (const PlannedTensor& tensor : pure->tensors) {
    if (tensor.shape.rows() > 1) {
      EXPECT_EQ(tensor.type, TensorType::kMXFP4) << tensor.name;
    }
  }
}

TEST(Plan, FallbacksOfThePresetAreCountedAndSaid) {
  FakeSource source;
  Fill(source);
  source.Add("blk.1.ffn_down.weight", {96, 256});
  source.Add("blk.1.attn_q.weight", {43, 256});
  const auto plan = MakePlan(source, {.type = "q4_k_m"});
  SMELT_ASSERT_OK(plan);
  const Fallbacks& f = plan->fallbacks;
  EXPECT_EQ(f.matrices, 6u);
  EXPECT_EQ(f.tensors, 3u);
  ASSERT_EQ(f.kinds.size(), 2u);
  EXPECT_EQ(f.kinds[0].type, TensorType::kQ8_0);
  EXPECT_EQ(f.kinds[0].instead_of, TensorType::kQ6_K);
  EXPECT_EQ(f.kinds[0].tensors, 2u);
  EXPECT_EQ(f.kinds[0].first, "blk.0.ffn_down.weight");
  EXPECT_EQ(f.kinds[1].type, TensorType::kF16);
  EXPECT_EQ(FallbackNote(f, 5.126),
            "3 of 6 matrices have rows that are no multiple of 256 (blk.0.ffn_down.weight: 96): "
            "Q8_0 instead of Q6_K in 2, F16 instead of Q4_K in 1; 5.13 bits per weight in all "
            "(--no-fallback refuses this)");
  for (const char* type : {"f16", "copy"}) {
    const auto plain = MakePlan(source, {.type = type});
    SMELT_ASSERT_OK(plain);
    EXPECT_TRUE(plain->fallbacks.kinds.empty()) << type;
  }
}

TEST(Plan, AnOptionThatDoesNotFitIsAWarningAndNoFallbackOfThePreset) {
  FakeSource source;
  Fill(source);
  const auto plan = MakePlan(source, {.type = "q4_k_m", .tensor_types = {{"ffn_down", "q6_k"}}});
  SMELT_ASSERT_OK(plan);
  EXPECT_TRUE(plan->fallbacks.kinds.empty());
  ASSERT_EQ(plan->warnings.size(), 1u);
  EXPECT_NE(plan->warnings[0].find("blk.0.ffn_down.weight"), std::string::npos);
}

TEST(Plan, NoFallbackRefusesTheFirstTensorThatDoesNotFit) {
  FakeSource source;
  Fill(source);
  for (const PlanOptions& options :
       {PlanOptions{.type = "q4_k_m", .allow_fallback = false},
        PlanOptions{.type = "q8_0", .tensor_types = {{"down", "q6_k"}}, .allow_fallback = false},
        PlanOptions{.type = "q6_k", .pure = true, .allow_fallback = false}}) {
    const auto refused = MakePlan(source, options);
    EXPECT_EQ(CodeOf(refused.status()), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(refused.status().message()).find("blk.0.ffn_down.weight"),
              std::string::npos);
    EXPECT_LT(refused.status().message().size(), 400u);
  }
  SMELT_EXPECT_OK(MakePlan(source, {.type = "q8_0", .allow_fallback = false}));
  SMELT_EXPECT_OK(MakePlan(source, {.type = "f16", .allow_fallback = false}));
}

TEST(PlanFile, ComesBackTheSame) {
  FakeSource source;
  Fill(source);
  const PlanOptions options{
      .type = "q4_k_m", .tensor_types = {{"ffn_up", "q6_k"}}, .metadata = {{"general.name", "n"}}};
  const auto plan = MakePlan(source, options);
  SMELT_ASSERT_OK(plan);
  const auto again = PlanFromJson(PlanToJson(*plan), "plan.json", source, {});
  SMELT_ASSERT_OK(again);
  EXPECT_EQ(again->Fingerprint(), plan->Fingerprint());
  EXPECT_EQ(again->tensors[2].type, TensorType::kQ6_K);
  EXPECT_EQ(again->tensors[2].why, plan->tensors[2].why);
}

TEST(PlanFile, DoesNotFitAnotherSourceOrOtherOptions) {
  FakeSource source;
  Fill(source);
  const std::string json = PlanToJson(*MakePlan(source, {.type = "q4_k_m"}));
  EXPECT_EQ(CodeOf(PlanFromJson(json, "p", source, {.type = "q8_0"}).status()), ErrorCode::kUsage);
  source.identity_ = "changed";
  EXPECT_EQ(CodeOf(PlanFromJson(json, "p", source, {}).status()), ErrorCode::kInvalidInput);
  source.identity_ = "fake-1";
  source.Add("one.more.weight", {32, 2});
  EXPECT_EQ(CodeOf(PlanFromJson(json, "p", source, {}).status()), ErrorCode::kInvalidInput);
  EXPECT_EQ(CodeOf(PlanFromJson("{\"smelt_plan\": 99}", "p", source, {}).status()),
            ErrorCode::kInvalidInput);
  EXPECT_EQ(CodeOf(PlanFromJson("[1", "p", source, {}).status()), ErrorCode::kInvalidInput);
}

TEST(PlanFile, EditedTypesAreHonouredOnlyWithTheirLayout) {
  FakeSource source;
  Fill(source);
  std::string json = PlanToJson(*MakePlan(source, {.type = "q8_0"}));
  const size_t at = json.find("\"Q8_0\"", json.find("\"tensors\":"));
  ASSERT_NE(at, std::string::npos);
  json.replace(at, 6, "\"Q4_0\"");
  EXPECT_EQ(CodeOf(PlanFromJson(json, "p", source, {}).status()), ErrorCode::kInvalidInput);
}

TEST(EditMetadata, ExistingKeysKeepTheirTypeNewOnesAreGuessedOrNamed) {
  Metadata metadata;
  metadata.Set("a", uint32_t{1});
  metadata.Set("s", "text");
  metadata.Set("f", 1.5f);
  SMELT_ASSERT_OK(EditMetadata({{"a", "7"},
                                {"s", "u32:9"},
                                {"f", "2"},
                                {"new.int", "5"},
                                {"new.negative", "-5"},
                                {"new.float", "0.25"},
                                {"new.bool", "true"},
                                {"new.text", "hello"},
                                {"new.u8", "u8:200"},
                                {"new.string", "str:12"}},
                               metadata));
  EXPECT_EQ(*metadata.Find("a"), MetadataValue(uint32_t{7}));
  EXPECT_EQ(*metadata.Find("s"), MetadataValue("u32:9"));
  EXPECT_EQ(*metadata.Find("f"), MetadataValue(2.0f));
  EXPECT_EQ(*metadata.Find("new.int"), MetadataValue(uint32_t{5}));
  EXPECT_EQ(*metadata.Find("new.negative"), MetadataValue(int32_t{-5}));
  EXPECT_EQ(*metadata.Find("new.float"), MetadataValue(0.25f));
  EXPECT_EQ(*metadata.Find("new.bool"), MetadataValue(true));
  EXPECT_EQ(*metadata.Find("new.text"), MetadataValue("hello"));
  EXPECT_EQ(*metadata.Find("new.u8"), MetadataValue(uint8_t{200}));
  EXPECT_EQ(*metadata.Find("new.string"), MetadataValue("12"));
}

TEST(EditMetadata, KeysOfOurOwnHaveTheTypeOfTheirRow) {
  Metadata metadata;
  SMELT_ASSERT_OK(EditMetadata({{"smelt.rope.dynamic_factor", "2"},
                                {"smelt.rope.factors", "[1, 2]"},
                                {"smelt.tokenizer.end_token_ids", "[7]"},
                                {"smelt.tokenizer.unknown_score", "-3"},
                                {"smelt.tokenizer.unknown_token", "12"}},
                               metadata));
  EXPECT_EQ(*metadata.Find("smelt.rope.dynamic_factor"), MetadataValue(2.0f));
  EXPECT_EQ(*metadata.Find("smelt.rope.factors"), MetadataValue(std::vector<float>{1, 2}));
  EXPECT_EQ(*metadata.Find("smelt.tokenizer.end_token_ids"),
            MetadataValue(std::vector<int32_t>{7}));
  EXPECT_EQ(*metadata.Find("smelt.tokenizer.unknown_score"), MetadataValue(-3.0));
  EXPECT_EQ(*metadata.Find("smelt.tokenizer.unknown_token"), MetadataValue("12"));
  EXPECT_EQ(CodeOf(EditMetadata({{"smelt.tokenizer.cleanup", "2"}}, metadata)), ErrorCode::kUsage);
}

TEST(EditMetadata, WhatDoesNotFitIsRefusedByKey) {
  Metadata metadata;
  metadata.Set("a", uint32_t{1});
  for (const char* value : {"-1", "x", "1.5", "4294967296", ""}) {
    const absl::Status status = EditMetadata({{"a", value}}, metadata);
    EXPECT_EQ(CodeOf(status), ErrorCode::kUsage) << value;
  }
  EXPECT_EQ(CodeOf(EditMetadata({{"", "1"}}, metadata)), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(EditMetadata({{"new", "u8:300"}}, metadata)), ErrorCode::kUsage);
}

TEST(OutputName, IsHarmlessInAShellAndAFolder) {
  EXPECT_EQ(SafeFileName("Llama-3.2-1B"), "Llama-3.2-1B");
  EXPECT_EQ(SafeFileName("$(touch pwned)"), "touch-pwned");
  EXPECT_EQ(SafeFileName("tiny;id"), "tiny-id");
  EXPECT_EQ(SafeFileName("`id`"), "id");
  EXPECT_EQ(SafeFileName("-rf tiny"), "rf-tiny");
  EXPECT_EQ(SafeFileName("../../etc/passwd"), "etc-passwd");
  EXPECT_EQ(SafeFileName(".hidden"), "hidden");
  EXPECT_EQ(SafeFileName("tiny\u202egnp.exe"), "tiny-gnp.exe");
  EXPECT_EQ(SafeFileName("a\nb\x1b[31m\xff"), "a-b-31m");
  EXPECT_EQ(SafeFileName("\u6a21\u578b caf\u00e9"), "\u6a21\u578b-caf\u00e9");
  EXPECT_EQ(SafeFileName("'\"&|<>*?"), "model");
  EXPECT_EQ(SafeFileName(""), "model");
  EXPECT_LE(SafeFileName(std::string(500, 'x')).size(), 120u);
}

}  // namespace
}  // namespace smelt
