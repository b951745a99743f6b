#include "lib/text/published/byte_level_classes.h"

#include <algorithm>
#include <iterator>

#include "lib/base/status.h"
#include "lib/text/components/normalizer.h"

namespace smelt {
namespace {

struct Row {
  std::string_view name;  ///< without "Fast"
  bool nfc;
  std::string_view pattern;  ///< empty: ByteLevel's own
  std::string_view bos, end,
      pad;  ///< defaults of bos_token, of unk_token and eos_token, of pad_token
};

constexpr std::string_view kEnd = "<|endoftext|>";
constexpr Row kClasses[] = {
    {"GPT2Tokenizer", false, "", kEnd, kEnd, ""},
    {"CodeGenTokenizer", false, "", kEnd, kEnd, ""},
    {"GPTNeoXTokenizer", true, "", kEnd, kEnd, "<|padding|>"},
    {"Qwen2Tokenizer", true,
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "", kEnd, kEnd},
};

// Types of models whose class is one of these when no file names one.
constexpr std::pair<std::string_view, std::string_view> kOfModelType[] = {
    {"codegen", "GPT2Tokenizer"},       {"dbrx", "GPT2Tokenizer"},
    {"gpt2", "GPT2Tokenizer"},          {"gpt_neo", "GPT2Tokenizer"},
    {"gptj", "GPT2Tokenizer"},          {"jais2", "GPT2Tokenizer"},
    {"opt", "GPT2Tokenizer"},           {"phi", "GPT2Tokenizer"},
    {"starcoder2", "GPT2Tokenizer"},    {"falcon_mamba", "GPTNeoXTokenizer"},
    {"gpt_neox", "GPTNeoXTokenizer"},   {"mamba", "GPTNeoXTokenizer"},
    {"mamba2", "GPTNeoXTokenizer"},     {"mpt", "GPTNeoXTokenizer"},
    {"olmo", "GPTNeoXTokenizer"},       {"olmoe", "GPTNeoXTokenizer"},
    {"rwkv", "GPTNeoXTokenizer"},       {"qwen2", "Qwen2Tokenizer"},
    {"qwen2_5_vl", "Qwen2Tokenizer"},   {"qwen2_audio", "Qwen2Tokenizer"},
    {"qwen2_moe", "Qwen2Tokenizer"},    {"qwen2_vl", "Qwen2Tokenizer"},
    {"qwen3", "Qwen2Tokenizer"},        {"qwen3_moe", "Qwen2Tokenizer"},
    {"qwen3_next", "Qwen2Tokenizer"},   {"qwen3_vl", "Qwen2Tokenizer"},
    {"qwen3_vl_moe", "Qwen2Tokenizer"},
};

ByteLevelClass Build(const Row& row, bool prefix_space) {
  const auto byte_level = [&](bool use_regex) {
    return Cat(R"({"type":"ByteLevel","add_prefix_space":)", prefix_space ? "true" : "false",
               R"(,"use_regex":)", use_regex ? "true" : "false", "}");
  };
  ByteLevelClass out;
  out.pipeline =
      Cat(R"({"normalizer":)", row.nfc ? R"({"type":"NFC"})" : "null", R"(,"pre_tokenizer":)");
  if (row.pattern.empty()) {
    out.pipeline += byte_level(true);
  } else {
    out.pipeline +=
        Cat(R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)",
            JsonQuote(row.pattern), R"(},"behavior":"Isolated","invert":false},)",
            byte_level(false), "]}");
  }
  out.pipeline +=
      R"(,"post_processor":null,"decoder":{"type":"ByteLevel"},"model":{"type":"BPE"}})";
  for (const auto& [key, text] :
       {std::pair("bos_token", row.bos), std::pair("eos_token", row.end),
        std::pair("unk_token", row.end), std::pair("pad_token", row.pad)}) {
    if (!text.empty()) out.special.emplace_back(key, text);
  }
  return out;
}

}  // namespace

absl::StatusOr<ByteLevelClass> FindByteLevelClass(const JsonValue& tokenizer_config,
                                                  const JsonValue& model_config,
                                                  const std::string& folder) {
  std::string said = TextOf(tokenizer_config, "tokenizer_class");
  if (said.empty()) said = TextOf(model_config, "tokenizer_class");
  std::string_view name = said;
  if (name.ends_with("Fast")) name.remove_suffix(4);
  const std::string type = TextOf(model_config, "model_type");
  if (name.empty()) {
    const auto of_type = std::find_if(std::begin(kOfModelType), std::end(kOfModelType),
                                      [&](const auto& entry) { return entry.first == type; });
    if (of_type != std::end(kOfModelType)) name = of_type->second;
    if (type.empty()) name = kClasses[0].name;
  }
  const auto row = std::find_if(std::begin(kClasses), std::end(kClasses),
                                [&](const Row& r) { return r.name == name; });
  if (row == std::end(kClasses)) {
    return Error(ErrorCode::kUnsupported, folder, ": vocab.json and merges.txt do not say how ",
                 name.empty() ? Cat("a tokenizer of the model_type \"", Escape(type, 60), "\"")
                              : Cat("the tokenizer_class \"", Escape(said, 60), "\""),
                 " cuts a text, and it is none of those that are known; save the tokenizer as "
                 "tokenizer.json, which says it");
  }
  return Build(*row, FlagOf(tokenizer_config, "add_prefix_space", false));
}

}  // namespace smelt
