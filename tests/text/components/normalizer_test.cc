// Every normalizer against the `tokenizers` library.
#include "lib/text/components/normalizer.h"

#include <algorithm>
#include <span>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "lib/text/spec/component_json.h"
#include "tests/testing/testing.h"
#include "tests/text/components/small_charsmap.h"

namespace smelt::testing {
namespace {

/// What the normalizer of a tokenizer.json makes of a text.
std::string Normalized(std::string_view json, std::string_view text) {
  const auto value = ParseJsonValue(json, "test");
  EXPECT_TRUE(value.ok()) << value.status();
  const auto steps = ReadNormalizers(&*value, "test", Members::kAny);
  EXPECT_TRUE(steps.ok()) << steps.status();
  const auto normalizer = Normalizer::Make(*steps, RegexEngine::kAny, ByteTrie());
  EXPECT_TRUE(normalizer.ok()) << normalizer.status();
  std::string out(text);
  SMELT_EXPECT_OK(normalizer->Apply(out));
  return out;
}

using namespace std::string_view_literals;

struct NormalizerCase {
  std::string_view text, normalized;
};
struct GoldenNormalization {
  std::string_view json;
  std::vector<NormalizerCase> changed;
  bool common = true;  // every other one of kTexts stays as it is
};

constexpr std::string_view kTexts[] = {""sv,
                                       "Hello World"sv,
                                       "Straße ÀÉ naïve"sv,
                                       "e\314\201 A\314\212 ﬁ ½ ²"sv,
                                       "  a  b \302\240\343\200\200 "sv,
                                       "İstanbul ΣΑΣ ǅ"sv,
                                       "\355\225\234\352\265\255\354\226\264 \341\204\200"sv,
                                       "\357\276\203\357\275\275\357\276\204 ＡＢ"sv,
                                       "a\tb\nc\r\000\001\177\342\200\213\302\255\357\273\277"sv,
                                       "中a文 \360\240\200\200"sv,
                                       " \314\201x"sv,
                                       "▁a ▁"sv};

// tokenizers 0.23.3: Tokenizer.from_str(json.dumps({..., "normalizer": JSON}))
//     .normalizer.normalize_str(TEXT)
const GoldenNormalization kNormalized[] = {
    {R"({"type": "NFC"})", {{"e\314\201 A\314\212 ﬁ ½ ²"sv, "é Å ﬁ ½ ²"sv}}},
    {R"({"type": "NFD"})",
     {{"Straße ÀÉ naïve"sv, "Straße A\314\200E\314\201 nai\314\210ve"sv},
      {"İstanbul ΣΑΣ ǅ"sv, "I\314\207stanbul ΣΑΣ ǅ"sv},
      {"\355\225\234\352\265\255\354\226\264 \341\204\200"sv,
       "\341\204\222\341\205\241\341\206\253\341\204\200\341\205\256\341\206\250\341\204\213\341\205\245 \341\204\200"sv}}},
    {R"({"type": "NFKC"})",
     {{"e\314\201 A\314\212 ﬁ ½ ²"sv, "é Å fi 1⁄2 2"sv},
      {"  a  b \302\240\343\200\200 "sv, "  a  b    "sv},
      {"İstanbul ΣΑΣ ǅ"sv, "İstanbul ΣΑΣ Dž"sv},
      {"\357\276\203\357\275\275\357\276\204 ＡＢ"sv, "テスト AB"sv}}},
    {R"({"type": "NFKD"})",
     {{"Straße ÀÉ naïve"sv, "Straße A\314\200E\314\201 nai\314\210ve"sv},
      {"e\314\201 A\314\212 ﬁ ½ ²"sv, "e\314\201 A\314\212 fi 1⁄2 2"sv},
      {"  a  b \302\240\343\200\200 "sv, "  a  b    "sv},
      {"İstanbul ΣΑΣ ǅ"sv, "I\314\207stanbul ΣΑΣ Dz\314\214"sv},
      {"\355\225\234\352\265\255\354\226\264 \341\204\200"sv,
       "\341\204\222\341\205\241\341\206\253\341\204\200\341\205\256\341\206\250\341\204\213\341\205\245 \341\204\200"sv},
      {"\357\276\203\357\275\275\357\276\204 ＡＢ"sv, "テスト AB"sv}}},
    {R"({"type": "Lowercase"})",
     {{"Hello World"sv, "hello world"sv},
      {"Straße ÀÉ naïve"sv, "straße àé naïve"sv},
      {"e\314\201 A\314\212 ﬁ ½ ²"sv, "e\314\201 a\314\212 ﬁ ½ ²"sv},
      {"İstanbul ΣΑΣ ǅ"sv, "i\314\207stanbul σασ ǆ"sv},
      {"\357\276\203\357\275\275\357\276\204 ＡＢ"sv,
       "\357\276\203\357\275\275\357\276\204 ａｂ"sv}}},
    {R"({"type": "Nmt"})",
     {{"\001|\010|\t|\n|\013|\014|\r|\016|\037| "
       "|~|\177|\302\200|\302\216|\302\217|\302\220|\302\236|\302\237|\302\240|ᙿ|\341\232\200|ᚁ|"
       "\342\200\212|\342\200\213|\342\200\217|‐|‧|\342\200\250|\342\200\251|\342\200\252|▀|▁|▂|"
       "\357\273\276|\357\273\277|\357\274\200|￼|�|",
       "|| | || | ||| |~||\302\200|\302\216||\302\220|\302\236||\302\240|ᙿ| |ᚁ|\342\200\212| | "
       "|‐|‧| | |\342\200\252|▀| |▂|\357\273\276| |\357\274\200|￼| |"},
      {"a\tb\nc\r\000\001\177\342\200\213\302\255\357\273\277"sv, "a b c \000 \302\255 "sv},
      {"▁a ▁"sv, " a  "sv},
      {"\013\014\016\302\217\302\237x\341\232\200\342\200\216\342\200\250�"sv, " x    "sv}}},
    {R"({"type": "StripAccents"})",
     {{"e\314\201 A\314\212 ﬁ ½ ²"sv, "e A ﬁ ½ ²"sv},
      {" \314\201x"sv, " x"sv},
      {"e\314\201\314\202 \340\255\207\340\257\206\342\203\235"sv, "e "sv}}},
    {R"({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true})",
     {{"Hello World"sv, "hello world"sv},
      {"Straße ÀÉ naïve"sv, "straße ae naive"sv},
      {"e\314\201 A\314\212 ﬁ ½ ²"sv, "e a ﬁ ½ ²"sv},
      {"  a  b \302\240\343\200\200 "sv, "  a  b    "sv},
      {"İstanbul ΣΑΣ ǅ"sv, "istanbul σασ ǆ"sv},
      {"\355\225\234\352\265\255\354\226\264 \341\204\200"sv,
       "\341\204\222\341\205\241\341\206\253\341\204\200\341\205\256\341\206\250\341\204\213\341\205\245 \341\204\200"sv},
      {"\357\276\203\357\275\275\357\276\204 ＡＢ"sv,
       "\357\276\203\357\275\275\357\276\204 ａｂ"sv},
      {"a\tb\nc\r\000\001\177\342\200\213\302\255\357\273\277"sv, "a b c "sv},
      {"中a文 \360\240\200\200"sv, " 中 a 文   \360\240\200\200 "sv},
      {" \314\201x"sv, " x"sv}}},
    {R"({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": false})",
     {{"  a  b \302\240\343\200\200 "sv, "  a  b    "sv},
      {"a\tb\nc\r\000\001\177\342\200\213\302\255\357\273\277"sv, "a b c "sv},
      {"中a文 \360\240\200\200"sv, " 中 a 文   \360\240\200\200 "sv}}},
    {R"({"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": false, "strip_accents": true, "lowercase": false})",
     {{"Straße ÀÉ naïve"sv, "Straße AE naive"sv},
      {"e\314\201 A\314\212 ﬁ ½ ²"sv, "e A ﬁ ½ ²"sv},
      {"İstanbul ΣΑΣ ǅ"sv, "Istanbul ΣΑΣ ǅ"sv},
      {"\355\225\234\352\265\255\354\226\264 \341\204\200"sv,
       "\341\204\222\341\205\241\341\206\253\341\204\200\341\205\256\341\206\250\341\204\213\341\205\245 \341\204\200"sv},
      {" \314\201x"sv, " x"sv}}},
    {R"({"type": "BertNormalizer", "clean_text": false, "handle_chinese_chars": true, "strip_accents": false, "lowercase": true})",
     {{"Hello World"sv, "hello world"sv},
      {"Straße ÀÉ naïve"sv, "straße àé naïve"sv},
      {"e\314\201 A\314\212 ﬁ ½ ²"sv, "e\314\201 a\314\212 ﬁ ½ ²"sv},
      {"İstanbul ΣΑΣ ǅ"sv, "i\314\207stanbul σασ ǆ"sv},
      {"\357\276\203\357\275\275\357\276\204 ＡＢ"sv,
       "\357\276\203\357\275\275\357\276\204 ａｂ"sv},
      {"中a文 \360\240\200\200"sv, " 中 a 文   \360\240\200\200 "sv}}},
    {R"({"type": "Strip", "strip_left": true, "strip_right": true})",
     {{"  a  b \302\240\343\200\200 "sv, "a  b"sv},
      {""sv, ""sv},
      {"   "sv, ""sv},
      {"\342\200\203x\302\205"sv, "x"sv},
      {"x"sv, "x"sv}},
     false},
    {R"({"type": "Strip", "strip_left": true, "strip_right": false})",
     {{"  a  b \302\240\343\200\200 "sv, "a  b \302\240\343\200\200 "sv}, {"   "sv, ""sv}},
     false},
    {R"({"type": "Strip", "strip_left": false, "strip_right": true})",
     {{"  a  b \302\240\343\200\200 "sv, "  a  b"sv}, {"   "sv, ""sv}},
     false},
    {R"({"type": "Prepend", "prepend": "▁"})",
     {{""sv, ""sv}, {"a"sv, "▁a"sv}, {"▁a"sv, "▁▁a"sv}, {" "sv, "▁ "sv}},
     false},
    {R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})",
     {{""sv, ""sv}, {"  a b "sv, "▁▁a▁b▁"sv}, {"▁"sv, "▁"sv}},
     false},
    {R"({"type": "Replace", "pattern": {"String": "aa"}, "content": "a"})",
     {{"aaaaa"sv, "aaa"sv}, {"baab"sv, "bab"sv}},
     false},
    {R"({"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "})",
     {{"a \t\n b\302\240\343\200\200c"sv, "a b c"sv}, {"   "sv, " "sv}},
     false},
    {R"({"type": "Replace", "pattern": {"Regex": "a|b*"}, "content": "-"})",
     {{"abbc"sv, "--c-"sv}, {""sv, ""sv}, {"xyz"sv, "-x-y-z-"sv}},
     false},
    {R"({"type": "Replace", "pattern": {"Regex": "$"}, "content": "!"})",
     {{"ab"sv, "ab!"sv}, {"a\nb"sv, "a!\nb!"sv}},
     false},
    {R"({"type": "Sequence", "normalizers": []})", {{"aÀ"sv, "aÀ"sv}}, false},
    {R"({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"}]}]})",
     {{"ÀÉ x"sv, "_ae x"sv}, {""sv, ""sv}},
     false},
    {R"({"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": true, "strip_right": true}, {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})",
     {{"  a b "sv, "▁a▁b"sv}, {"   "sv, ""sv}},
     false}};

TEST(Normalizer, EachIsThatOfTheLibrary) {
  for (const GoldenNormalization& golden : kNormalized) {
    std::vector<NormalizerCase> cases = golden.changed;
    for (const std::string_view text : golden.common ? std::span(kTexts) : std::span(kTexts, 0)) {
      if (std::ranges::find(golden.changed, text, &NormalizerCase::text) == golden.changed.end())
        cases.push_back({text, text});
    }
    for (const NormalizerCase& c : cases)
      EXPECT_EQ(Normalized(golden.json, c.text), c.normalized)
          << golden.json << " of " << JsonQuote(c.text);
  }
}

// The same call with {"type": "Precompiled", "precompiled_charsmap": kSmallCharsmap}
const NormalizerCase kPrecompiled[] = {{"", ""},
                                       {"abc ab abd", "abc ab abd"},
                                       {"ababc", "ababc"},
                                       {"café cafe\314\201", "cafe cafE"},
                                       {"ﬁn\343\200\200\343\200\200x", "fin  x"},
                                       {"straße", "strae"},
                                       {"ß", ""},
                                       {"q aq", "   a  "},
                                       {" a  b ", " a  b "},
                                       {"  ", "  "},
                                       {"▁x", "▁x"},
                                       {"aqb", "a  b"},
                                       {"x\314\201\314\201", "x''"},
                                       {"\360\237\230\200e\314\201", "\360\237\230\200E"}};

TEST(Normalizer, PrecompiledRulesAreThoseOfTheLibrary) {
  const std::string json =
      Cat(R"({"type":"Precompiled","precompiled_charsmap":")", kSmallCharsmap, "\"}");
  for (const NormalizerCase& c : kPrecompiled)
    EXPECT_EQ(Normalized(json, c.text), c.normalized) << JsonQuote(c.text);
}

TEST(Normalizer, OneThatIsNotKnownIsRefusedByName) {
  const auto json =
      ParseJsonValue(R"({"type":"Sequence","normalizers":[{"type":"Rot13"}]})", "test");
  SMELT_ASSERT_OK(json);
  const auto made = ReadNormalizers(&*json, "test", Members::kAny);
  ASSERT_FALSE(made.ok());
  EXPECT_NE(std::string(made.status().message()).find("Rot13"), std::string::npos);
}

}  // namespace
}  // namespace smelt::testing
