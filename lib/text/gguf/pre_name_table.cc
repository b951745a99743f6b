// The table of pre-tokenizers' names: llama.cpp's names, and the steps of the models that they were
// made for, each expression as it was published.
#include "lib/text/gguf/pre_names.h"

namespace smelt {
namespace {

PreTokenizerStep Cut(std::string_view regex) {
  return Split{.pattern = {.text = std::string(regex), .is_regex = true}};
}

// Expressions of several names.
constexpr char kLlama3[] = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                           R"([^\r\n\p{L}\p{N}]?\p{L}+|)"
                           R"(\p{N}{1,3}|)"
                           R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                           R"(\s*[\r\n]+|)"
                           R"(\s+(?!\S)|)"
                           R"(\s+)";

constexpr char kQwen2[] = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                          R"([^\r\n\p{L}\p{N}]?\p{L}+|)"
                          R"(\p{N}|)"
                          R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                          R"(\s*[\r\n]+|)"
                          R"(\s+(?!\S)|)"
                          R"(\s+)";

constexpr char kGpt4o[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|)"
    R"(\s*[\r\n]+|)"
    R"(\s+(?!\S)|)"
    R"(\s+)";

constexpr char kKimi[] = R"([\p{Han}]+|)"
                         R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
                         R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
                         R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
                         R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
                         R"(\p{N}{1,3}|)"
                         R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                         R"(\s*[\r\n]+|)"
                         R"(\s+(?!\S)|)"
                         R"(\s+)";

constexpr char kHanAndKana[] = R"([\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+)";

constexpr char kCasedLetters[] =
    R"(\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf)"
    R"(\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386)"
    R"(\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f)"
    R"(\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba)"
    R"(\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15)"
    R"(\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d)"
    R"(\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc)"
    R"(\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102)"
    R"(\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d)"
    R"(\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b)"
    R"(\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b)"
    R"(\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06)"
    R"(\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\x{10400}-\x{1044f})"
    R"(\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2})"
    R"(\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+)";

constexpr char kHanAndHangul[] = R"([\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+)";

constexpr char kBloom[] = R"( ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+)";

// What llama.cpp's own expressions cut elsewhere.
constexpr std::string_view kMarks =
    "words with combining marks (Hindi, Bengali, Thai, pointed Hebrew, ...)";
constexpr std::string_view kCapitalsBeyondAscii = "capitals inside words, other than A to Z";
constexpr std::string_view kCapitals = "capitals inside words";

std::vector<PreTokenizerName> MakeTable() {
  const PreTokenizerStep gpt2 = ByteLevel{.add_prefix_space = false, .use_regex = true};
  const PreTokenizerStep bytes = ByteLevel{.add_prefix_space = false, .use_regex = false};
  const PreTokenizerStep digits = Digits{.individual = false};
  const PreTokenizerStep single_digits = Digits{.individual = true};
  const PreTokenizerStep punctuation = Punctuation{.behavior = SplitBehavior::kContiguous};
  const PreTokenizerStep single_punctuation = Punctuation{.behavior = SplitBehavior::kIsolated};
  return {
      {.name = "gpt-2",
       .same = "mpt olmo jais trillion phi-2 jina-es jina-de jina-v1-en jina-v2-es "
               "jina-v2-de jina-v2-code roberta-bpe gigachat a.x-4.0 mellum modern-bert "
               "exaone4 granite-docling",
       .steps = {gpt2}},
      {.name = "smollm",
       .same = "starcoder refact command-r codeshell exaone minerva-7b mellum2",
       .steps = {single_digits, gpt2}},
      {.name = "llama-bpe",
       .same = "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano "
               "glm4 glm5",
       .begins_texts = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 "
                       "jina-v5-nano",
       .ignore_merges = true,
       .steps = {Cut(kLlama3), bytes}},
      {.name = "dbrx", .same = "smaug-bpe chatglm-bpe", .steps = {Cut(kLlama3), bytes}},
      {.name = "qwen2",
       .same = "stablelm2 deepseek-r1-qwen megrez hunyuan kormo f2llmv2 grok-2 "
               "solar-open",
       .steps = {Cut(kQwen2), bytes}},
      {.name = "qwen35",
       .steps = {Cut(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                     R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 bytes}},
      {.name = "gpt-4o",
       .same = "llama4 kanana2 talkie minimax-m2",
       .steps = {Cut(kGpt4o), bytes},
       .llama_differs = {kMarks, kCapitalsBeyondAscii}},
      {.name = "granite-embed-multi-97m",
       .ignore_merges = true,
       .steps = {Cut(kGpt4o), bytes},
       .llama_differs = {kCapitalsBeyondAscii}},
      {.name = "tekken",
       .begins_texts = "tekken",
       .ignore_merges = true,
       .steps = {Cut(R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*)"
                     R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
                     R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 bytes},
       .llama_differs = {kMarks, kCapitalsBeyondAscii}},
      {.name = "kimi-k2", .steps = {Cut(kKimi), bytes}, .llama_differs = {kMarks, kCapitals}},
      {.name = "deepseek-v3",
       .same = "hunyuan-dense joyai-llm hy_v4",
       .steps = {Cut(R"(\p{N}{1,3})"), Cut(kHanAndKana),
                 Cut(R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
                     R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
                     R"( ?[\p{P}\p{S}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 bytes}},
      {.name = "spark2_5",
       .steps = {Cut(R"(\p{N}{1,3})"), Cut(kHanAndKana),
                 Cut(R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
                     R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
                     R"( ?[\p{P}\p{S}]+|)"
                     R"([\r\n]|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 Cut(R"(\p{N})"), bytes}},
      {.name = "deepseek-llm",
       .steps = {Cut(R"([\r\n])"), Cut(kCasedLetters),
                 Cut(R"(\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+)"),
                 Cut(R"(\s+$)"), Cut(kHanAndHangul), single_digits, bytes}},
      {.name = "deepseek-coder",
       .steps = {Cut(R"([\r\n])"), Cut(R"(\s?\p{L}+)"), Cut(R"(\s?\p{P}+)"), Cut(kHanAndHangul),
                 single_digits, bytes}},
      {.name = "youtu",
       .ignore_merges = true,
       .steps =
           {Cut(R"([\uac00-\ud7a3\u3131-\u318e]+|)"
                R"([\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f)"
                R"(\ufe30-\ufe4f]+|)"
                R"([\u3105-\u312f]+|)"
                R"([\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+)"),
            Cut(R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
                R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
                R"(\p{N}|)"
                R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|)"
                R"(\s*[\r\n]+|)"
                R"(\s+(?!\S)|)"
                R"(\s+)"),
            bytes},
       .llama_differs = {kCapitals}},
      {.name = "bailingmoe",
       .same = "bailingmoe2 llada-moe",
       .steps = {Cut(R"('(?i:[sdmt]|ll|ve|re)|)"
                     R"([^\r\n\p{L}\p{N}]?+\p{L}+|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]++[\r\n]*|)"
                     R"(\s*[\r\n]|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 bytes}},
      {.name = "seed-coder",
       .steps = {Cut(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                     R"([^\r\n\p{L}\p{N}]?\p{L}+|)"
                     R"(\p{N}{1}|)"
                     R"( ?[^\s\p{L}\p{N}\r\n]+|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 bytes}},
      {.name = "ufakzeka",
       .steps = {Cut(R"([^\r\n\p{L}\p{N}]?\p{L}+|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 bytes}},
      {.name = "exaone-moe",
       .steps = {Cut(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                     R"([^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]+[\r\n/]?|)"
                     R"(\s*[\r\n]|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 bytes}},
      {.name = "minicpm5",
       .ignore_merges = true,
       .steps = {Cut(R"(\p{N}{1,3})"),
                 Cut(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                     R"([^\r\n\p{L}\p{N}]?\p{L}+|)"
                     R"(\p{N}+|)"
                     R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 bytes}},
      {.name = "laguna",
       .steps = {Cut(R"([^\n]+|)"
                     R"([\n]+)"),
                 Cut(kQwen2), bytes}},
      {.name = "bloom", .same = "poro-chat gpt3-finnish", .steps = {Cut(kBloom), bytes}},
      {.name = "viking", .steps = {Cut(kBloom), single_digits, bytes}},
      {.name = "chameleon",
       .begins_texts = "chameleon",
       .steps = {Cut(R"(<sentinel:[0-9]+>)"), Cut(R"((IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z)"),
                 Cut(R"(([\t\n]|    |  ))"), single_digits, single_punctuation, gpt2}},
      {.name = "falcon", .steps = {punctuation, gpt2, digits, Cut(R"([0-9][0-9][0-9])")}},
      // What llama.cpp takes where a file has no name: digits are looked for in the text itself.
      {.name = "default",
       .steps = {Cut(R"([\p{P}$+<=>^~|]+)"),
                 Cut(R"('s|'t|'re|'ve|'m|'ll|'d|)"
                     R"( ?\p{L}+|)"
                     R"( ?\p{N}+|)"
                     R"( ?[^\s\p{L}\p{N}]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
                 Cut(R"(\p{N}+)"), Cut(R"([0-9][0-9][0-9])"), bytes}},
      {.name = "superbpe", .known = false},
      {.name = "afmoe", .known = false},
      {.name = "tiny_aya", .known = false},
      {.name = "cohere2moe", .known = false},
      {.name = "jais-2", .known = false},
  };
}

}  // namespace

std::span<const PreTokenizerName> PreTokenizerTable() {
  static const std::vector<PreTokenizerName> table = MakeTable();
  return table;
}

}  // namespace smelt
