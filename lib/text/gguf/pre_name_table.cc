// The table of pre-tokenizers' names: llama.cpp's names, and the pipelines of the models that they
// were made for.
#include "lib/text/gguf/pre_names.h"

namespace smelt {
namespace {

#define SMELT_BYTES R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})"
#define SMELT_SPLIT(regex) \
  R"({"type":"Split","pattern":{"Regex":")" regex R"("},"behavior":"Isolated","invert":false})"
#define SMELT_SEQUENCE(steps) R"({"type":"Sequence","pretokenizers":[)" steps "]}"
#define SMELT_LIST(steps) SMELT_SEQUENCE(steps "," SMELT_BYTES)
#define SMELT_GPT2 R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})"
#define SMELT_GPT2_SPLIT \
  R"('s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+)"
#define SMELT_DIGITS R"({"type":"Digits","individual_digits":true})"
#define SMELT_CONTRACTIONS R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
#define SMELT_SPACES R"(\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)"
#define SMELT_TAIL R"( ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|)" SMELT_SPACES
#define SMELT_SLASH_TAIL R"( ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|)" SMELT_SPACES
#define SMELT_BEFORE R"([^\\r\\n\\p{L}\\p{N}]?)"
#define SMELT_UPPER R"([\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])"
#define SMELT_LOWER R"([\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])"
// Words whose capitals come first, with what may follow each.
#define SMELT_CASED(upper, lower, end) \
  SMELT_BEFORE upper "*" lower "+" end "|" SMELT_BEFORE upper "+" lower "*" end
#define SMELT_GPT4(digits) SMELT_CONTRACTIONS "|" SMELT_BEFORE R"(\\p{L}+|)" digits "|" SMELT_TAIL
#define SMELT_GPT4O(digits) \
  SMELT_CASED(SMELT_UPPER, SMELT_LOWER, SMELT_CONTRACTIONS "?") "|" digits "|" SMELT_SLASH_TAIL
#define SMELT_ASIAN R"([\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+)"
#define SMELT_DEEPSEEK(spaces)                                                            \
  R"([!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?)" \
  R"([\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+)" spaces R"(|\\s+(?!\\S)|\\s+)"
#define SMELT_OLD_DEEPSEEK_ASIAN R"([\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+)"
#define SMELT_OLD_DEEPSEEK_LETTERS                                                          \
  R"(A-Za-z)"                                                                               \
  R"(\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf\\u01c4-\\u0293)"   \
  R"(\\u0295-\\u02af\\u0370-\\u0373\\u0376\\u0377\\u037b-\\u037d\\u037f\\u0386)"            \
  R"(\\u0388-\\u038a\\u038c\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-\\u0481\\u048a-\\u052f)"   \
  R"(\\u0531-\\u0556\\u10a0-\\u10c5\\u13a0-\\u13f5\\u13f8-\\u13fd\\u1c90-\\u1cba)"          \
  R"(\\u1cbd-\\u1cbf\\u1d00-\\u1d2b\\u1d6b-\\u1d77\\u1d79-\\u1d9a\\u1e00-\\u1f15)"          \
  R"(\\u1f18-\\u1f1d\\u1f20-\\u1f45\\u1f48-\\u1f4d\\u1f50-\\u1f57\\u1f59\\u1f5b\\u1f5d)"    \
  R"(\\u1f5f-\\u1f7d\\u1f80-\\u1fb4\\u1fb6-\\u1fbc\\u1fbe\\u1fc2-\\u1fc4\\u1fc6-\\u1fcc)"   \
  R"(\\u1fd0-\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-\\u1fec\\u1ff2-\\u1ff4\\u1ff6-\\u1ffc\\u2102)"   \
  R"(\\u2107\\u210a-\\u2113\\u2115\\u2119-\\u211d\\u2124\\u2126\\u2128\\u212a-\\u212d)"     \
  R"(\\u212f-\\u2134\\u2139\\u213c-\\u213f\\u2145-\\u2149\\u214e\\u2183\\u2184)"            \
  R"(\\u2c00-\\u2c7b\\u2c7e-\\u2ce4\\u2ceb-\\u2cee\\u2cf2\\u2cf3\\ua640-\\ua66d)"           \
  R"(\\ua680-\\ua69b\\ua722-\\ua76f\\ua771-\\ua787\\ua78b-\\ua78e\\uab70-\\uabbf)"          \
  R"(\\ufb00-\\ufb06\\ufb13-\\ufb17\\uff21-\\uff3a\\uff41-\\uff5a\\x{10400}-\\x{1044f})"    \
  R"(\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2})" \
  R"(\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943})"
#define SMELT_BLOOM R"( ?[^(\\s|.,!?\\u2026\\u3002\\uff0c\\u3001\\u0964\\u06d4\\u060c)]+)"
#define SMELT_NOT_HAN(letters) "[" letters R"(&&[^\\p{Han}]])"

constexpr PreTokenizerName kNames[] = {
    {"gpt-2",
     "mpt olmo jais trillion phi-2 jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code "
     "roberta-bpe gigachat a.x-4.0 mellum modern-bert exaone4 granite-docling",
     false, SMELT_GPT2},
    {"smollm", "starcoder refact command-r codeshell exaone minerva-7b mellum2", false,
     SMELT_SEQUENCE(SMELT_DIGITS "," SMELT_GPT2)},
    {"llama-bpe", "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5",
     true, SMELT_LIST(SMELT_SPLIT(SMELT_GPT4(R"(\\p{N}{1,3})")))},
    {"dbrx", "smaug-bpe chatglm-bpe", false, SMELT_LIST(SMELT_SPLIT(SMELT_GPT4(R"(\\p{N}{1,3})")))},
    {"qwen2", "stablelm2 deepseek-r1-qwen megrez hunyuan kormo f2llmv2 grok-2 solar-open", false,
     SMELT_LIST(SMELT_SPLIT(SMELT_GPT4(R"(\\p{N})")))},
    {"qwen35", "", false,
     SMELT_LIST(SMELT_SPLIT(
         SMELT_CONTRACTIONS
         "|" SMELT_BEFORE
         R"([\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|)" SMELT_SPACES))},
    {"gpt-4o", "llama4 kanana2 talkie minimax-m2", false,
     SMELT_LIST(SMELT_SPLIT(SMELT_GPT4O(R"(\\p{N}{1,3})")))},
    {"granite-embed-multi-97m", "", true, SMELT_LIST(SMELT_SPLIT(SMELT_GPT4O(R"(\\p{N}{1,3})")))},
    {"tekken", "", true,
     SMELT_LIST(
         SMELT_SPLIT(SMELT_CASED(SMELT_UPPER, SMELT_LOWER, "") R"(|\\p{N}|)" SMELT_SLASH_TAIL))},
    {"kimi-k2", "", false,
     SMELT_LIST(SMELT_SPLIT(
         R"([\\p{Han}]+|)" SMELT_CASED(SMELT_NOT_HAN(R"(\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M})"),
                                       SMELT_NOT_HAN(R"(\\p{Ll}\\p{Lm}\\p{Lo}\\p{M})"),
                                       SMELT_CONTRACTIONS "?") R"(|\\p{N}{1,3}|)" SMELT_TAIL))},
    {"deepseek-v3", "hunyuan-dense joyai-llm hy_v4", false,
     SMELT_LIST(SMELT_SPLIT(R"(\\p{N}{1,3})") "," SMELT_SPLIT(SMELT_ASIAN) "," SMELT_SPLIT(
         SMELT_DEEPSEEK(R"([\\r\\n]*|\\s*[\\r\\n]+)")))},
    {"spark2_5", "", false,
     SMELT_LIST(SMELT_SPLIT(R"(\\p{N}{1,3})") "," SMELT_SPLIT(SMELT_ASIAN) "," SMELT_SPLIT(
         SMELT_DEEPSEEK(R"(|[\\r\\n])")) "," SMELT_SPLIT(R"(\\p{N})"))},
    {"deepseek-llm", "", false,
     SMELT_LIST(
         SMELT_SPLIT(R"([\\r\\n])") "," SMELT_SPLIT(R"(\\s?[)" SMELT_OLD_DEEPSEEK_LETTERS "]+") "," SMELT_SPLIT(R"(\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+)") "," SMELT_SPLIT(
             R"(\\s+$)") "," SMELT_SPLIT(SMELT_OLD_DEEPSEEK_ASIAN) "," SMELT_DIGITS)},
    {"deepseek-coder", "", false,
     SMELT_LIST(SMELT_SPLIT(R"([\\r\\n])") "," SMELT_SPLIT(R"(\\s?\\p{L}+)") "," SMELT_SPLIT(
         R"(\\s?\\p{P}+)") "," SMELT_SPLIT(SMELT_OLD_DEEPSEEK_ASIAN) "," SMELT_DIGITS)},
    {"youtu", "", true,
     SMELT_LIST(SMELT_SPLIT(
         R"([\\uac00-\\ud7a3\\u3131-\\u318e]+|[\\uff01\\u2026\\u201c\\u201d\\u2018\\u2019\\u2014)"
         R"(\\uff1a\\uff1b\\uff0c\\u3001-\\u303f\\ufe30-\\ufe4f]+|[\\u3105-\\u312f]+|)" SMELT_ASIAN) "," SMELT_SPLIT(SMELT_GPT4O(R"(\\p{N})")))},
    {"bailingmoe", "bailingmoe2 llada-moe", false,
     SMELT_LIST(SMELT_SPLIT(R"('(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}|)"
                            R"( ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+)"))},
    {"seed-coder", "", false,
     SMELT_LIST(SMELT_SPLIT(SMELT_CONTRACTIONS
                            "|" SMELT_BEFORE
                            R"(\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|)" SMELT_SPACES))},
    {"ufakzeka", "", false, SMELT_LIST(SMELT_SPLIT(SMELT_BEFORE R"(\\p{L}+|\\p{N}|)" SMELT_TAIL))},
    {"exaone-moe", "", false,
     SMELT_LIST(SMELT_SPLIT(SMELT_CONTRACTIONS
                            "|" SMELT_BEFORE R"((?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|)"
                            R"( ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+)"))},
    {"minicpm5", "", true,
     SMELT_LIST(SMELT_SPLIT(R"(\\p{N}{1,3})") "," SMELT_SPLIT(SMELT_GPT4(R"(\\p{N}+)")))},
    {"laguna", "", false,
     SMELT_LIST(SMELT_SPLIT(R"([^\\n]+|[\\n]+)") "," SMELT_SPLIT(SMELT_GPT4(R"(\\p{N})")))},
    {"bloom", "poro-chat gpt3-finnish", false, SMELT_LIST(SMELT_SPLIT(SMELT_BLOOM))},
    {"viking", "", false, SMELT_LIST(SMELT_SPLIT(SMELT_BLOOM) "," SMELT_DIGITS)},
    {"chameleon", "", false,
     SMELT_SEQUENCE(SMELT_SPLIT("<sentinel:[0-9]+>") "," SMELT_SPLIT(
         "(IMGIMG)((A|B|C|D|E|F|G|H|I){"
         "1,4})Z") "," SMELT_SPLIT(R"(([\\t\\n]|    |  ))") "," SMELT_DIGITS
                                                            R"(,{"type":"Punctuation","behavior":"Isolated"},)" SMELT_GPT2)},
    {"falcon", "", false,
     SMELT_SEQUENCE(
         R"({"type":"Punctuation","behavior":"Contiguous"},)" SMELT_GPT2
         R"(,{"type":"Digits","individual_digits":false},)" SMELT_SPLIT("[0-9][0-9][0-9]"))},
    // What llama.cpp takes where a file has no name: digits are looked for in the text itself.
    {"default", "", false,
     SMELT_LIST(SMELT_SPLIT(R"([\\p{P}$+<=>^~|]+)") "," SMELT_SPLIT(
         SMELT_GPT2_SPLIT) "," SMELT_SPLIT(R"(\\p{N}+)") "," SMELT_SPLIT("[0-9][0-9][0-9]"))},
};

}  // namespace

std::span<const PreTokenizerName> PreTokenizerTable() { return kNames; }

}  // namespace smelt
