// Long and nasty texts: work that grows with the text and not with its square, and the same ids
// from the published tokenizer and from the vocabulary written from it.
#include <chrono>
#include <filesystem>
#include <map>
#include <random>

#include "lib/base/status.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/models/merges.h"
#include "lib/text/published/published_tokenizer.h"
#include "lib/text/regex/regex_parser.h"
#include "lib/text/spec/component_json.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TestdataPath;

// Merges of ids below kIds: any pair may have one.
constexpr int32_t kIds = 12;
using Rules = std::map<std::pair<int32_t, int32_t>, Merge>;

Rules RandomRules(std::mt19937& random) {
  Rules rules;
  uint32_t rank = 0;
  for (int i = 0; i < 40; ++i) {
    // Results may have lower ids than the parts, and ranks come in any order.
    const auto pick = [&] { return static_cast<int32_t>(random() % kIds); };
    rules[{pick(), pick()}] = {rank++, pick()};
  }
  return rules;
}

template <typename Queue>
std::vector<int32_t> MergeThrough(const std::vector<int32_t>& ids, const Rules& rules) {
  SymbolList symbols;
  for (const int32_t id : ids) symbols.Add(id);
  Queue queue;
  MergeWith(queue, symbols, [&](uint32_t left, uint32_t right) -> const Merge* {
    const auto rule = rules.find({symbols.id(left), symbols.id(right)});
    return rule == rules.end() ? nullptr : &rule->second;
  });
  std::vector<int32_t> out;
  for (uint32_t i = 0; i < symbols.size(); i = symbols.Next(i)) out.push_back(symbols.id(i));
  return out;
}

// The definition: the lowest rank first, the leftmost of equals.
std::vector<int32_t> MergePlainly(std::vector<int32_t> ids, const Rules& rules) {
  while (true) {
    const Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto rule = rules.find({ids[i], ids[i + 1]});
      if (rule == rules.end() || (best != nullptr && best->rank <= rule->second.rank)) continue;
      best = &rule->second;
      at = i;
    }
    if (best == nullptr) return ids;
    ids[at] = best->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Merging, QueuesGiveWhatTheDefinitionGives) {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    const Rules rules = RandomRules(random);
    std::vector<int32_t> ids(1 + random() % 60);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % (round % 2 == 0 ? 2 : kIds));
    const std::vector<int32_t> want = MergePlainly(ids, rules);
    ASSERT_EQ(MergeThrough<PairHeap>(ids, rules), want) << "heap, round " << round;
    ASSERT_EQ(MergeThrough<PairLists>(ids, rules), want) << "lists, round " << round;
    if (ids.size() > MergeTable::kShort) continue;
    MergeTable table;
    for (const auto& [pair, merge] : rules) table.Set(pair.first, pair.second, merge);
    std::vector<int32_t> merged = ids;
    merged.resize(table.MergeShort(merged.data(), merged.size()));
    ASSERT_EQ(merged, want) << "short, round " << round;
  }
}

TEST(Merging, LooksGrowWithTheText) {
  // a a -> aa, aa aa -> aaaa, ...: as vocabularies have for spaces and letters.
  const auto looks = [](size_t letters) {
    SymbolList symbols;
    for (size_t i = 0; i < letters; ++i) symbols.Add(0);
    size_t count = 0;
    std::vector<Merge> merges;
    for (int32_t i = 0; i < 8; ++i) merges.push_back({static_cast<uint32_t>(i), i + 1});
    MergeSymbols(symbols, [&](uint32_t left, uint32_t right) -> const Merge* {
      ++count;
      const int32_t id = symbols.id(left);
      return id == symbols.id(right) && id < 8 ? &merges[static_cast<size_t>(id)] : nullptr;
    });
    return count;
  };
  for (const size_t letters : {1000u, 100'000u, 1'000'000u}) EXPECT_LT(looks(letters), 8 * letters);
}

TEST(RegexDfa, ReadsAheadOnceNotFromEveryPlace) {
  // Every attempt has to look for a "b" to the end of the text before it takes one letter, in
  // several states by turns.
  for (const char* pattern : {"a*b|a", "(?:aa)*b|a", "(?:aaa)*b|a", "a*b", "(?:aa)*ab"}) {
    const auto node = ParseRegex(pattern);
    SMELT_ASSERT_OK(node);
    const auto dfa = RegexDfa::Compile(*node);
    SMELT_ASSERT_OK(dfa);
    const std::string text(100'000, 'a');
    RegexDfa::Memo memo;
    for (size_t at = 0; at < text.size(); ++at) {
      const size_t want = std::string_view(pattern).ends_with("|a") ? at + 1 : RegexDfa::npos;
      ASSERT_EQ(dfa->MatchAt(text, at, memo), want) << pattern;
    }
    EXPECT_LT(memo.bytes_read(), 100 * text.size()) << pattern;
  }
}

TEST(RegexDfa, WhatWasLearnedChangesNoMatch) {
  std::mt19937 random(7);
  for (const char* pattern :
       {"a*b|a", "(?:aa)*b|a", "(?:ab?)+c|ab|b", R"(\s*[\r\n]+|\s+(?!\S)|\s+)", "(?:a|b)*c|a|b",
        "(?:aab|aba?)*c|a|b"}) {
    const auto node = ParseRegex(pattern);
    SMELT_ASSERT_OK(node);
    const auto dfa = RegexDfa::Compile(*node);
    SMELT_ASSERT_OK(dfa);
    for (int round = 0; round < 40; ++round) {
      std::string text;
      for (int run = 0; run < 4; ++run) {
        text.append(random() % 300, "ab "[random() % 3]);
        text.push_back("abc\n "[random() % 5]);
      }
      RegexDfa::Memo memo;
      for (size_t at = 0; at < text.size(); ++at) {
        RegexDfa::Memo nothing;
        ASSERT_EQ(dfa->MatchAt(text, at, memo), dfa->MatchAt(text, at, nothing))
            << pattern << " at " << at << " of " << text;
      }
    }
  }
}

// 200 kB of one thing each: what is linear takes milliseconds, what is quadratic a minute.
constexpr size_t kSize = 200'000;
constexpr double kPatience = 10;  // seconds

std::string Repeated(std::string_view part) {
  std::string text;
  while (text.size() + part.size() <= kSize) text += part;
  return text;
}

std::vector<std::string> NastyTexts() {
  std::vector<std::string> texts;
  for (const char* part : {"a", " ", "\n", "1", "-", "A", "'", " \t", "\xe2\x96\x81",
                           "\xf0\x9f\x8f\xbb", "\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd", "\xcc\x81",
                           "\xcc\x81\xcc\x96", "\xe4\xb8\xad", "\xe2\x80\x8d"}) {
    texts.push_back(Repeated(part));
  }
  texts.push_back(Repeated(std::string(3000, ' ') + "x"));
  return texts;
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(PreTokenizers, CutNastyTextsInLinearTimeAndAlike) {
  std::string names = KnownPreTokenizers() + ", ";
  const std::vector<std::string> texts = NastyTexts();
  while (!names.empty()) {
    const std::string name = names.substr(0, names.find(", "));
    names.erase(0, name.size() + 2);
    const std::vector<PreTokenizerStep>& steps = FindPreTokenizer(name)->steps;
    const auto compiled = PreTokenizer::Make(steps, RegexEngine::kAny);
    const auto pcre = PreTokenizer::Make(steps, RegexEngine::kPcreOnly);
    SMELT_ASSERT_OK(compiled);
    // PCRE2 goes back over every run of blanks for an expression that ends in $.
    const bool twin = ToJson(steps).find("$\"}") == std::string::npos;
    if (twin) {
      SMELT_ASSERT_OK(pcre);
    }
    for (const std::string& text : texts) {
      std::vector<size_t> cuts[2];
      for (const bool second : {false, true}) {
        if (second && !twin) continue;
        const auto start = std::chrono::steady_clock::now();
        SMELT_EXPECT_OK((second ? *pcre : *compiled)
                            .Split({text, true},
                                   [&](TextPiece piece) {
                                     cuts[second].push_back(piece.text.size());
                                     return absl::OkStatus();
                                   }))
            << name << " " << Escape(text.substr(0, 8));
        EXPECT_LT(SecondsSince(start), kPatience) << name << " " << Escape(text.substr(0, 8));
      }
      if (!twin) continue;
      EXPECT_EQ(cuts[0], cuts[1]) << name << " " << Escape(text.substr(0, 8));
    }
  }
}

class LongTexts : public ::testing::TestWithParam<const char*> {};

TEST_P(LongTexts, TakeLinearTimeAndGiveTheSameIds) {
  const auto published = OpenPublishedTokenizer(TestdataPath(Cat("tokenizers-small/", GetParam())));
  SMELT_ASSERT_OK(published);
  Metadata metadata;
  std::vector<std::string> notes;
  VocabularyOptions options;
  if (GetParam() == std::string("bl-nfkc-added-flags")) options.pre = "smollm";
  SMELT_ASSERT_OK(WriteVocabulary(**published, options, metadata, notes));
  const auto gguf = GgufTokenizer(metadata);
  SMELT_ASSERT_OK(gguf);
  std::vector<std::string> texts = NastyTexts();
  // The longest token without its end, again and again.
  std::string longest;
  for (size_t id = 0; id < (*published)->size(); ++id) {
    const std::string piece = (*published)->Piece(static_cast<int32_t>(id));
    if (piece.size() > longest.size()) longest = piece;
  }
  while (longest.size() > 1 && (static_cast<unsigned char>(longest.back()) & 0xc0) == 0x80)
    longest.pop_back();
  longest.pop_back();
  if (!longest.empty()) texts.push_back(Repeated(longest));
  for (const std::string& text : texts) {
    const auto start = std::chrono::steady_clock::now();
    const auto a = (*published)->Encode(text, {}), b = (*gguf)->Encode(text, {});
    EXPECT_LT(SecondsSince(start), 2 * kPatience) << Escape(text.substr(0, 8));
    SMELT_ASSERT_OK(a);
    SMELT_ASSERT_OK(b);
    EXPECT_TRUE(*a == *b) << Escape(text.substr(0, 8));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, LongTexts,
                         ::testing::Values("bl-nfc-split", "bl-nfkc-added-flags", "bl-punct-digits",
                                           "bl-split-ignore-merges", "spm-gemma", "spm-legacy",
                                           "spm-bpe-suffix", "spm-unigram-rules",
                                           "unigram-precompiled", "wordpiece-bert"));

}  // namespace
}  // namespace smelt
