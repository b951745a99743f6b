#include "lib/text/spec/base64.h"

#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

TEST(Base64, TestVectorsOfRfc4648) {
  const std::pair<std::string_view, std::string_view> kVectors[] = {{"", ""},
                                                                    {"f", "Zg=="},
                                                                    {"fo", "Zm8="},
                                                                    {"foo", "Zm9v"},
                                                                    {"foob", "Zm9vYg=="},
                                                                    {"fooba", "Zm9vYmE="},
                                                                    {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : kVectors) {
    EXPECT_EQ(EncodeBase64(bytes), text);
    EXPECT_EQ(DecodeBase64(text).value_or("?"), bytes);
    EXPECT_EQ(DecodeBase64(text.substr(0, text.find('='))).value_or("?"), bytes);  // no padding
  }
}

TEST(Base64, EveryByteComesBack) {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes.push_back(static_cast<char>(i * 7));
  EXPECT_EQ(DecodeBase64(EncodeBase64(bytes)).value_or("?"), bytes);
}

TEST(Base64, OtherCharactersAreErrors) {
  for (const std::string_view text : {"Zm9v!", "Zm 9v", "Zm9v\n", "Z-9v", "Z_9v"})
    EXPECT_FALSE(DecodeBase64(text).ok()) << text;
}

}  // namespace
}  // namespace smelt::testing
