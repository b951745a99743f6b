// What downloads leave in the place of files.
#include "lib/base/stand_in.h"

#include <gmock/gmock.h>

#include <string>

#include "lib/base/json.h"
#include "lib/base/storage.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::HasSubstr;

constexpr char kPointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";

TEST(StandIn, IsNamed) {
  const struct {
    std::string start, mentions;
  } cases[] = {
      {kPointer, "Git LFS pointer"},
      {std::string("\xef\xbb\xbf") + kPointer, "Git LFS pointer"},
      {"/annex/objects/SHA256E-s9--0.bin\n", "git-annex pointer"},
      {"<!DOCTYPE html><html>", "HTML page"},
      {"\xef\xbb\xbf\r\n  <!doctype HTML>", "HTML page"},
      {"<HTML lang=en>", "HTML page"},
      {"<?xml version=\"1.0\"?><Error>", "XML page"},
      {"Entry not found", "error text"},
      {"Invalid username or password.", "error text"},
      {std::string(64, '\0'), "zero bytes"},
      {R"({"error":"Repository not found"})", R"(error text ("Repository not found"))"},
      {"{\n  \"error\" : {\"code\": 401, \"message\": \"No access\"}}", R"(("No access"))"},
      {R"({"detail":"Not Found"})", "Not Found"},
      {R"({"statusCode":404,"message":"none"})", R"(("none"))"},
      {R"({"code": 503})", "error text"},
      {R"({"success":false,"msg":"expired"})", "expired"},
      {R"({"status":"error"})", "error text"},
      {R"({"Message":["a"]})", "error text"},
  };
  for (const auto& c : cases) {
    const absl::Status status = RefuseStandIn("f\n", c.start);
    EXPECT_THAT(status.message(), HasSubstr(c.mentions));
    EXPECT_THAT(status.message(), HasSubstr("f\\n: "));
  }
}

TEST(StandIn, OtherContentIsNot) {
  for (const std::string start :
       {"", "{}", "GGUF", "PK\3\4", "<unk> 0", "<|begin|>", "version 2 of a text", "x<html>",
        "<s>\n</s>\n", R"({"error":0,"code":1})", R"({"code":12})", R"({"status":1})",
        R"({"success":true})", R"({"model_type":"error"})"}) {
    SMELT_EXPECT_OK(RefuseStandIn("f", start));
  }
  SMELT_EXPECT_OK(RefuseStandIn("f", std::string(8, '\0') + "{}"));
  SMELT_EXPECT_OK(RefuseStandIn("f", std::string(8, '\0')));
}

TEST(StandIn, WeightsAreNoJson) {
  EXPECT_THAT(RefuseText("f", R"({"id":"org/model"})").message(), HasSubstr("is a JSON text"));
  EXPECT_THAT(RefuseText("f", R"({"error":"gone"})").message(), HasSubstr(R"(("gone"))"));
  SMELT_EXPECT_OK(RefuseText("f", std::string("\x10\0\0\0\0\0\0\0{\"a\":1}", 15)));
  SMELT_EXPECT_OK(RefuseText("f", "{}"));
  EXPECT_THAT(RefuseText("f", "\x1f\x8b\x08\x08 and so on").message(), HasSubstr("gzip archive"));
  EXPECT_THAT(RefuseText("f", "7z\xbc\xaf\x27\x1c").message(), HasSubstr("7z archive"));
  // A header of 0x88b1f bytes.
  SMELT_EXPECT_OK(RefuseText("f", std::string("\x1f\x8b\x08\0\0\0\0\0{\"a\":{}}", 16)));
}

TEST(StandIn, ReadersAskFirst) {
  const testing::TempDir dir;
  testing::WriteFile(dir / "t.txt", kPointer);
  EXPECT_THAT(ReadTextFile(dir / "t.txt").status().message(), HasSubstr("pointer"));
  testing::WriteFile(dir / "page.txt", "<!doctype html>");  // any text may be one
  SMELT_EXPECT_OK(ReadTextFile(dir / "page.txt"));
  EXPECT_THAT(ParseJsonValue("<!doctype html>", "c.json").status().message(), HasSubstr("HTML"));
}

}  // namespace
}  // namespace smelt
