// tokenizer.* keys against those that llama.cpp's converter wrote for the same folders.
#include <cstring>
#include <map>
#include <unordered_set>

#include "lib/base/hash.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/gguf/spec_reader.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

// An array as it lies in a GGUF file.
std::string RawBytes(const MetadataValue& value) {
  std::string raw;
  if (const auto* texts = value.get_if<std::vector<std::string>>()) {
    for (const std::string& text : *texts) {
      const uint64_t size = text.size();
      raw.append(reinterpret_cast<const char*>(&size), sizeof size);
      raw += text;
    }
  } else if (const auto* ints = value.get_if<std::vector<int32_t>>()) {
    raw.assign(reinterpret_cast<const char*>(ints->data()), ints->size() * 4);
  } else if (const auto* floats = value.get_if<std::vector<float>>()) {
    raw.assign(reinterpret_cast<const char*>(floats->data()), floats->size() * 4);
  }
  return raw;
}

std::string Sha(const std::string& bytes) { return Sha256Hex(std::as_bytes(std::span(bytes))); }

void ExpectKey(const JsonValue& want, const Metadata& got, const std::string& model) {
  const std::string key = *want.Find("key")->as_string();
  const MetadataValue* value = got.Find(key);
  ASSERT_NE(value, nullptr) << model << " lacks " << key;
  if (const JsonValue* length = want.Find("length")) {
    EXPECT_EQ(static_cast<int64_t>(value->size()), *length->as_int()) << model << " " << key;
    EXPECT_EQ(Sha(RawBytes(*value)), *want.Find("sha256_raw")->as_string()) << model << " " << key;
    return;
  }
  const JsonValue& expected = *want.Find("value");
  if (expected.is_bool()) {
    EXPECT_EQ(value->AsBool(), *expected.as_bool()) << model << " " << key;
  } else if (expected.is_int()) {
    EXPECT_EQ(value->type(), ValueType::kU32) << model << " " << key;
    EXPECT_EQ(value->IntAt(0), *expected.as_int()) << model << " " << key;
  } else if (expected.is_string()) {
    ASSERT_NE(value->AsString(), nullptr);
    EXPECT_EQ(*value->AsString(), *expected.as_string()) << model << " " << key;
  }
}

struct Model {
  const char* name;
  const char* architecture;
  bool same_pre;  ///< false: the recorded pre-tokenizer name is another one with the same meaning
};

TEST(GgufKeys, AreThoseOfTheConverter) {
  SMELT_REQUIRE_SHARED();
  constexpr Model kModels[] = {
      {"llama", "llama", true},           {"llama-spm", "llama", true}, {"gpt2", "gpt2", true},
      {"gptneox", "gptneox", false},      {"qwen2", "qwen2", true},     {"qwen3", "qwen3", true},
      {"gemma", "gemma", true},           {"gemma2", "gemma2", true},   {"gemma3", "gemma3", true},
      {"mistral", "llama", true},         {"mixtral", "llama", true},   {"phi3", "phi3", true},
      {"jamba", "jamba", true},           {"mamba", "mamba", true},     {"olmo2", "olmo2", true},
      {"starcoder2", "starcoder2", false}};
  for (const Model& model : kModels) {
    const std::string folder = SharedPath("fixtures/models/" + std::string(model.name));
    const JsonValue expected = ReadJson(folder + "/expected_gguf.json");
    const JsonValue config = ReadJson(folder + "/config.json");
    VocabularyOptions options;
    options.architecture = model.architecture;
    const auto id = [&](const char* key) {
      const JsonValue* value = config.FindNonNull(key);
      return value == nullptr ? std::optional<int64_t>() : value->as_int();
    };
    options.config_ids = {id("bos_token_id"), id("eos_token_id"), id("unk_token_id"),
                          id("sep_token_id"), id("pad_token_id"), id("mask_token_id")};
    for (const JsonValue& kv : *expected.Find("kv")->as_array()) {
      if (*kv.Find("key")->as_string() == "tokenizer.ggml.tokens")
        options.rows = static_cast<uint64_t>(*kv.Find("length")->as_int());
    }
    const auto published = OpenPublishedTokenizer(folder);
    SMELT_ASSERT_OK(published);
    Metadata got;
    std::vector<std::string> notes;
    SMELT_ASSERT_OK(WriteVocabulary(**published, options, got, notes));
    int keys = 0;
    for (const JsonValue& kv : *expected.Find("kv")->as_array()) {
      const std::string key = *kv.Find("key")->as_string();
      if (!key.starts_with("tokenizer.") || (!model.same_pre && key == "tokenizer.ggml.pre"))
        continue;
      ExpectKey(kv, got, model.name);
      ++keys;
    }
    int written = 0;
    for (const Metadata::Entry& entry : got.entries()) {
      if (entry.key.starts_with("tokenizer.") &&
          (model.same_pre || entry.key != "tokenizer.ggml.pre"))
        ++written;
    }
    EXPECT_EQ(written, keys) << model.name << " has keys that the converter does not write";
  }
}

// Of this kind llama.cpp refuses a file, or gives other ids, where one of them is missing.
TEST(GgufKeys, WithoutWhichTheKindGemma4IsRefused) {
  SMELT_REQUIRE_SHARED();
  const auto published = OpenPublishedTokenizer(SharedPath("fixtures/models/gemma4"));
  SMELT_ASSERT_OK(published);
  Metadata whole;
  std::vector<std::string> notes;
  VocabularyOptions options;
  options.rows = (*published)->size();
  options.architecture = kGemma4;
  SMELT_ASSERT_OK(WriteVocabulary(**published, options, whole, notes));
  const auto read = [](const Metadata& metadata) -> absl::Status {
    const auto vocabulary = ReadGgufVocabulary(metadata);
    return vocabulary.ok() ? ReadSpec(metadata, *vocabulary).status() : vocabulary.status();
  };
  SMELT_EXPECT_OK(read(whole));
  for (const char* key :
       {"tokenizer.ggml.merges", "tokenizer.ggml.token_type", "tokenizer.ggml.bos_token_id"}) {
    Metadata without = whole;
    ASSERT_TRUE(without.Erase(key));
    const absl::Status status = read(without);
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << key;
    EXPECT_NE(status.message().find(key), absl::string_view::npos) << status;
  }
}

// As in llama.cpp: where <|return|> and <|call|> end answers, <|end|> ends one of their messages.
TEST(GenerationEnds, OfVocabulariesWithMessages) {
  std::vector<std::string> tokens = {"<|end|>", "<|return|>", "<|call|>", "a"};
  GgufVocabulary vocabulary;
  vocabulary.tokens = &tokens;
  vocabulary.types = {PieceType::kControl, PieceType::kControl, PieceType::kControl,
                      PieceType::kNormal};
  vocabulary.eos = 1;
  EXPECT_EQ(EndsOf(vocabulary), (std::unordered_set<int32_t>{1, 2}));
  tokens[2] = "<|none|>";
  EXPECT_EQ(EndsOf(vocabulary), (std::unordered_set<int32_t>{0, 1}));
}

}  // namespace
}  // namespace smelt::testing
