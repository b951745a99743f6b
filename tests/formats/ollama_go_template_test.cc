// The syntax of Go's templates against Go's own parser (testdata/ollama/go_templates.json).
#include <gmock/gmock.h>

#include <string>

#include "formats/ollama/go_template.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt::ollama {
namespace {

using ::testing::HasSubstr;

TEST(GoTemplate, AllVectors) {
  const std::string path = smelt::testing::TestdataPath("ollama/go_templates.json");
  const JsonValue vectors = ParseJsonValue(smelt::testing::ReadFile(path), path).value();
  size_t cases = 0;
  for (const JsonValue& entry : *vectors.Find("cases")->as_array()) {
    ++cases;
    const absl::Status status = CheckGoTemplate(*entry.Find("template")->as_string());
    EXPECT_EQ(status.ok(), *entry.Find("valid")->as_bool()) << entry.ToText() << "\n" << status;
  }
  EXPECT_EQ(cases, 179u);
}

TEST(GoTemplate, ErrorsSayLineAndCause) {
  EXPECT_EQ(CheckGoTemplate("a\n{{ upper .Prompt }}").message(),
            "line 2 of the template: function upper is not one of Ollama's");
  EXPECT_EQ(CheckGoTemplate("{{ if .System }}x\n").message(),
            "line 2 of the template: {{ if }} has no {{ end }}");
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{{ if .A }}";
  EXPECT_THAT(std::string(CheckGoTemplate(deep).message()), HasSubstr("nested too deeply"));
  EXPECT_FALSE(CheckGoTemplate("{{ " + std::string(100000, '(')).ok());
}

}  // namespace
}  // namespace smelt::ollama
