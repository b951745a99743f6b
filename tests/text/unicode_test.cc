// The generated tables against what the `tokenizers` library does with every code point
// (unicode_probe.json).
#include "lib/base/unicode.h"

#include <sstream>

#include "lib/base/cat.h"
#include "lib/base/utf8.h"
#include "lib/text/regex/char_set.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

CharSet Ranges(const JsonValue& list) {
  CharSet set;
  for (const JsonValue& pair : *list.as_array()) {
    set.emplace_back(static_cast<char32_t>(*(*pair.as_array())[0].as_int()),
                     static_cast<char32_t>(*(*pair.as_array())[1].as_int()));
  }
  return set;
}

TEST(Unicode, LettersInAnyCaseAreTheLibrarys) {
  std::istringstream lines(ReadFile(TestdataPath("text/letter_case.txt")));
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    std::istringstream codes(line);
    CharSet letter;
    for (uint32_t c = 0; codes >> std::hex >> c;) letter = Union(letter, {{c, c}});
    for (const auto& [first, last] : letter) {
      for (char32_t c = first; c <= last; ++c) EXPECT_EQ(FoldCase({{c, c}}), letter) << line;
    }
  }
  EXPECT_GT(count, 2000u);
  const CharSet digits = {{'0', '9'}};
  EXPECT_EQ(FoldCase(digits), digits);
}

TEST(Unicode, ClassesAreTheLibrarys) {
  SMELT_REQUIRE_SHARED();
  const JsonValue probe = ReadJson(SharedPath("fixtures/tokenizers/unicode_probe.json"));
  const JsonValue& regex = *probe.Find("regex");
  const auto expect = [](const CharSet& got, const JsonValue& want, const char* what) {
    EXPECT_EQ(got, Ranges(*want.Find("ranges"))) << what;
  };
  for (const char* name :
       {"L", "N", "M", "P", "S", "Z", "Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Han"}) {
    ASSERT_TRUE(PropertySet(name).has_value()) << name;
    expect(*PropertySet(name), *regex.Find(name), name);
  }
  expect(EscapeSet('s'), *regex.Find("s"), "\\s");
  expect(EscapeSet('d'), *regex.Find("d"), "\\d");
  expect(EscapeSet('w'), *regex.Find("w"), "\\w");
  const JsonValue& steps = *probe.Find("pre_tokenizers");
  expect(RangesOfFlags(kUnicodeNumeric), *steps.Find("Digits"), "Digits");
  expect(RangesOfFlags(kUnicodePunctuation), *steps.Find("Punctuation"), "Punctuation");
  EXPECT_EQ(RangesOfFlags(kUnicodeStripAccents),
            Ranges(*probe.Find("normalizers")->Find("StripAccents")->Find("removed_ranges")));
}

// How many code points each normalizer changes, and what becomes of those that differ from the
// newest Unicode.
TEST(Unicode, NormalisationIsTheLibrarys) {
  SMELT_REQUIRE_SHARED();
  const JsonValue probe = ReadJson(SharedPath("fixtures/tokenizers/unicode_probe.json"));
  const JsonValue& normalizers = *probe.Find("normalizers");
  const auto check = [&](const char* name, auto&& apply) {
    const JsonValue& want = *normalizers.Find(name);
    int64_t changed = 0;
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (c >= 0xd800 && c <= 0xdfff) continue;
      std::string text;
      AppendUtf8(text, c);
      changed += apply(text) != text ? 1 : 0;
    }
    EXPECT_EQ(changed, *want.Find("changed")->as_int()) << name;
    for (const JsonValue& entry : *want.Find("differs_from_reference")->as_array()) {
      std::string text;
      AppendUtf8(text, static_cast<char32_t>(*(*entry.as_array())[0].as_int()));
      EXPECT_EQ(apply(text), *(*entry.as_array())[1].as_string()) << name << " of " << Escape(text);
    }
  };
  check("NFC", [](const std::string& s) { return Normalize(s, NormalForm::kNfc); });
  check("NFD", [](const std::string& s) { return Normalize(s, NormalForm::kNfd); });
  check("NFKC", [](const std::string& s) { return Normalize(s, NormalForm::kNfkc); });
  check("NFKD", [](const std::string& s) { return Normalize(s, NormalForm::kNfkd); });
  check("Lowercase", [](const std::string& s) {
    std::string out;
    AppendLowercase(out, DecodeUtf8(s).code_point);
    return out;
  });
}

TEST(Unicode, ComposesAndSortsMarks) {
  EXPECT_EQ(Normalize("e\xcc\x81", NormalForm::kNfc), "\xc3\xa9");
  EXPECT_EQ(Normalize("a\xcc\x81\xcc\xa7", NormalForm::kNfd), "a\xcc\xa7\xcc\x81");
  EXPECT_EQ(Normalize("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", NormalForm::kNfc), "\xed\x95\x9c");
  EXPECT_EQ(Normalize("x y\xcc\x88 z\n", NormalForm::kNfc), "x \xc3\xbf z\n");
}

}  // namespace
}  // namespace smelt::testing
