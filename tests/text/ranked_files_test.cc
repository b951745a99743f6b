// tekken.json and tiktoken files whose numbers ask for more than the file can mean.
#include "lib/base/status.h"
#include "lib/text/sources.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

// One byte as base64.
std::string Byte(int b) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return {kDigits[static_cast<size_t>(b >> 2)], kDigits[static_cast<size_t>(b & 3) << 4], '=', '='};
}

absl::Status OpenTekken(int64_t size, int64_t special, std::string_view entry = "") {
  std::string text = Cat(R"({"config":{"pattern":"a","default_vocab_size":)", size,
                         R"(,"default_num_special_tokens":)", special, R"(},"vocab":[)");
  for (int b = 0; b < 256; ++b)
    text += Cat(b > 0 ? "," : "", R"({"rank":)", b, R"(,"token_bytes":")", Byte(b), R"("})");
  TokenizerFolder folder;
  return MakeTekkenCore(Cat(text, entry, "]}"), "tekken.json", folder).status();
}

TEST(RankedFiles, TekkenCountsAreBounded) {
  SMELT_EXPECT_OK(OpenTekken(256 + 40, 40));
  // Subtracting one from the other would overflow.
  EXPECT_FALSE(OpenTekken(INT64_MIN, INT64_MAX).ok());
  // 16 million made-up special tokens from a file of 10 kB.
  EXPECT_FALSE(OpenTekken(1 << 24, (1 << 24) - 256).ok());
  EXPECT_FALSE(OpenTekken(300, 40, R"(,{"rank":16000000,"token_bytes":"YWE="})").ok());
}

TEST(RankedFiles, TokensAreNotTooLongToSplit) {
  std::string ranks;
  for (int b = 0; b < 256; ++b) ranks += Cat(Byte(b), " ", b, "\n");
  std::string base64;
  for (int i = 0; i < 4000; ++i) base64 += "YWFh";
  TokenizerFolder folder;
  SMELT_EXPECT_OK(MakeTiktokenCore(ranks, "ranks", folder).status());
  EXPECT_FALSE(MakeTiktokenCore(Cat(ranks, base64, " 256\n"), "ranks", folder).ok());
  EXPECT_FALSE(OpenTekken(300, 40, Cat(R"(,{"rank":256,"token_bytes":")", base64, R"("})")).ok());
}

}  // namespace
}  // namespace smelt
