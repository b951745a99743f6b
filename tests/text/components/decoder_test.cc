// Every decoder against the `tokenizers` library.
#include "lib/text/components/decoder.h"

#include "lib/base/json.h"
#include "lib/text/spec/component_json.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

/// What the decoder of a tokenizer.json makes of texts of tokens.
std::string Decoded(std::string_view json, std::vector<std::string> tokens) {
  const auto value = ParseJsonValue(json, "test");
  EXPECT_TRUE(value.ok()) << value.status();
  const auto steps = ReadDecoders(&*value, "test");
  EXPECT_TRUE(steps.ok()) << steps.status();
  const auto decoder = Decoder::Make(*steps);
  EXPECT_TRUE(decoder.ok()) << decoder.status();
  return decoder->Apply(std::move(tokens));
}

struct DecoderCase {
  std::vector<std::string> tokens;
  std::string_view text;
};
struct GoldenText {
  std::string_view json;
  std::vector<DecoderCase> cases;
};

// tokenizers 0.23.3: Tokenizer.from_str(json.dumps({..., "decoder": JSON})).decoder.decode(TOKENS)
const GoldenText kDecoded[] = {
    {R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})",
     {{{"Hello", "ĠWorld"}, "Hello World"},
      {{"Ã©", "ðŁĺ", "Ģ"}, "é\360\237\230\200"},
      {{"ðŁĺ", "x"}, "�x"},
      {{"é", " a"}, "� a"},
      {{"Ã", "é", "©"}, "��"},
      {{}, ""}}},
    {R"({"type": "ByteFallback"})",
     {{{"<0x41>", "<0xC3>", "<0xA9>", "b"}, "Aéb"},
      {{"<0xC3>", "a"}, "�a"},
      {{"<0xF0>", "<0x9F>", "<0x98>"}, "���"},
      {{"<0xc3>", "<0xa9>"}, "é"},
      {{"<0x4>", "<0xZZ>", "<0x041>"}, "<0x4><0xZZ><0x041>"},
      {{"a", "<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>", "b"}, "a����b"},
      {{}, ""}}},
    {R"({"type": "Fuse"})", {{{"a", " b", "c"}, "a bc"}, {{}, ""}}},
    {R"({"type": "WordPiece", "prefix": "##", "cleanup": true})",
     {{{"un", "##able", "to", "do", "n't", ".", "!"}, "unable to don't.!"},
      {{"##a", "##b"}, "##ab"},
      {{"it", "'s", "i", "'m", "'", "x", "'"}, "it's i'm ' x '"},
      {{"a", "do not", "."}, "a don't."},
      {{"we", "'ve", "'re", ",", " ?"}, "we've're, ?"}}},
    {R"({"type": "WordPiece", "prefix": "##", "cleanup": false})",
     {{{"un", "##able", "to", "do", "n't", "."}, "unable to do n't ."}, {{"##a", "##b"}, "##ab"}}},
    {R"({"type": "WordPiece", "prefix": "", "cleanup": false})", {{{"a", "##b", "c"}, "a##bc"}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})",
     {{{"▁Hello", "▁World"}, "Hello World"},
      {{"▁▁a", "b▁▁"}, "ab  "},
      {{"a", "▁"}, "a "},
      {{}, ""}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true})",
     {{{"▁Hello", "▁World"}, "Hello World"}, {{"▁▁a", "b▁▁"}, "ab  "}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true})",
     {{{"▁Hello", "▁World"}, " Hello World"}, {{"▁▁a", "b▁▁"}, "  ab  "}}},
    {R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": false})",
     {{{"_Hello", "_W▁"}, "Hello W▁"}}},
    {R"({"type": "Strip", "content": "_", "start": 1, "stop": 0})",
     {{{"__a_", "_b", "c"}, "_a_bc"}, {{"_"}, ""}}},
    {R"({"type": "Strip", "content": "_", "start": 0, "stop": 2})",
     {{{"__a___", "b_", "c"}, "__a_bc"}}},
    {R"({"type": "Strip", "content": " ", "start": 1, "stop": 1})", {{{" a ", "  b"}, "a b"}}},
    {R"({"type": "BPEDecoder", "suffix": "</w>"})",
     {{{"he", "llo</w>", "wor", "ld</w>"}, "hello world"},
      {{"a</w>b</w>", "c"}, "a b c"},
      {{}, ""}}},
    {R"({"type": "Replace", "pattern": {"String": "▁"}, "content": " "})",
     {{{"▁a▁", "b"}, " a b"}, {{}, ""}}},
    {R"({"type": "Replace", "pattern": {"Regex": "[ab]+"}, "content": "-"})",
     {{{"aabc", "xb"}, "-cx-"}}},
    {R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
     {{{"▁Hello", "▁", "<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>"}, "Hello ����"},
      {{"▁▁a"}, " a"},
      {{}, ""}}},
};

TEST(Decoder, EachIsThatOfTheLibrary) {
  for (const GoldenText& golden : kDecoded) {
    for (const DecoderCase& c : golden.cases)
      EXPECT_EQ(Decoded(golden.json, c.tokens), c.text) << golden.json;
  }
}

TEST(Decoder, OneThatIsNotKnownIsRefusedByName) {
  const auto json = ParseJsonValue(R"({"type":"Sequence","decoders":[{"type":"Rot13"}]})", "test");
  SMELT_ASSERT_OK(json);
  const auto made = ReadDecoders(&*json, "test");
  ASSERT_FALSE(made.ok());
  EXPECT_NE(std::string(made.status().message()).find("Rot13"), std::string::npos);
}

// Python: bytes.decode("utf-8", "replace"), which counts broken bytes as Rust does.
TEST(RepairUtf8, OneForEveryMaximalPart) {
  const std::pair<std::string_view, std::string_view> kCases[] = {
      {"", ""},
      {"a\303\251b", "a\303\251b"},
      {"a\303", "a\357\277\275"},
      {"\360\237\230x", "\357\277\275x"},
      {"\360\237\230\377\200", "\357\277\275\357\277\275\357\277\275"},
      {"\340\200\200", "\357\277\275\357\277\275\357\277\275"},
      {"\355\240\200", "\357\277\275\357\277\275\357\277\275"},
      {"\364\220\200\200", "\357\277\275\357\277\275\357\277\275\357\277\275"},
      {"\300\257", "\357\277\275\357\277\275"},
      {"\342\202\254\342\202", "\342\202\254\357\277\275"}};
  for (const auto& [bytes, text] : kCases) EXPECT_EQ(RepairUtf8(bytes), text);
}

}  // namespace
}  // namespace smelt::testing
