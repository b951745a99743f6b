// Vocabularies that mean the same and such that do not, by every kind of key.
#include "lib/text/gguf/vocabulary_difference.h"

#include <functional>
#include <string>
#include <vector>

#include "tests/testing/testing.h"

namespace smelt {
namespace {

using Strings = std::vector<std::string>;
using Change = std::function<void(Metadata&)>;

void SetTokens(Metadata& m, Strings tokens, std::vector<int32_t> types) {
  m.Set("tokenizer.ggml.tokens", std::move(tokens));
  m.Set("tokenizer.ggml.token_type", std::move(types));
}

Metadata ByteLevel() {
  Metadata m;
  m.Set("tokenizer.ggml.model", "gpt2");
  m.Set("tokenizer.ggml.pre", "qwen2");
  SetTokens(m, {"a", "b", "c", "d", "ab", "cd", "abcd", "<s>", "</s>"},
            {1, 1, 1, 1, 1, 1, 1, 3, 3});
  m.Set("tokenizer.ggml.merges", Strings{"a b", "c d", "ab cd"});
  m.Set("tokenizer.ggml.bos_token_id", uint32_t{7});
  m.Set("tokenizer.ggml.eos_token_id", uint32_t{8});
  return m;
}

Metadata SentencePiece() {
  Metadata m;
  m.Set("tokenizer.ggml.model", "llama");
  SetTokens(m,
            {"<unk>", "<s>", "</s>", "\xe2\x96\x81", "a", "b", "ab",
             "\xe2\x96\x81"
             "ab"},
            {2, 3, 3, 1, 1, 1, 1, 1});
  m.Set("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -5, -4, -3, -1, -2});
  return m;
}

Metadata Unigram() {
  Metadata m = SentencePiece();
  m.Set("tokenizer.ggml.model", "t5");
  return m;
}

std::optional<VocabularyDifference> Compare(const Metadata& before, const Change& change) {
  Metadata after = before;
  change(after);
  const auto found = CompareVocabularies(after, before);
  EXPECT_TRUE(found.ok()) << found.status();
  if (!found.ok()) return std::nullopt;
  // The other way round the same is found.
  const auto back = CompareVocabularies(before, after);
  EXPECT_EQ(found->has_value(), back.ok() && back->has_value());
  return *found;
}

void ExpectSame(const Metadata& before, const Change& change) {
  const auto found = Compare(before, change);
  EXPECT_FALSE(found.has_value()) << Sentence(*found, "the one", "the other");
}

void ExpectDifference(const Metadata& before, const Change& change, const std::string& sentence,
                      bool ids = true) {
  const auto found = Compare(before, change);
  ASSERT_TRUE(found.has_value()) << sentence;
  EXPECT_EQ(Sentence(*found, "A", "B"), sentence);
  EXPECT_EQ(found->ids, ids);
}

Change Set(const std::string& key, MetadataValue value) {
  return [=](Metadata& m) { m.Set(key, value); };
}

/// Further tokens at the end, all of one type.
Change Append(const Strings& more, int32_t type) {
  return [=](Metadata& m) {
    Strings tokens = *m.Find("tokenizer.ggml.tokens")->get_if<Strings>();
    auto types = *m.Find("tokenizer.ggml.token_type")->get_if<std::vector<int32_t>>();
    tokens.insert(tokens.end(), more.begin(), more.end());
    types.resize(tokens.size(), type);
    if (const MetadataValue* scores = m.Find("tokenizer.ggml.scores"); scores != nullptr) {
      auto longer = *scores->get_if<std::vector<float>>();
      longer.resize(tokens.size(), -1000);
      m.Set("tokenizer.ggml.scores", longer);
    }
    SetTokens(m, tokens, types);
  };
}

TEST(VocabularyDifference, WhatIsTheSame) {
  for (const Metadata& m : {ByteLevel(), SentencePiece(), Unigram()}) {
    ExpectSame(m, [](Metadata&) {});
    // Keys that no text depends on.
    ExpectSame(m, Set("tokenizer.chat_template", "{{ x }}"));
    ExpectSame(m, Set("tokenizer.ggml.padding_token_id", uint32_t{0}));
    ExpectSame(m, Set("general.name", "other"));
    // Padding of another length and other texts.
    ExpectSame(m, Append({"[PAD9]", "[PAD10]"}, 5));
    ExpectSame(m, Append({"<unused0>"}, 5));
  }
  const Metadata padded = [] {
    Metadata m = ByteLevel();
    Append({"[PAD9]", "[PAD10]"}, 5)(m);
    return m;
  }();
  ExpectSame(padded, Append({"[PAD11]"}, 5));
}

TEST(VocabularyDifference, TokensAndTypes) {
  const Metadata m = ByteLevel();
  ExpectDifference(m, Set("tokenizer.ggml.model", "llama"),
                   "the kind of tokenizer (tokenizer.ggml.model) is \"llama\" in A and \"gpt2\" in "
                   "B");
  const auto texts = [](Strings tokens) { return Set("tokenizer.ggml.tokens", tokens); };
  ExpectDifference(m, texts({"a", "c", "b", "d", "ab", "cd", "abcd", "<s>", "</s>"}),
                   "token 1 is \"c\" in A and \"b\" in B");
  ExpectDifference(m, texts({"a", "b", "c", "d", "ab", "cd", "abcd", "<s>", "<|end|>"}),
                   "token 8 is \"<|end|>\" in A and \"</s>\" in B");
  ExpectDifference(m, Append({"<think>"}, 4), "token 9 is \"<think>\" in A and not there in B");
  ExpectDifference(
      m, Set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 1, 1, 1, 4, 3, 3}),
      "the type of token 6 (\"abcd\") is user-defined in A and normal in B");
  // A token where the other has padding.
  Metadata padded = m;
  Append({"[PAD9]", "[PAD10]"}, 5)(padded);
  Metadata used = m;
  Append({"<think>"}, 4)(used);
  const auto found = CompareVocabularies(padded, used);
  SMELT_ASSERT_OK(found);
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->what, "token 9");
}

TEST(VocabularyDifference, Merges) {
  const Metadata m = ByteLevel();
  const auto merges = [](Strings list) { return Set("tokenizer.ggml.merges", list); };
  ExpectDifference(m, merges({"c d", "a b", "ab cd"}), "merge 0 is \"c d\" in A and \"a b\" in B");
  ExpectDifference(m, merges({"a b", "c d"}), "merge 2 is not there in A and \"ab cd\" in B");
  ExpectDifference(
      m, [](Metadata& x) { x.Erase("tokenizer.ggml.merges"); },
      "merge 0 is not there in A and \"a b\" in B");
}

TEST(VocabularyDifference, PreTokenizersAreComparedByWhatTheyDo) {
  Metadata m = ByteLevel();
  const auto pre = [](const char* name) { return Set("tokenizer.ggml.pre", name); };
  for (const char* alike : {"stablelm2", "deepseek-r1-qwen", "megrez"}) ExpectSame(m, pre(alike));
  for (const char* other : {"gpt-2", "llama-bpe", "qwen35", "gpt-4o"}) {
    ExpectDifference(m, pre(other),
                     "the pre-tokenizer (tokenizer.ggml.pre) is \"" + std::string(other) +
                         "\" in A and \"qwen2\" in B");
  }
  m.Set("tokenizer.ggml.pre", "llama-bpe");
  ExpectSame(m, pre("llama3"));
  // The same expression, but a word that is a token is not taken whole.
  ExpectDifference(
      m, pre("dbrx"),
      "the pre-tokenizer (tokenizer.ggml.pre) is \"dbrx\" in A and \"llama-bpe\" in B");
  m.Set("tokenizer.ggml.pre", "default");
  ExpectSame(m, [](Metadata& x) { x.Erase("tokenizer.ggml.pre"); });
  // SentencePiece's kind does not look at it.
  ExpectSame(SentencePiece(), pre("default"));
}

TEST(VocabularyDifference, Settings) {
  const Metadata m = ByteLevel(), spm = SentencePiece();
  ExpectDifference(m, Set("tokenizer.ggml.add_bos_token", true),
                   "tokenizer.ggml.add_bos_token is true in A and false in B");
  ExpectSame(m, Set("tokenizer.ggml.add_bos_token", false));
  ExpectSame(spm, Set("tokenizer.ggml.add_bos_token", true));  // what a missing key means there
  ExpectDifference(spm, Set("tokenizer.ggml.add_bos_token", false),
                   "tokenizer.ggml.add_bos_token is false in A and true in B");
  ExpectDifference(spm, Set("tokenizer.ggml.bos_token_id", uint32_t{2}),
                   "tokenizer.ggml.bos_token_id is 2 (\"</s>\") in A and 1 (\"<s>\") in B");
  ExpectSame(m, Set("tokenizer.ggml.bos_token_id", uint32_t{0}));  // it is never added
  ExpectDifference(m, Set("tokenizer.ggml.add_eos_token", true),
                   "tokenizer.ggml.add_eos_token is true in A and false in B");
  ExpectDifference(spm, Set("tokenizer.ggml.unknown_token_id", uint32_t{3}),
                   "tokenizer.ggml.unknown_token_id is 3 (\"\xe2\x96\x81\") in A and 0 "
                   "(\"<unk>\") in B");
  ExpectDifference(spm, Set("tokenizer.ggml.add_space_prefix", false),
                   "tokenizer.ggml.add_space_prefix is false in A and true in B");
  ExpectSame(spm, Set("tokenizer.ggml.add_space_prefix", true));
  ExpectSame(m, Set("tokenizer.ggml.add_space_prefix", false));  // not of this kind
}

TEST(VocabularyDifference, ScoresOfMergesCountByTheirOrder) {
  const Metadata m = SentencePiece();
  const auto scores = [](std::vector<float> list) { return Set("tokenizer.ggml.scores", list); };
  ExpectSame(m, scores({0, 0, 0, -500, -41, -30, -1.5, -1.75}));
  ExpectSame(m, scores({0, -7, 9, -5, -4, -3, -1, -2}));  // of control tokens
  ExpectDifference(m, scores({0, 0, 0, -5, -4, -3, -2, -1}),
                   "the score of token 6 (\"ab\") is -2 in A and -1 in B");
  ExpectDifference(m, scores({0, 0, 0, -5, -4, -3, -1, -1}),
                   "the score of token 7 (\"\xe2\x96\x81"
                   "ab\") is -1 in A and -2 in B");
  // Sums of scores decide in a Unigram model.
  ExpectDifference(Unigram(), scores({0, 0, 0, -5, -4, -3, -1.5, -2}),
                   "the score of token 6 (\"ab\") is -1.5 in A and -1 in B");
}

TEST(VocabularyDifference, KeysOfOursAreComparedWhereBothHaveThem) {
  Metadata m = SentencePiece();
  ExpectSame(m, Set("smelt.tokenizer.remove_extra_whitespaces", true));  // ids tell
  m.Set("smelt.tokenizer.remove_extra_whitespaces", false);
  ExpectDifference(m, Set("smelt.tokenizer.remove_extra_whitespaces", true),
                   "smelt.tokenizer.remove_extra_whitespaces is true in A and false in B");
}

TEST(VocabularyDifference, WhereTextEndsIsSaidLastAndChangesNoIds) {
  ExpectDifference(ByteLevel(), Set("tokenizer.ggml.eos_token_id", uint32_t{7}),
                   "tokenizer.ggml.eos_token_id is 7 (\"<s>\") in A and 8 (\"</s>\") in B", false);
  ExpectDifference(ByteLevel(), Set("tokenizer.ggml.eot_token_id", uint32_t{8}),
                   "tokenizer.ggml.eot_token_id is 8 (\"</s>\") in A and not there in B", false);
}

TEST(VocabularyDifference, AVocabularyThatContradictsItselfIsAnError) {
  Metadata broken = ByteLevel();
  broken.Set("tokenizer.ggml.token_type", std::vector<int32_t>{1});
  EXPECT_FALSE(CompareVocabularies(ByteLevel(), broken).ok());
  EXPECT_FALSE(CompareVocabularies(broken, ByteLevel()).ok());
}

TEST(VocabularyDifference, Probes) {
  const Metadata m = SentencePiece();
  Metadata other = m;
  other.Set("smelt.tokenizer.normalizer", R"({"type":"Lowercase"})");
  const auto a = GgufTokenizer(m), b = GgufTokenizer(other);
  SMELT_ASSERT_OK(a);
  SMELT_ASSERT_OK(b);
  const auto same = CompareOnProbes(**a, **a), different = CompareOnProbes(**a, **b);
  SMELT_ASSERT_OK(same);
  SMELT_ASSERT_OK(different);
  EXPECT_FALSE(same->has_value());
  ASSERT_TRUE(different->has_value());
  EXPECT_NE((*different)->what.find("of the text"), std::string::npos);
}

}  // namespace
}  // namespace smelt
