// Names against what gguf-py made of the same ids (gguf_names.json).
#include "lib/model/names.h"

#include <gtest/gtest.h>

#include "lib/base/json.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

std::string Text(const JsonValue& value) { return value.is_null() ? "" : *value.as_string(); }

class NamesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto text = testing::ReadFile(testing::TestdataPath("models/gguf_names.json"));
    auto parsed = ParseJsonValue(text, "gguf_names.json");
    SMELT_ASSERT_OK(parsed);
    vectors_ = *std::move(parsed);
  }
  JsonValue vectors_;
};

TEST_F(NamesTest, IdsAreParsedAsTheReferenceParsesThem) {
  const JsonValue::Array& names = *vectors_.Find("names")->as_array();
  ASSERT_EQ(names.size(), 360u);
  for (const JsonValue& row : names) {
    const JsonValue::Array& f = *row.as_array();
    const std::string id = Text(f[0]);
    const uint64_t parameters = static_cast<uint64_t>(*f[1].as_int());
    SCOPED_TRACE(id + " " + std::to_string(parameters));
    const NameParts parts = ParseModelId(id, parameters);
    EXPECT_EQ(TitleOf(parts.full_name), Text(f[2]));
    EXPECT_EQ(TitleOf(parts.organization), Text(f[3]));
    EXPECT_EQ(parts.basename, Text(f[4]));
    EXPECT_EQ(parts.finetune, Text(f[5]));
    EXPECT_EQ(parts.version, Text(f[6]));
    EXPECT_EQ(parts.size_label, Text(f[7]));
  }
}

TEST_F(NamesTest, SizeLabels) {
  for (const JsonValue& row : *vectors_.Find("size_labels")->as_array()) {
    const auto n = [&row](std::string_view key) {
      return static_cast<uint64_t>(*row.Find(key)->as_int());
    };
    EXPECT_EQ(SizeLabel({n("total"), n("shared"), n("per_expert"), n("experts")}),
              Text(*row.Find("label")));
  }
}

}  // namespace
}  // namespace smelt
