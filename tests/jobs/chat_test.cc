#include "smelt/chat.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "lib/base/status.h"
#include "smelt/chat_template.h"
#include "smelt/import.h"
#include "tests/testing/said.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;
using testing::TestdataPath;
using testing::WriteFile;

ContinueOptions Greedy(int64_t tokens) {
  ContinueOptions options;
  options.temperature = 0;
  options.max_tokens = tokens;
  return options;
}

ChatOptions Options() {
  ChatOptions options;
  options.model = TestdataPath("models/llama");
  options.activations = Activations::kF32;
  return options;
}

/// The answer that a fresh generator gives to `prompt`, whose template has written the beginning.
GenerateResult Plain(const std::string& prompt, int64_t tokens) {
  GenerateOptions options;
  static_cast<ContinueOptions&>(options) = Greedy(tokens);
  options.model = TestdataPath("models/llama");
  options.activations = Activations::kF32;
  const auto generator =
      Generator::Open({.model = options.model, .activations = Activations::kF32});
  options.prompt_ids = (*generator)->Encode(prompt, false).value();
  options.use_prompt_ids = true;
  return Generate(options).value();
}

// The template of this model writes the beginning token itself: it must stand there once.
TEST(Chat, AnswersGoOnFromTheTemplatesText) {
  const auto chat = Chat::Open(Options());
  SMELT_ASSERT_OK(chat);
  const auto first = (*chat)->Say("Hello there", Greedy(12));
  SMELT_ASSERT_OK(first);
  const auto renderer = ChatRenderer::Open({.source = Options().model, .bos = {}, .eos = {}});
  SMELT_ASSERT_OK(renderer);
  EXPECT_EQ((*chat)->prompt(),
            renderer->Render(R"([{"role":"user","content":"Hello there"}])").value());
  const GenerateResult plain = Plain((*chat)->prompt(), 12);
  EXPECT_EQ(first->ids, plain.ids);
  EXPECT_EQ(first->prompt_ids, plain.prompt_ids);
}

// The second turn begins as the first did, and gives what it gives from scratch.
TEST(Chat, TheConversationIsRemembered) {
  ChatOptions options = Options();
  options.system = "Be kind.";
  const auto chat = Chat::Open(options);
  SMELT_ASSERT_OK(chat);
  SMELT_ASSERT_OK((*chat)->Say("One", Greedy(9)));
  const auto second = (*chat)->Say("Two", Greedy(9));
  SMELT_ASSERT_OK(second);
  EXPECT_THAT((*chat)->prompt(), HasSubstr("Be kind."));
  EXPECT_THAT((*chat)->prompt(), HasSubstr("One"));
  EXPECT_EQ(second->ids, Plain((*chat)->prompt(), 9).ids);
  EXPECT_THAT((*chat)->messages(),
              HasSubstr(R"({"role":"user","content":"Two"},{"role":"assistant")"));

  (*chat)->Clear();
  EXPECT_EQ((*chat)->messages(), R"([{"role":"system","content":"Be kind."}])");
  SMELT_ASSERT_OK((*chat)->Say("Three", Greedy(3)));
  EXPECT_EQ((*chat)->prompt().find("One"), std::string::npos);
}

TEST(Chat, TheBeginningIsAddedWhereTheTemplateLacksIt) {
  const TempDir dir;
  WriteFile(dir / "plain.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
  ChatOptions options = Options();
  options.chat_template = dir / "plain.jinja";
  const auto chat = Chat::Open(options);
  SMELT_ASSERT_OK(chat);
  const auto result = (*chat)->Say("Hello", Greedy(1));
  SMELT_ASSERT_OK(result);
  const auto generator =
      Generator::Open({.model = options.model, .activations = Activations::kF32});
  EXPECT_EQ(result->prompt_ids, (*generator)->Encode("Hello", true).value());
  EXPECT_EQ(result->prompt_ids.size(), (*generator)->Encode("Hello", false)->size() + 1);
}

TEST(Chat, WhatCannotBeRenderedIsSaid) {
  ChatOptions options = Options();
  options.tools = "{}";
  EXPECT_THAT(std::string(Chat::Open(options).status().message()), HasSubstr("JSON list"));
  options = Options();
  options.variables = "[]";
  EXPECT_THAT(std::string(Chat::Open(options).status().message()), HasSubstr("JSON object"));

  const TempDir dir;
  WriteFile(dir / "raises.jinja", "{{ raise_exception('no such talk') }}");
  options = Options();
  options.chat_template = dir / "raises.jinja";
  const auto chat = Chat::Open(options);
  SMELT_ASSERT_OK(chat);
  EXPECT_THAT(std::string((*chat)->Say("Hello", Greedy(1)).status().message()),
              HasSubstr("no such talk"));
  EXPECT_EQ((*chat)->messages(), "[]");
}

// As transformers 5.24 fills them in.
TEST(Chat, TemplatesReadThoughtsByEveryName) {
  const TempDir dir;
  WriteFile(dir / "t.jinja", "{{ messages[0] | tojson }}");
  const auto renderer = ChatRenderer::Open({.source = dir / "t.jinja", .bos = {}, .eos = {}});
  SMELT_ASSERT_OK(renderer);
  const std::pair<const char*, const char*> kCases[] = {
      {R"([{"role": "a", "reasoning": "T"}])",
       R"({"thinking": "T", "role": "a", "reasoning": "T", "reasoning_content": "T"})"},
      {R"([{"thinking": "T", "role": "a"}])",
       R"({"thinking": "T", "role": "a", "reasoning_content": "T"})"},
      {R"([{"reasoning_content": null, "thinking": "U", "reasoning": "T"}])",
       R"({"reasoning_content": "U", "thinking": "U", "reasoning": "T"})"},
      {R"([{"reasoning_content": "V", "thinking": null}])",
       R"({"reasoning_content": "V", "thinking": null})"},
      {R"([{"role": "a", "thinking": null}])", R"({"role": "a", "thinking": null})"},
  };
  for (const auto& [messages, expected] : kCases)
    EXPECT_EQ(renderer->Render(messages).value(), expected);
}

// Special tokens that a thought stands between are seen, and are no part of what is said.
TEST(Chat, ThoughtsAreNoPartOfTheAnswer) {
  const TempDir dir;
  WriteFile(dir / "thinks.jinja", "{{ messages | tojson }}<think>\n");
  ChatOptions options = Options();
  options.chat_template = dir / "thinks.jinja";
  const auto chat = Chat::Open(options);
  SMELT_ASSERT_OK(chat);
  std::string thought, text;
  ContinueOptions say = Greedy(4);
  say.on_text = [&](std::string_view piece) { text += piece; };
  const auto answer =
      (*chat)->Say("Hello", say, {}, [&](std::string_view piece) { thought += piece; });
  SMELT_ASSERT_OK(answer);
  EXPECT_EQ(answer->text, "");  // it never ends its thought
  EXPECT_EQ(text, "");
  EXPECT_FALSE(answer->thought.empty());
  EXPECT_THAT(thought, HasSubstr(answer->thought));
  EXPECT_THAT((*chat)->messages(), HasSubstr(R"("content":"","reasoning_content":")"));
}

// A model in a store begins with what the store has for it.
TEST(Chat, AStoredModelBringsItsBeginning) {
  const TempDir dir;
  WriteFile(dir / "Modelfile", Cat("FROM ", TestdataPath("models/llama"),
                                   "\nSYSTEM Be brief.\nMESSAGE user One?\nMESSAGE assistant Two.\n"
                                   "PARAMETER top_k 3\n"));
  ImportOptions import;
  import.name = "mine";
  import.store = dir / "store";
  import.modelfile = dir / "Modelfile";
  import.conversion.validate = Validate::kOff;
  SMELT_ASSERT_OK(Import(import));
  setenv("OLLAMA_MODELS", (dir / "store").c_str(), 1);
  ChatOptions options = Options();
  options.model = "mine";
  const std::string examples =
      R"({"role":"user","content":"One?"},{"role":"assistant","content":"Two."}])";
  testing::Said said;
  const auto chat = Chat::Open(options, said.observer);
  SMELT_ASSERT_OK(chat);
  EXPECT_EQ((*chat)->messages(), Cat(R"([{"role":"system","content":"Be brief."},)", examples));
  EXPECT_THAT(said.notes, HasSubstr("top_k 3"));
  SMELT_ASSERT_OK((*chat)->Say("Three?", Greedy(2)));
  EXPECT_THAT((*chat)->prompt(), HasSubstr("Be brief."));
  (*chat)->Clear();
  EXPECT_EQ((*chat)->messages(), Cat(R"([{"role":"system","content":"Be brief."},)", examples));
  options.system = "Be long.";
  const auto other = Chat::Open(options);
  SMELT_ASSERT_OK(other);
  EXPECT_EQ((*other)->messages(), Cat(R"([{"role":"system","content":"Be long."},)", examples));

  // Its stop words end answers here too.
  const auto whole = (*other)->Say("Three?", Greedy(12));
  SMELT_ASSERT_OK(whole);
  ASSERT_GT(whole->text.size(), 4u);
  const std::string stop = whole->text.substr(whole->text.size() / 2, 2);
  WriteFile(dir / "Modelfile", Cat("FROM mine\nPARAMETER stop \"\"\"", stop, "\"\"\"\n"));
  SMELT_ASSERT_OK(Import(import));
  const auto stopped = (*Chat::Open(options))->Say("Three?", Greedy(12));
  SMELT_ASSERT_OK(stopped);
  EXPECT_EQ(stopped->finish_reason, FinishReason::kStop);
  EXPECT_EQ(stopped->text, whole->text.substr(0, whole->text.find(stop)));
  unsetenv("OLLAMA_MODELS");
}

}  // namespace
}  // namespace smelt
