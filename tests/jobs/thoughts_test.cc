#include "lib/jobs/thoughts.h"

#include <gmock/gmock.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace smelt {
namespace {

std::vector<const ThoughtForm*> AllForms() {
  std::vector<const ThoughtForm*> forms;
  for (const ThoughtForm& form : ThoughtForms()) forms.push_back(&form);
  return forms;
}

/// The text in pieces of `size` bytes: "thought|answer|thought|...".
std::string Split(std::string_view text, size_t size, std::string_view prompt = "") {
  std::string out;
  bool last = true;
  ThoughtSplitter splitter(AllForms(), prompt, [&](bool thought, std::string_view piece) {
    if (thought != last) out += '|';
    last = thought;
    out += piece;
  });
  for (size_t at = 0; at < text.size(); at += size) splitter.Take(text.substr(at, size));
  splitter.Finish();
  return out;
}

// As models publish what they write: Qwen 3, DeepSeek R1 (whose template begins the thought),
// Magistral, Seed-OSS, Command A, Apertus, Gemma 4, gpt-oss.
TEST(Thoughts, AreToldFromAnswersInEveryForm) {
  const struct {
    std::string_view prompt, text, expected;
  } kCases[] = {
      {"", "Hi <there>", "|Hi <there>"},
      {"", "<think>\nHm.\n</think>\n\nHi", "\nHm.\n|\n\nHi"},
      {"...<|Assistant|><think>\n", "Hm.</think>Hi", "Hm.|Hi"},
      {"...<think>\n\n</think>\n\n", "Hi", "|Hi"},
      {"", "[THINK]Hm [x].[/THINK]Hi", "Hm [x].|Hi"},
      {"", "<seed:think>Hm</seed:think>Hi", "Hm|Hi"},
      {"", "<|START_THINKING|>Hm<|END_THINKING|>Hi", "Hm|Hi"},
      {"", "<|inner_prefix|>Hm<|inner_suffix|>Hi", "Hm|Hi"},
      {"", "<|channel>thought\nHm<channel|>Hi", "\nHm|Hi"},
      {"", "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>Hi",
       "Hm|Hi"},
      {"", "<|channel|>final<|message|>Hi", "|Hi"},
      {"", "<think>a</think>b<think>c</think>d", "a|b|c|d"},
      {"", "<think>never ends", "never ends"},
      {"", "1 < 2 <thin", "|1 < 2 <thin"},
      {"", "", ""},
  };
  for (const auto& one : kCases) {
    for (const size_t size : {1u, 2u, 3u, 7u, 1000u})
      EXPECT_EQ(Split(one.text, size, one.prompt), one.expected) << one.text << " by " << size;
  }
}

// What cannot become a mark any more is handed out at once.
TEST(Thoughts, AreNotHeldBackLongerThanNeeded) {
  std::string shown;
  ThoughtSplitter splitter(AllForms(), "", [&](bool, std::string_view piece) { shown += piece; });
  splitter.Take("Hello <th");
  EXPECT_EQ(shown, "Hello ");
  splitter.Take("e");
  EXPECT_EQ(shown, "Hello <the");
}

// Marks that only some models have mean nothing to others.
TEST(Thoughts, OnlyTheModelsOwnMarksCount) {
  std::string shown;
  ThoughtSplitter splitter({&ThoughtForms().front()}, "",
                           [&](bool, std::string_view piece) { shown += piece; });
  splitter.Take("[THINK]<|end|>");
  splitter.Finish();
  EXPECT_EQ(shown, "[THINK]<|end|>");
}

}  // namespace
}  // namespace smelt
