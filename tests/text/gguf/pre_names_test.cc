// Every name of a pre-tokenizer against llama.cpp: ids of texts that are hard to cut, under small
// vocabularies that show where they were cut (testdata/pre_tokenizers).
#include "lib/text/gguf/pre_names.h"

#include <set>

#include "lib/base/cat.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

const JsonValue& Record() {
  static const JsonValue record = ReadJson(TestdataPath("pre_tokenizers/names.json"));
  return record;
}

const JsonValue::Array& List(const JsonValue& value, std::string_view key) {
  return *value.Find(key)->as_array();
}

std::vector<std::string> TextsOf(const JsonValue& value, std::string_view key) {
  std::vector<std::string> out;
  for (const JsonValue& text : List(value, key)) out.push_back(*text.as_string());
  return out;
}

/// Vocabulary number `v` of the record as a GGUF file has it: the bytes, what merges make, whole
/// words, an end.
Metadata Vocabulary(size_t v, const std::string& name) {
  const auto spelled = [](std::string_view bytes) {
    std::string out;
    AppendByteLevel(out, bytes);
    return out;
  };
  std::vector<std::string> tokens, merges;
  for (int b = 0; b < 256; ++b) tokens.push_back(spelled(std::string(1, static_cast<char>(b))));
  std::set<std::string> known(tokens.begin(), tokens.end());
  const std::vector<int32_t> pairs = IntList(List(Record(), "vocabularies")[v]);
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const std::string left = tokens[static_cast<size_t>(pairs[i])];
    const std::string right = tokens[static_cast<size_t>(pairs[i + 1])];
    merges.push_back(Cat(left, " ", right));
    if (known.insert(left + right).second) tokens.push_back(left + right);
  }
  for (const std::string& word : TextsOf(Record(), "words")) tokens.push_back(spelled(word));
  const auto end = static_cast<uint32_t>(tokens.size());
  tokens.push_back("<|end of text|>");
  std::vector<int32_t> types(tokens.size(), 1);
  types.back() = 3;
  Metadata out;
  out.Set("tokenizer.ggml.model", "gpt2");
  if (!name.empty()) out.Set("tokenizer.ggml.pre", name);
  out.Set("tokenizer.ggml.tokens", std::move(tokens));
  out.Set("tokenizer.ggml.token_type", std::move(types));
  out.Set("tokenizer.ggml.merges", std::move(merges));
  out.Set("tokenizer.ggml.bos_token_id", end);
  out.Set("tokenizer.ggml.eos_token_id", end);
  return out;
}

/// What a name gives for every text of vocabulary `v`: llama.cpp's ids, but where the published
/// tokenizers of that name are known to cut otherwise, theirs.
std::vector<std::vector<int32_t>> Expected(const JsonValue& meaning, const std::string& name,
                                           size_t v) {
  const JsonValue::Array& outcomes = *List(Record(), "ids")[v].as_array();
  const std::vector<int32_t> which = IntList(*meaning.Find("which"));
  std::vector<std::vector<int32_t>> out;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const auto outcome = static_cast<size_t>(which[v * outcomes.size() + i]);
    out.push_back(IntList((*outcomes[i].as_array())[outcome]));
  }
  for (const JsonValue& difference : List(Record(), "differences")) {
    const std::vector<std::string> names = TextsOf(difference, "names");
    if (std::find(names.begin(), names.end(), name) == names.end()) continue;
    const std::vector<int32_t> texts = IntList(*difference.Find("texts"));
    const JsonValue::Array& ids = *List(difference, "ids")[v].as_array();
    for (size_t i = 0; i < texts.size(); ++i) out[static_cast<size_t>(texts[i])] = IntList(ids[i]);
  }
  return out;
}

void ExpectIds(const JsonValue& meaning, const std::string& recorded, const std::string& name) {
  const std::vector<std::string> texts = TextsOf(Record(), "texts");
  for (size_t v = 0; v < List(Record(), "vocabularies").size(); ++v) {
    const auto tokenizer = GgufTokenizer(Vocabulary(v, name));
    SMELT_ASSERT_OK(tokenizer);
    EXPECT_EQ((*tokenizer)->adds_bos(), *meaning.Find("begins")->as_bool());
    const std::vector<std::vector<int32_t>> expected = Expected(meaning, recorded, v);
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto ids = (*tokenizer)->Encode(texts[i], {.add_special = false});
      SMELT_ASSERT_OK(ids);
      EXPECT_EQ(*ids, expected[i]) << JsonQuote(texts[i]) << ", vocabulary " << v;
    }
  }
}

TEST(PreTokenizerNames, CutTextsAsLlamaCppDoes) {
  for (const JsonValue& meaning : List(Record(), "meanings")) {
    for (const std::string& name : TextsOf(meaning, "names")) {
      SCOPED_TRACE(name);
      ExpectIds(meaning, name, name);
    }
  }
}

TEST(PreTokenizerNames, AFileWithoutANameHasTheDefault) {
  for (const JsonValue& meaning : List(Record(), "meanings")) {
    if (TextsOf(meaning, "names")[0] == "default") ExpectIds(meaning, "default", "");
  }
}

// A name that the record lacks would be compared with nothing.
TEST(PreTokenizerNames, AreAllRecorded) {
  std::set<std::string> recorded, known;
  for (const std::string& name : TextsOf(Record(), "newer")) recorded.insert(name);
  for (const JsonValue& meaning : List(Record(), "meanings")) {
    for (const std::string& name : TextsOf(meaning, "names")) recorded.insert(name);
  }
  for (const PreTokenizerName& row : PreTokenizerTable()) {
    if (!row.known) continue;
    std::string_view names = row.same;
    known.emplace(row.name);
    while (!names.empty()) {
      const size_t end = std::min(names.find(' '), names.size());
      known.emplace(names.substr(0, end));
      names.remove_prefix(std::min(names.size(), end + 1));
    }
  }
  EXPECT_EQ(known, recorded);
}

}  // namespace
}  // namespace smelt::testing
