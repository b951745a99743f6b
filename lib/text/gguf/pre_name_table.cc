// The table of pre-tokenizers' names: llama.cpp's names, and the steps of the models that they were
// made for, each expression as it was published.
#include "lib/text/gguf/pre_names.h"

namespace smelt {
namespace {

using Kind = NamedStep::Kind;

constexpr NamedStep Split(std::string_view regex) { return {.kind = Kind::kSplit, .regex = regex}; }
constexpr NamedStep kGpt2Words = {.kind = Kind::kGpt2Words};
constexpr NamedStep kDigits = {.kind = Kind::kDigits};
constexpr NamedStep kSingleDigits = {.kind = Kind::kSingleDigits};
constexpr NamedStep kPunctuation = {.kind = Kind::kPunctuation};
constexpr NamedStep kSinglePunctuation = {.kind = Kind::kSinglePunctuation};

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

constexpr PreTokenizerName kNames[] = {
    {.name = "gpt-2",
     .same = "mpt olmo jais trillion phi-2 jina-es jina-de jina-v1-en jina-v2-es "
             "jina-v2-de jina-v2-code roberta-bpe gigachat a.x-4.0 mellum modern-bert "
             "exaone4 granite-docling",
     .steps = {kGpt2Words}},
    {.name = "smollm",
     .same = "starcoder refact command-r codeshell exaone minerva-7b mellum2",
     .steps = {kSingleDigits, kGpt2Words}},
    {.name = "llama-bpe",
     .same = "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano "
             "glm4 glm5",
     .ignore_merges = true,
     .steps = {Split(kLlama3)}},
    {.name = "dbrx", .same = "smaug-bpe chatglm-bpe", .steps = {Split(kLlama3)}},
    {.name = "qwen2",
     .same = "stablelm2 deepseek-r1-qwen megrez hunyuan kormo f2llmv2 grok-2 "
             "solar-open",
     .steps = {Split(kQwen2)}},
    {.name = "qwen35",
     .steps = {Split(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                     R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)")}},
    {.name = "gpt-4o", .same = "llama4 kanana2 talkie minimax-m2", .steps = {Split(kGpt4o)}},
    {.name = "granite-embed-multi-97m", .ignore_merges = true, .steps = {Split(kGpt4o)}},
    {.name = "tekken",
     .ignore_merges = true,
     .steps = {Split(R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*)"
                     R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)"
                     R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)")}},
    {.name = "kimi-k2", .steps = {Split(kKimi)}},
    {.name = "deepseek-v3",
     .same = "hunyuan-dense joyai-llm hy_v4",
     .steps = {Split(R"(\p{N}{1,3})"), Split(kHanAndKana),
               Split(R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
                     R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
                     R"( ?[\p{P}\p{S}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)")}},
    {.name = "spark2_5",
     .steps = {Split(R"(\p{N}{1,3})"), Split(kHanAndKana),
               Split(R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
                     R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
                     R"( ?[\p{P}\p{S}]+|)"
                     R"([\r\n]|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
               Split(R"(\p{N})")}},
    {.name = "deepseek-llm",
     .steps = {Split(R"([\r\n])"), Split(kCasedLetters),
               Split(R"(\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+)"),
               Split(R"(\s+$)"), Split(kHanAndHangul), kSingleDigits}},
    {.name = "deepseek-coder",
     .steps = {Split(R"([\r\n])"), Split(R"(\s?\p{L}+)"), Split(R"(\s?\p{P}+)"),
               Split(kHanAndHangul), kSingleDigits}},
    {.name = "youtu",
     .ignore_merges = true,
     .steps = {Split(R"([\uac00-\ud7a3\u3131-\u318e]+|)"
                     R"([\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f)"
                     R"(\ufe30-\ufe4f]+|)"
                     R"([\u3105-\u312f]+|)"
                     R"([\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+)"),
               Split(
                   R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                   R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
                   R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                   R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
                   R"(\p{N}|)"
                   R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|)"
                   R"(\s*[\r\n]+|)"
                   R"(\s+(?!\S)|)"
                   R"(\s+)")}},
    {.name = "bailingmoe",
     .same = "bailingmoe2 llada-moe",
     .steps = {Split(R"('(?i:[sdmt]|ll|ve|re)|)"
                     R"([^\r\n\p{L}\p{N}]?+\p{L}+|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]++[\r\n]*|)"
                     R"(\s*[\r\n]|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)")}},
    {.name = "seed-coder",
     .steps = {Split(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                     R"([^\r\n\p{L}\p{N}]?\p{L}+|)"
                     R"(\p{N}{1}|)"
                     R"( ?[^\s\p{L}\p{N}\r\n]+|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)")}},
    {.name = "ufakzeka",
     .steps = {Split(R"([^\r\n\p{L}\p{N}]?\p{L}+|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                     R"(\s*[\r\n]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)")}},
    {.name = "exaone-moe",
     .steps = {Split(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                     R"([^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|)"
                     R"(\p{N}|)"
                     R"( ?[^\s\p{L}\p{N}]+[\r\n/]?|)"
                     R"(\s*[\r\n]|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)")}},
    {.name = "minicpm5",
     .ignore_merges = true,
     .steps = {Split(R"(\p{N}{1,3})"), Split(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|)"
                                             R"([^\r\n\p{L}\p{N}]?\p{L}+|)"
                                             R"(\p{N}+|)"
                                             R"( ?[^\s\p{L}\p{N}]+[\r\n]*|)"
                                             R"(\s*[\r\n]+|)"
                                             R"(\s+(?!\S)|)"
                                             R"(\s+)")}},
    {.name = "laguna",
     .steps = {Split(R"([^\n]+|)"
                     R"([\n]+)"),
               Split(kQwen2)}},
    {.name = "bloom", .same = "poro-chat gpt3-finnish", .steps = {Split(kBloom)}},
    {.name = "viking", .steps = {Split(kBloom), kSingleDigits}},
    {.name = "chameleon",
     .steps = {Split(R"(<sentinel:[0-9]+>)"), Split(R"((IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z)"),
               Split(R"(([\t\n]|    |  ))"), kSingleDigits, kSinglePunctuation, kGpt2Words}},
    {.name = "falcon", .steps = {kPunctuation, kGpt2Words, kDigits, Split(R"([0-9][0-9][0-9])")}},
    // What llama.cpp takes where a file has no name: digits are looked for in the text itself.
    {.name = "default",
     .steps = {Split(R"([\p{P}$+<=>^~|]+)"),
               Split(R"('s|'t|'re|'ve|'m|'ll|'d|)"
                     R"( ?\p{L}+|)"
                     R"( ?\p{N}+|)"
                     R"( ?[^\s\p{L}\p{N}]+|)"
                     R"(\s+(?!\S)|)"
                     R"(\s+)"),
               Split(R"(\p{N}+)"), Split(R"([0-9][0-9][0-9])")}},
};

}  // namespace

std::span<const PreTokenizerName> PreTokenizerTable() { return kNames; }

}  // namespace smelt
