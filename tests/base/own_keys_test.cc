// The keys under "smelt.": what the reader takes and refuses, and the page that is the table.
#include "lib/base/own_keys.h"

#include <cmath>
#include <cstdlib>
#include <limits>

#include "lib/base/cat.h"
#include "tests/testing/own_keys.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using Ids = std::vector<int32_t>;

std::string Sentence(const absl::Status& status) { return std::string(status.message()); }

bool Says(const absl::Status& status, std::string_view part) {
  return Sentence(status).find(part) != std::string::npos;
}

absl::Status Check(std::string_view name, const MetadataValue& value,
                   const KeyMeasures& measures = {}) {
  const OwnKeyRow* row = FindOwnKey(name);
  if (row == nullptr) return Error(ErrorCode::kInternal, "no row ", name);
  return CheckOwnKey(*row, value, measures);
}

TEST(OwnKeys, EveryOtherTypeIsRefusedByName) {
  for (const OwnKeyRow& row : kOwnKeys) {
    const std::vector<MetadataValue> others = testing::OtherTypes(row);
    EXPECT_EQ(others.size(), row.type == row.or_type ? 23u : 22u) << row.name;
    for (const MetadataValue& value : others) {
      const absl::Status status = CheckOwnKey(row, value, {});
      EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << row.name;
      EXPECT_TRUE(Says(status, row.name)) << Sentence(status);
    }
  }
}

TEST(OwnKeys, AnEmptyValueHasTheTypeOfItsRow) {
  for (const OwnKeyRow& row : kOwnKeys) {
    const MetadataValue value = EmptyOwnValue(row);
    EXPECT_EQ(value.element_type(), row.type) << row.name;
    EXPECT_EQ(value.is_array(), row.length != KeyLength::kOne) << row.name;
  }
}

TEST(OwnKeys, EveryKindOfWrongValueIsOneSentence) {
  const struct {
    std::string_view key;
    MetadataValue value;
    std::string_view sentence;
  } kCases[] = {
      {"smelt.tokenizer.end_token_ids", Ids{0, 10},
       "is 10 at entry 1, which is no id of the 10 tokens"},
      {"smelt.tokenizer.end_token_ids", Ids{-1}, "is -1 at entry 0, which is no id"},
      {"smelt.tokenizer.added_flags", Ids{3}, "has 1 values, expected pairs"},
      {"smelt.tokenizer.added_flags", Ids{3, 256}, "is 256 at entry 1, expected bits below 256"},
      {"smelt.tokenizer.added_flags", Ids{10, 1}, "is 10 at entry 0, which is no id"},
      {"smelt.tokenizer.merges", Ids{1, 2}, "has 2 values, expected three for each merge"},
      {"smelt.tokenizer.extra_ids", Ids{1}, "expected one for each of the 2"},
      {"smelt.tokenizer.extra_types", Ids{3, 5}, "is 5 at entry 1, expected a type"},
      {"smelt.tokenizer.scores", std::vector<double>(11), "one at most for each of the 10 tokens"},
      {"smelt.tokenizer.scores", std::vector<float>{0, NAN}, "is nan at entry 1"},
      {"smelt.tokenizer.unknown_score", -INFINITY, "of type f32, expected f64"},
      {"smelt.tokenizer.unknown_score", -std::numeric_limits<double>::infinity(),
       "is -inf, expected a finite number"},
      {"smelt.tokenizer.source", "Pipeline", "is \"Pipeline\", expected one of: sentencepiece"},
      {"smelt.tokenizer.source", "", "is \"\", expected one of"},
      {"smelt.tokenizer.source", "sentencepiece pipeline", "expected one of"},
      {"smelt.rope.factors", std::vector<float>{1, 1, 1}, "has 3 values, expected 4, one for each"},
      {"smelt.rope.factors", std::vector<float>{1, 1, 0, 1}, "is 0 at entry 2"},
      {"smelt.attention.rotated_layers", std::vector<uint8_t>{1, 0},
       "has 2 values, expected 3, one for each block"},
      {"smelt.rope.dynamic_factor", -1.0f, "is -1, expected a finite number of at least 0"},
  };
  for (const auto& c : kCases) {
    const absl::Status status =
        Check(c.key, c.value, {.tokens = 10, .extra_tokens = 2, .rotary_pairs = 4, .layers = 3});
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << c.key;
    EXPECT_TRUE(Sentence(status).starts_with(Cat("metadata key ", c.key, " "))) << Sentence(status);
    EXPECT_TRUE(Says(status, c.sentence)) << Sentence(status);
  }
}

TEST(OwnKeys, RightValuesAreRead) {
  Metadata metadata;
  EXPECT_TRUE(*ReadOwn<bool>(metadata, "smelt.tokenizer.cleanup", true));
  WriteOwn<bool>(metadata, "smelt.tokenizer.cleanup", false);
  EXPECT_FALSE(*ReadOwn<bool>(metadata, "smelt.tokenizer.cleanup", true));
  WriteOwn<std::vector<float>>(metadata, "smelt.tokenizer.scores", {-1.5f, 2});
  EXPECT_EQ(*ReadOwnList<std::vector<double>>(metadata, "smelt.tokenizer.scores", {.tokens = 2}),
            (std::vector<double>{-1.5, 2}));
  WriteOwn<Ids>(metadata, "smelt.tokenizer.added_flags", {1, 255});
  EXPECT_EQ(*ReadOwnList<Ids>(metadata, "smelt.tokenizer.added_flags", {.tokens = 2}),
            (Ids{1, 255}));
  WriteOwn<std::vector<uint8_t>>(metadata, "smelt.tokenizer.precompiled_charsmap", {0, 255});
  EXPECT_EQ(*ReadOwnBytes(metadata, "smelt.tokenizer.precompiled_charsmap"),
            std::string("\0\xff", 2));
  SMELT_EXPECT_OK(CheckOwnKeys(metadata, kOwnPrefix, {.tokens = 2}));
}

TEST(OwnKeys, AKeyThatIsNoRowIsNotPassedOver) {
  Metadata metadata;
  metadata.Set("smelt.tokenizer.future", true);
  const absl::Status status = CheckOwnKeys(metadata, kOwnTokenizerPrefix, {});
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
  EXPECT_TRUE(Says(status, "smelt.tokenizer.future"));
}

// ---------------------------------------------------------------- docs/keys.md
std::string TypeText(const OwnKeyRow& row) {
  return Cat(Name(row.type), row.or_type == row.type ? "" : Cat(" or ", Name(row.or_type)));
}

std::string HowMany(KeyLength length) {
  switch (length) {
    case KeyLength::kOne:
      return "one";
    case KeyLength::kAny:
      return "a list";
    case KeyLength::kPairs:
      return "a list of pairs";
    case KeyLength::kThrees:
      return "a list of threes";
    case KeyLength::kUpToTokens:
      return "at most one a token";
    case KeyLength::kPerExtraToken:
      return "one for each of `smelt.tokenizer.extra_tokens`";
    case KeyLength::kPerRotaryPair:
      return "one for each pair of rotary dimensions";
    case KeyLength::kPerLayer:
      return "one for each block";
  }
  return "";
}

std::string Values(const OwnKeyRow& row) {
  switch (row.values) {
    case KeyValues::kAny:
      return row.type == ValueType::kF32 || row.type == ValueType::kF64 ? "finite" : "any";
    case KeyValues::kNotNegative:
      return "finite, at least 0";
    case KeyValues::kPositive:
      return "finite, above 0";
    case KeyValues::kWords: {
      std::string out = "`";
      for (const char c : row.words) out += c == ' ' ? std::string("`, `") : std::string(1, c);
      return out + "`";
    }
    case KeyValues::kJson:
      return "JSON";
    case KeyValues::kTokenIds:
      return "ids of tokens";
    case KeyValues::kTokenIdsAndBits:
      return Cat("id of a token, bits below ", kAddedBitsEnd);
    case KeyValues::kAddedTypes:
      return "3 or 4";
  }
  return "";
}

std::string Page() {
  std::string out =
      "# Metadata keys of our own\n\n"
      "What a model needs to say and llama.cpp has no key for lies in a GGUF file under `smelt.`. "
      "Programs that do not know\nthese keys pass over them; smelt reads them strictly: another "
      "type, another length, a value outside of what is said here\nor a key that is not listed is "
      "refused by name.\n\n"
      "This page is `kOwnKeys` of lib/base/own_key_table.h, printed; after a change of the table, "
      "`SMELT_WRITE_DOCS=1\nbuild/release/tests/base/base_test "
      "--gtest_filter=OwnKeys.ThePageIsTheTable` "
      "writes it anew.\n\n"
      "| key | type | how many | values | written by | meaning |\n|---|---|---|---|---|---|\n";
  for (const OwnKeyRow& row : kOwnKeys) {
    out += Cat("| `", row.name, "` | ", TypeText(row), " | ", HowMany(row.length), " | ",
               Values(row), " | ", row.writer, " | ", row.meaning, " |\n");
  }
  return out;
}

TEST(OwnKeys, ThePageIsTheTable) {
  const std::string path = testing::TestdataPath("../docs/keys.md");
  if (std::getenv("SMELT_WRITE_DOCS") != nullptr) testing::WriteFile(path, Page());
  EXPECT_EQ(testing::ReadFile(path), Page());
}

}  // namespace
}  // namespace smelt
