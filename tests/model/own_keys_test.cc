// Keys of our own in a model: read strictly, and none is passed over.
#include "lib/base/own_keys.h"

#include <limits>

#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "tests/model/edited_source.h"
#include "tests/testing/own_keys.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

OpenedModel OpenOwn(const std::string& name) {
  OpenOptions options;
  options.vocabulary = false;
  auto opened = OpenModel(TestdataPath("models/" + name), options);
  EXPECT_TRUE(opened.ok()) << opened.status();
  return *std::move(opened);
}

absl::Status ReadWith(const ModelSource& source, std::string_view key, const MetadataValue& value) {
  Metadata metadata = source.metadata();
  metadata.Set(key, value);
  return ReadModelSpec(Edited(source, std::move(metadata))).status();
}

TEST(OwnKeysOfModels, AWrongTypeOrAKeyThatIsNotReadIsRefusedByName) {
  for (const char* name : {"llama", "mamba2", "gemma2", "phi3"}) {
    const OpenedModel model = OpenOwn(name);
    for (const OwnKeyRow& row : kOwnKeys) {
      if (row.name.starts_with(kOwnTokenizerPrefix)) continue;
      for (const MetadataValue& value : OtherTypes(row)) {
        const absl::Status status = ReadWith(*model.source, row.name, value);
        EXPECT_NE(std::string(status.message()).find(row.name), std::string::npos)
            << name << " " << row.name << ": " << status;
      }
    }
    const absl::Status unknown = ReadWith(*model.source, "smelt.future", true);
    EXPECT_EQ(CodeOf(unknown), ErrorCode::kUnsupported);
  }
}

TEST(OwnKeysOfModels, ValuesAreCheckedAgainstTheModel) {
  const OpenedModel model = OpenOwn("gemma2");  // its rotation covers whole heads
  const auto dims = model.source->metadata().Uint("gemma2.attention.key_length");
  SMELT_ASSERT_OK(dims);
  const auto factors = [&](size_t count, float value) { return std::vector<float>(count, value); };
  SMELT_EXPECT_OK(ReadWith(*model.source, "smelt.rope.factors", factors(*dims / 2, 2)));
  SMELT_EXPECT_OK(ReadWith(*model.source, "smelt.activation", "gelu"));
  SMELT_EXPECT_OK(ReadWith(*model.source, "smelt.rope.dynamic_factor", 2.0f));
  SMELT_EXPECT_OK(ReadWith(*model.source, "smelt.attention.scale_by_layer", true));
  const struct {
    std::string_view key;
    MetadataValue value;
    std::string_view said;
  } kBad[] = {
      {"smelt.rope.factors", factors(*dims / 2 - 1, 2), "one for each pair of rotary dimensions"},
      {"smelt.rope.factors", factors(*dims / 2, 0), "is 0 at entry 0"},
      {"smelt.rope.factors_long", factors(*dims, 1), "one for each pair of rotary dimensions"},
      {"smelt.activation", "Gelu", "expected one of: silu gelu"},
      {"smelt.rope.dynamic_factor", -1.0f, "at least 0"},
      {"smelt.rope.dynamic_factor", std::numeric_limits<float>::quiet_NaN(), "finite"}};
  for (const auto& bad : kBad) {
    const absl::Status status = ReadWith(*model.source, bad.key, bad.value);
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << bad.key;
    EXPECT_NE(std::string(status.message()).find(bad.said), std::string::npos) << status;
  }
}

TEST(OwnKeysOfModels, TheTimeStepsLimitsAreARange) {
  const OpenedModel model = OpenOwn("mamba2");
  Metadata metadata = model.source->metadata();
  WriteOwn<float>(metadata, "smelt.ssm.time_step_min", 0.5f);
  WriteOwn<float>(metadata, "smelt.ssm.time_step_max", 0.25f);
  const absl::Status status = ReadModelSpec(Edited(*model.source, metadata)).status();
  EXPECT_NE(std::string(status.message()).find("smelt.ssm.time_step_max"), std::string::npos)
      << status;
  WriteOwn<float>(metadata, "smelt.ssm.time_step_max", 0.5f);
  SMELT_EXPECT_OK(ReadModelSpec(Edited(*model.source, metadata)));
}

// Every word of the row is one that the reader knows: no other activation stays in place.
TEST(OwnKeysOfModels, EveryActivationIsKnown) {
  const OpenedModel model = OpenOwn("llama");
  std::string_view words = FindOwnKey("smelt.activation")->words;
  int seen = 0;
  while (!words.empty()) {
    const std::string word(words.substr(0, words.find(' ')));
    words.remove_prefix(std::min(words.size(), word.size() + 1));
    Metadata metadata = model.source->metadata();
    metadata.Set("smelt.activation", word);
    const auto spec = ReadModelSpec(Edited(*model.source, std::move(metadata)));
    SMELT_ASSERT_OK(spec);
    ++seen;
  }
  EXPECT_EQ(seen, 5);
}

}  // namespace
}  // namespace smelt::testing
