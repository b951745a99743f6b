// Chat templates against what Jinja2 makes of them.
#include "lib/text/chat/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::HasSubstr;

// The time that the recorded renderings saw: Wednesday 2025-01-15 10:30:00.
std::tm RecordedTime() {
  std::tm time{};
  time.tm_year = 2025 - 1900;
  time.tm_mday = 15;
  time.tm_hour = 10;
  time.tm_min = 30;
  time.tm_wday = 3;
  time.tm_yday = 14;
  return time;
}

absl::StatusOr<std::string> RenderText(std::string_view text, ChatInputs inputs = {}) {
  absl::StatusOr<ChatTemplate> parsed = ChatTemplate::Parse(text, "test");
  if (!parsed.ok()) return parsed.status();
  if (inputs.messages.is_null()) inputs.messages = JsonValue(JsonValue::Array());
  return parsed->Render(inputs);
}

std::string TextOf(const JsonValue& json, std::string_view key) {
  const JsonValue* value = json.FindNonNull(key);
  return value == nullptr ? "" : *value->as_string();
}

// What is left over keeps its outer spaces; Python's answers.
TEST(ChatTemplateTest, SplitsFromBothEnds) {
  constexpr const char* kCases[][2] = {
      {"split(none, 1)", "[a][b c ]"},      {"rsplit(none, 1)", "[  a b][c]"},
      {"split(none, 0)", "[a b c ]"},       {"rsplit(none, 0)", "[  a b c]"},
      {"split(none, 9)", "[a][b][c]"},      {"rsplit(none, 9)", "[a][b][c]"},
      {"split(' b ', 1)", "[  a][c ]"},     {"rsplit(' ', 2)", "[  a b][c][]"},
      {"partition(' ')", "[][ ][ a b c ]"}, {"rpartition(' ')", "[  a b c][ ][]"},
  };
  for (const auto& [call, wanted] : kCases) {
    const absl::StatusOr<std::string> result =
        RenderText(Cat("{% for part in '  a b c '.", call, " %}[{{ part }}]{% endfor %}"));
    SMELT_ASSERT_OK(result);
    EXPECT_EQ(*result, wanted) << call;
  }
}

TEST(ChatTemplateTest, RendersLikeJinja) {
  const std::string path = testing::TestdataPath("chat_templates/cases.json");
  const absl::StatusOr<JsonValue> recorded = ParseJsonValue(testing::ReadFile(path), path);
  SMELT_ASSERT_OK(recorded);
  ChatInputs inputs;
  inputs.variables = *recorded->Find("variables")->as_object();
  inputs.bos_token = "<s>";
  inputs.eos_token = "</s>";
  inputs.now = RecordedTime();
  const JsonValue::Array& cases = *recorded->Find("cases")->as_array();
  EXPECT_GT(cases.size(), 1000u);
  for (const JsonValue& each : cases) {
    const std::string text = TextOf(each, "template");
    const absl::StatusOr<std::string> result = RenderText(text, inputs);
    const JsonValue* wanted = each.Find("result");
    ASSERT_EQ(result.ok(), wanted != nullptr) << text << "\n"
                                              << TextOf(each, "error") << "\n"
                                              << result.status();
    if (result.ok()) {
      EXPECT_EQ(*result, *wanted->as_string()) << text;
    }
  }
}

// The templates that people publish, and what the transformers library renders from them.
TEST(ChatTemplateTest, RendersPublishedTemplates) {
  SMELT_REQUIRE_SHARED();
  const std::string folder = testing::SharedPath("fixtures/chat_templates");
  const absl::StatusOr<JsonValue> recorded =
      ParseJsonValue(testing::ReadFile(folder + "/renderings.json"), "renderings.json");
  SMELT_ASSERT_OK(recorded);
  size_t rendered = 0;
  for (const auto& [name, described] : *recorded->Find("templates")->as_object()) {
    const absl::StatusOr<ChatTemplate> parsed =
        ChatTemplate::Parse(testing::ReadFile(folder + "/" + name + ".jinja"), name);
    SMELT_ASSERT_OK(parsed);
    for (const JsonValue& each : *described.Find("cases")->as_array()) {
      ChatInputs inputs;
      inputs.messages = *each.Find("messages");
      inputs.tools = *each.Find("tools");
      inputs.add_generation_prompt = *each.Find("add_generation_prompt")->as_bool();
      if (const JsonValue* more = each.FindNonNull("kwargs")) inputs.variables = *more->as_object();
      inputs.bos_token = TextOf(described, "bos");
      inputs.eos_token = TextOf(described, "eos");
      inputs.now = RecordedTime();
      const absl::StatusOr<std::string> result = parsed->Render(inputs);
      const JsonValue* wanted = each.Find("result");
      const std::string what = name + ", " + TextOf(each, "name");
      ASSERT_EQ(result.ok(), wanted != nullptr) << what << ": " << result.status();
      if (result.ok()) {
        EXPECT_EQ(*result, *wanted->as_string()) << what;
      }
      ++rendered;
    }
  }
  EXPECT_GT(rendered, 900u);
}

struct Hostile {
  const char* text;
  const char* says;
};

// Each ends in a sentence, in time, whatever it asks for.
TEST(ChatTemplateTest, BoundsTimeAndMemory) {
  const Hostile kHostile[] = {
      {"{% for i in range(1000000000000) %}x{% endfor %}", "range too big"},
      {"{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
       "steps"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nests too deeply"},
      {"{{ 'a' * 800000000000 }}", "too large"},
      {"{{ [0] * 800000000000 }}", "too large"},
      {"{{ 'abc'.ljust(800000000000) }}", "too large"},
      {"{{ '%800000000000d' % 1 }}", "too many characters"},
      {"{{ '{:800000000000}'.format(1) }}", "too many characters"},
      {"{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}"
       "{% endfor %}{{ ns.s }}",
       "too large"},
      {"{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}"
       "{% endfor %}{{ ns.s }}",
       "too large"},
      {"{% set ns = namespace(s=[0, 0]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}"
       "{% endfor %}",
       "too large"},
      {"{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}"
       "{% endfor %}{{ ns.l }}",
       "too deeply"},
      {"{% set ns = namespace(l=[1]) %}{% for i in range(90) %}{% set ns.l = [ns.l, ns.l] %}"
       "{% endfor %}{{ ns.l }}",
       "to"},
      {"{% for i in range(99999) %}{{ 'ab' * 100000 }}{% endfor %}", "too large"},
      {"{{ ('a' * 50000).replace('', 'b' * 50000) }}", "too large"},
      {"{{ range(100000)|join('a' * 1000000) }}", "to"},
      {"{{ ''.__class__.__mro__ }}", "__class__"},
      {"{{ messages.append(1) }}", "append"},
      {"{% include '/etc/passwd' %}", "include"},
      {"{% import 'os' as os %}", "import"},
      {"{{ 9223372036854775807 + 1 }}", "64 bits"},
      {"{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
       "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
       "steps"},
      {"{% set ns = namespace(x=(1,), y=(1,)) %}{% for i in range(60) %}"
       "{% set ns.x = (ns.x, ns.x) %}{% set ns.y = (ns.y, ns.y) %}{% endfor %}"
       "{{ [ns.x, ns.y]|unique|list|length }}",
       "steps"},
      {"{% set s = 'a' * 9999999 %}{% for i in range(99999) %}{{ s == s ~ '' }}{% endfor %}",
       "steps"},
      {"{% set s = 'a' * 9999999 %}{% for i in range(99999) %}{{ s|length }}{% endfor %}", "steps"},
      {"{{ ('a' * 10000000 ~ 'c').strip('b' * 10000000 ~ 'a') }}", "steps"},
      {"{{ 99999999999999999999 }}", "too large"},
      {"{% if x %}", "endif"},
      {"{{ x", "not closed"},
  };
  for (const Hostile& each : kHostile) {
    const auto start = std::chrono::steady_clock::now();
    const absl::StatusOr<std::string> result = RenderText(each.text);
    EXPECT_FALSE(result.ok()) << each.text;
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(each.says)) << each.text;
    EXPECT_LT(result.status().message().size(), 390u);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60)) << each.text;
  }
}

// A search in the worst case of a plain one takes linear time.
TEST(ChatTemplateTest, SearchesInLinearTime) {
  const absl::StatusOr<std::string> result =
      RenderText("{{ ('a' * 20000000).find('a' * 10000000 ~ 'b') }}{{ 'aab'.rfind('ab') }}");
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(*result, "-11");
}

TEST(ChatTemplateTest, GroupsHaveNames) {
  const absl::StatusOr<std::string> result = RenderText(
      "{% for g in [{'a': 1}, {'a': 2}, {'a': 1}]|groupby('a') %}{{ g.grouper }}:{{ g.list|length "
      "}} "
      "{% endfor %}{{ 1e400 }} {{ 5e-324 }}");
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(*result, "1:2 2:1 inf 5e-324");
}

TEST(ChatTemplateTest, DeepTextsAreRefused) {
  for (const std::string open : {"(", "[", "{'a':", "not ", "-", "{% if x %}", "x if ", "f("}) {
    std::string text = open[0] == '{' && open[1] == '%' ? "" : "{{ ";
    for (int i = 0; i < 100000; ++i) text += open;
    EXPECT_FALSE(RenderText(text).ok()) << open;
  }
  std::string chain = "{{ 1";
  for (int i = 0; i < 100000; ++i) chain += " + 1";
  EXPECT_FALSE(RenderText(chain + " }}").ok());
}

TEST(ChatTemplateTest, RendersInThreadsAtOnce) {
  const absl::StatusOr<ChatTemplate> parsed = ChatTemplate::Parse(
      "{% for i in range(50) %}{{ 'a' ~ i }}{{ [i, 'x']|join }}{% endfor %}", "t");
  SMELT_ASSERT_OK(parsed);
  const std::string wanted = *parsed->Render({.messages = JsonValue(JsonValue::Array())});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j)
        EXPECT_EQ(*parsed->Render({.messages = JsonValue(JsonValue::Array())}), wanted);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace smelt
