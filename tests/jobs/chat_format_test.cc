// Chat templates that models carry, as formats that we write for Ollama.
#include "lib/jobs/chat_format.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <string>

#include "formats/ollama/chat_formats.h"
#include "formats/ollama/go_template.h"
#include "formats/ollama/modelfile.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "smelt/chat_template.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ReadFile;
using testing::SharedPath;
using testing::TestdataPath;

/// The name of the format, else "".
std::string FormatOf(std::string_view jinja, std::string_view bos = "<s>",
                     std::string_view eos = "</s>") {
  const absl::StatusOr<ChatFormatMatch> match = RecogniseChatFormat(jinja, bos, eos);
  EXPECT_EQ(testing::GetStatus(match).ToString(), "OK");
  return match.ok() && match->format ? match->format->name : "";
}

std::string Reference(const std::string& name) {
  return ReadFile(TestdataPath(Cat("chat_formats/", name, ".jinja")));
}

JsonValue Json(const std::string& path) { return ParseJsonValue(ReadFile(path), path).value(); }

TEST(ChatFormats, EachHasATemplateStopWordsAndARenderingOfEachProbe) {
  const JsonValue known = ParseJsonValue(ollama::ChatFormatRenderings(), "renderings.json").value();
  const size_t probes = known.Find("probes")->as_array()->size();
  ASSERT_GE(probes, 7u);
  EXPECT_EQ(known.Find("renderings")->as_object()->size(), ollama::ChatFormatTexts().size());
  for (const ollama::ChatFormatText& format : ollama::ChatFormatTexts()) {
    SCOPED_TRACE(format.name);
    const auto lines = ollama::ParseModelfile(format.modelfile, format.name);
    SMELT_ASSERT_OK(lines);
    const auto settings = ollama::ModelSettings::Of(*lines, format.name);
    SMELT_ASSERT_OK(settings);
    SMELT_EXPECT_OK(ollama::CheckGoTemplate(settings->template_text));
    EXPECT_FALSE(settings->parameters.empty());
    const bool dated = settings->template_text.find("currentDate") != std::string::npos;
    EXPECT_EQ(settings->least_ollama, dated ? "0.11.4" : "");
    const JsonValue* renderings = known.Find("renderings")->Find(format.name);
    ASSERT_TRUE(renderings != nullptr);
    EXPECT_EQ(renderings->as_array()->size(), probes);
    const bool tools = settings->template_text.find(".Tools") != std::string::npos;
    const JsonValue* with_tools = known.Find("tool_renderings")->Find(format.name);
    EXPECT_EQ(with_tools != nullptr, tools);
    if (tools) {
      EXPECT_EQ(with_tools->as_array()->size(), known.Find("tool_probes")->as_array()->size());
      // Ollama runs the first loop over calls by itself, to see what they look like.
      const std::string& text = settings->template_text;
      const size_t calls = text.find("{{ if .ToolCalls }}");
      ASSERT_NE(calls, text.npos);
      const size_t loop = text.find("{{ range ", calls);
      EXPECT_THAT(text.substr(loop, 120), Not(HasSubstr("$message")));
    }
  }
  EXPECT_GE(known.Find("tool_renderings")->as_object()->size(), 9u);
}

TEST(ChatFormats, EachReferenceIsOfItsFormat) {
  size_t references = 0;
  for (const auto& entry : fs::directory_iterator(TestdataPath("chat_formats"))) {
    if (entry.path().extension() != ".jinja") continue;
    ++references;
    EXPECT_EQ(FormatOf(ReadFile(entry.path().string())), entry.path().stem().string());
  }
  EXPECT_GE(references, 20u);
}

TEST(ChatFormats, PublishedTemplates) {
  SMELT_REQUIRE_SHARED();
  const JsonValue tokens = Json(SharedPath("fixtures/chat_templates/renderings.json"));
  const JsonValue expected = Json(TestdataPath("chat_formats/published.json"));
  EXPECT_EQ(expected.as_object()->size(), 55u);
  for (const auto& [name, format] : *expected.as_object()) {
    const JsonValue* model = tokens.Find("templates")->Find(name);
    ASSERT_TRUE(model != nullptr) << name;
    EXPECT_EQ(FormatOf(ReadFile(SharedPath(Cat("fixtures/chat_templates/", name, ".jinja"))),
                       *model->Find("bos")->as_string(), *model->Find("eos")->as_string()),
              format.is_null() ? "" : *format.as_string())
        << name;
  }
}

// JSON too: Go's templates write it in the form in which the models' own do.
TEST(ChatFormats, ToolsAreWrittenAsThePublishedTemplatesWriteThem) {
  SMELT_REQUIRE_SHARED();
  const JsonValue known = ParseJsonValue(ollama::ChatFormatRenderings(), "renderings.json").value();
  const JsonValue tokens = Json(SharedPath("fixtures/chat_templates/renderings.json"));
  const JsonValue expected = Json(TestdataPath("chat_formats/published.json"));
  size_t compared = 0;
  for (const auto& [name, format] : *expected.as_object()) {
    const JsonValue* renderings =
        format.is_null() ? nullptr : known.Find("tool_renderings")->Find(*format.as_string());
    if (renderings == nullptr) continue;
    const JsonValue* model = tokens.Find("templates")->Find(name);
    const std::string bos = *model->Find("bos")->as_string(),
                      eos = *model->Find("eos")->as_string();
    const auto renderer =
        ChatRenderer::Open({.source = SharedPath(Cat("fixtures/chat_templates/", name, ".jinja")),
                            .bos = bos,
                            .eos = eos});
    SMELT_ASSERT_OK(renderer);
    const auto& probes = *known.Find("tool_probes")->as_array();
    for (size_t i = 0; i < probes.size(); ++i) {
      const std::string* go = (*renderings->as_array())[i].as_string();
      const auto own = renderer->Render(probes[i].ToText());
      if (go == nullptr || !own.ok()) continue;
      std::string text = *go;
      for (const auto& [mark, token] : {std::pair("%BOS%", bos), std::pair("%EOS%", eos)}) {
        for (size_t at; (at = text.find(mark)) != text.npos;) text.replace(at, 5, token);
      }
      // Behind what the model writes where it is given no system prompt.
      const size_t system = text.find("SYSTEM%");
      if (system != text.npos) text.erase(0, system + 7);
      EXPECT_TRUE(own->ends_with(text)) << name << "\n" << text << "\n" << *own;
      ++compared;
    }
  }
  EXPECT_GT(compared, 70u);
}

TEST(ChatFormats, ATemplateThatWritesOneCharacterElseIsOfNoFormat) {
  const struct {
    std::string reference, from, to;
  } kChanges[] = {
      {"chatml", "<|im_start|>{{", "<|im_start |>{{"},
      {"chatml", "<|im_end|>\n", "<|im_end|>"},
      {"chatml", "assistant\\n", "assistant"},
      {"chatml", "{{ message.content }}", "{{ message.content | upper }}"},
      {"mistral-v3", "'[/INST]'", "' [/INST] '"},
      {"mistral-v3", "eos_token", "'</S>'"},
      {"mistral-v3", "\\n\\n", "\\n"},
      {"mistral-v7", "'[INST] '", "'[INST]'"},
      {"phi-4", "<|im_sep|>' + message", "<|im_sep|>\\n' + message"},
      {"glm-4", "<sop>", "sop"},
      {"llama4-instruct", "\\n\\n'", "\\n'"},
      {"granite-system", "'%B %d, %Y'", "'%d.%m.%Y'"},
      {"granite-system", "\\nBe", "\\n{{ Be"},
  };
  for (const auto& change : kChanges) {
    std::string text = Reference(change.reference);
    const size_t at = text.find(change.from);
    ASSERT_NE(at, text.npos) << change.reference << " " << change.from;
    text.replace(at, change.from.size(), change.to);
    EXPECT_EQ(FormatOf(text), "") << text;
  }
}

// A format with tools is that of a model that writes them so; else the model gets the format
// without.
TEST(ChatFormats, ToolsAreOfTheModel) {
  const struct {
    std::string from, to, format;
    bool own_tools;
  } kChanges[] = {
      {"tools | tojson)", "tools | tojson(indent=2))", "mistral-v3-tools", true},
      {"[AVAILABLE_TOOLS] ", "[AVAILABLE_TOOLS]", "mistral-v3", true},
      {"turn == questions[-1]", "turn == questions[0]", "mistral-v3", true},
      {"if tools and", "if false and", "mistral-v3", false},
      {"'[INST] '", "'[INST]  '", "", false},
  };
  for (const auto& change : kChanges) {
    std::string text = Reference("mistral-v3-tools");
    const size_t at = text.find(change.from);
    ASSERT_NE(at, text.npos) << change.from;
    text.replace(at, change.from.size(), change.to);
    const auto match = RecogniseChatFormat(text, "<s>", "</s>");
    SMELT_ASSERT_OK(match);
    EXPECT_EQ(match->format ? match->format->name : "", change.format) << change.from;
    EXPECT_EQ(match->has_tools, change.own_tools) << change.from;
    if (match->format) {
      EXPECT_EQ(match->format->has_tools, change.format.ends_with("-tools")) << change.from;
    }
  }
}

TEST(ChatFormats, TheModelsTokensAndDefaultSystemPromptAreInTheTemplate) {
  const auto chatml = RecogniseChatFormat(Reference("chatml-system"), "", "");
  SMELT_ASSERT_OK(chatml);
  ASSERT_TRUE(chatml->format);
  EXPECT_THAT(chatml->format->settings.template_text,
              HasSubstr("<|im_start|>system\nYou are a test's assistant.<|im_end|>\n"));
  EXPECT_EQ(chatml->format->settings.least_ollama, "");

  const auto mistral = RecogniseChatFormat(Reference("mistral-v3"), "<B>", "<E>");
  SMELT_ASSERT_OK(mistral);
  ASSERT_TRUE(mistral->format);
  EXPECT_THAT(mistral->format->settings.template_text, HasSubstr("{{ .Content }}<E>{{ end }}"));
  EXPECT_THAT(mistral->format->settings.template_text, Not(HasSubstr("%")));
  EXPECT_THAT(mistral->format->settings.parameters,
              ElementsAre(std::pair("stop", "[INST]"), std::pair("stop", "[/INST]")));
}

TEST(ChatFormats, ADateInTheDefaultSystemPromptIsTheDayOfTheConversation) {
  const auto match = RecogniseChatFormat(Reference("granite-system"), "", "");
  SMELT_ASSERT_OK(match);
  ASSERT_TRUE(match->format);
  const ollama::ModelSettings& settings = match->format->settings;
  EXPECT_EQ(settings.least_ollama, "0.11.4");
  EXPECT_THAT(settings.template_text,
              HasSubstr("Today's Date: {{ $month := slice currentDate 5 7 }}{{ if eq $month "
                        "\"01\" }}January{{ else if"));
  EXPECT_THAT(settings.template_text,
              HasSubstr("December{{ end }} {{ slice currentDate 8 10 }}, {{ slice currentDate 0 "
                        "4 }}.\nBe helpful."));
}

TEST(ChatFormats, TheNearestOfAnUnknownOneAreNamed) {
  std::string text = Reference("mistral-v3");
  text.replace(text.find("loop.last"), 9, "true");  // the system prompt before each question
  const auto match = RecogniseChatFormat(text, "<s>", "</s>");
  SMELT_ASSERT_OK(match);
  EXPECT_FALSE(match->format);
  ASSERT_FALSE(match->nearest.empty());
  EXPECT_EQ(match->nearest[0].name, "mistral-v3");
  EXPECT_GE(match->nearest[0].agreed, 4u);
  EXPECT_LT(match->nearest[0].agreed, match->probes);
}

TEST(ChatFormats, WhatIsNoTemplateIsAnError) {
  EXPECT_FALSE(RecogniseChatFormat("{% for %}", "", "").ok());
  EXPECT_EQ(FormatOf("{{ raise_exception('never') }}"), "");
  EXPECT_EQ(FormatOf(""), "");
}

}  // namespace
}  // namespace smelt
