// Modelfiles against what Ollama's own parser and client made of them (testdata/ollama).
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "formats/ollama/model_settings.h"
#include "formats/ollama/modelfile.h"
#include "formats/ollama/parameters.h"
#include "lib/base/ascii.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/text/spec/base64.h"
#include "tests/testing/testing.h"

namespace smelt::ollama {
namespace {

using smelt::testing::ReadFile;
using smelt::testing::TestdataPath;
using ::testing::HasSubstr;

JsonValue Vectors() {
  const std::string path = TestdataPath("ollama/modelfile.json");
  return ParseJsonValue(ReadFile(path), path).value();
}

std::string TextOf(const JsonValue& entry) {
  const JsonValue* text = entry.Find("modelfile");
  return text != nullptr ? *text->as_string()
                         : DecodeBase64(*entry.Find("modelfile_b64")->as_string()).value();
}

/// What the newer Ollama answers where the two differ.
const JsonValue& Answer(const JsonValue& entry) {
  const JsonValue* versions = entry.Find("by_version");
  return versions == nullptr ? entry : *versions->Find("0.32.15");
}

/// A command's name and value as the vectors have them.
std::pair<std::string, std::string> NameAndValue(const ModelfileLine& line) {
  switch (line.command) {
    case Command::kFrom:
      return {"model", line.value};
    case Command::kParameter:
      return {line.key, line.value};
    case Command::kMessage:
      return {"message", Cat(line.key, ": ", line.value)};
    default:
      break;
  }
  const std::string text = ModelfileText({line});
  return {LowerAscii(text.substr(0, text.find(' '))), line.value};
}

TEST(OllamaModelfile, AllVectors) {
  const JsonValue vectors = Vectors();
  size_t read = 0, refused = 0;
  for (const JsonValue& entry : *vectors.Find("cases")->as_array()) {
    SCOPED_TRACE(entry.ToText());
    const JsonValue& answer = Answer(entry);
    const auto lines = ParseModelfile(TextOf(entry), "Modelfile");
    if (answer.Find("error") != nullptr) {
      ++refused;
      ASSERT_FALSE(lines.ok());
      if (const JsonValue* line = answer.Find("line")) {
        EXPECT_THAT(std::string(lines.status().message()),
                    HasSubstr(Cat("Modelfile, line ", *line->as_int())));
      }
      continue;
    }
    ++read;
    SMELT_ASSERT_OK(lines);
    std::vector<std::pair<std::string, std::string>> got, expected;
    for (const ModelfileLine& line : *lines) got.push_back(NameAndValue(line));
    for (const JsonValue& command : *answer.Find("commands")->as_array()) {
      expected.emplace_back(*(*command.as_array())[0].as_string(),
                            *(*command.as_array())[1].as_string());
    }
    EXPECT_EQ(got, expected);
    EXPECT_EQ(ModelfileText(*lines), *answer.Find("text")->as_string());
  }
  EXPECT_EQ(read + refused, 193u);
  EXPECT_GT(refused, 30u);
}

/// Parameters, or the first error.
absl::StatusOr<Parameters> ParametersOf(const std::vector<ModelfileLine>& lines) {
  Parameters parameters;
  for (const ModelfileLine& line : lines) {
    if (line.command != Command::kParameter) continue;
    SMELT_RETURN_IF_ERROR(parameters.Add(line.key, line.value));
  }
  return parameters;
}

TEST(OllamaModelfile, LayersOfAllVectors) {
  const JsonValue vectors = Vectors();
  size_t params = 0, messages = 0, errors = 0;
  for (const JsonValue& entry : *vectors.Find("cases")->as_array()) {
    SCOPED_TRACE(entry.ToText());
    // Names that only the older one knows are kept, as it keeps them.
    const JsonValue* versions = entry.Find("by_version");
    const JsonValue& answer =
        versions != nullptr && versions->Find("0.6.5")->Find("params_json") != nullptr
            ? *versions->Find("0.6.5")
            : Answer(entry);
    const auto lines = ParseModelfile(TextOf(entry), "Modelfile");
    if (!lines.ok()) continue;
    const auto parameters = ParametersOf(*lines);
    if (const JsonValue* error = answer.Find("request_error")) {
      const std::string& text = *error->as_string();
      if (text.starts_with("invalid") || text.starts_with("unknown") || text.starts_with("json")) {
        ++errors;
        EXPECT_FALSE(parameters.ok()) << text;
      }
      continue;
    }
    SMELT_ASSERT_OK(parameters);
    if (const JsonValue* json = answer.Find("params_json")) {
      ++params;
      EXPECT_EQ(parameters->Json(), *json->as_string());
    } else {
      EXPECT_TRUE(parameters->empty());
    }
    std::vector<Message> chat;
    for (const ModelfileLine& line : *lines) {
      if (line.command == Command::kMessage) chat.push_back({line.key, line.value});
    }
    if (const JsonValue* json = answer.Find("messages_json")) {
      ++messages;
      EXPECT_EQ(MessagesJson(chat), *json->as_string());
    }
  }
  EXPECT_GT(params, 25u);
  EXPECT_GT(messages, 5u);
  EXPECT_GT(errors, 10u);
}

/// As in Ollama's parser, in which commands and parameters share their names, and in which the
/// first character of a line is dropped when it is not printable.
TEST(OllamaModelfile, WhatItsParserTakesBesides) {
  const auto names = [](std::string_view text) {
    std::vector<std::pair<std::string, std::string>> out;
    const auto lines = ParseModelfile(text, "M");
    SMELT_EXPECT_OK(lines);
    if (lines.ok()) {
      for (const ModelfileLine& line : *lines) out.push_back(NameAndValue(line));
    }
    return out;
  };
  using Names = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(names("\u00a0FROM a\n\x01SYSTEM b\n\ufefflicense c\n"),
            (Names{{"model", "a"}, {"system", "b"}, {"license", "c"}}));
  EXPECT_EQ(names("PARAMETER model a\nPARAMETER system b\nPARAMETER message user: c\n"),
            (Names{{"model", "a"}, {"system", "b"}, {"message", "user: c"}}));
  EXPECT_EQ(names("FROM a\nPARAMETER System b\nPARAMETER from c\n"),
            (Names{{"model", "a"}, {"System", "b"}, {"from", "c"}}));  // unknown, as parameters
  // One U+FFFD for each longest beginning of a character.
  EXPECT_EQ(names("FROM a\xf0\x9f\x98z\xe2\x82\nSYSTEM \xed\xa0\x80\xc0\xaf\n"),
            (Names{{"model", "a\ufffdz\ufffd"}, {"system", "\ufffd\ufffd\ufffd\ufffd\ufffd"}}));
  const std::string_view odd("\xff\xfe\x46\0R\0O\0M\0 \0a\0z", 15);
  EXPECT_EQ(names(odd), (Names{{"model", "a\ufffd"}}));
  for (const char* text : {"\u200b\u00a0FROM a\n", "FROM a\n1\n", "FROM a\n \u00a0 SYSTEM b\n"})
    EXPECT_FALSE(ParseModelfile(text, "M").ok()) << text;
  EXPECT_THAT(std::string(ParseModelfile("FROM a\n1\n", "M").status().message()),
              HasSubstr("M, line 3"));
}

/// What Go's strconv, and its semver package, say of them.
TEST(OllamaModelfile, NumbersAndVersionsAreGos) {
  const auto taken = [](const std::string& line) {
    const auto lines = ParseModelfile("FROM a\n" + line + "\n", "M");
    return lines.ok() && ModelSettings::Of(*lines, "M").ok();
  };
  for (const char* text : {"5", "+5", "-5", "-0", "007"})
    EXPECT_TRUE(taken(Cat("PARAMETER seed ", text))) << text;
  for (const char* text : {"+-5", "-+5", "--5", "++5", "+", "-", "5.0", "0x5", "1_0"})
    EXPECT_FALSE(taken(Cat("PARAMETER seed ", text))) << text;
  for (const char* text :
       {"0", "1.2", "v1.2.3", "1.2.3-rc.1", "1.2.3-0a", "1.2.3+01.b", "1.2.3--+-"})
    EXPECT_TRUE(taken(Cat("REQUIRES ", text))) << text;
  for (const char* text :
       {"", "v", "vv1", "01", "1.", ".1", "1.2.3.4", "1-rc", "1.2+b", "1.2.3-", "1.2.3+",
        "1.2.3-01", "1.2.3-a..b", "1.2.3-\u00e9", "1.2.3-a+b+c", "1.-2.3"})
    EXPECT_FALSE(taken(Cat("REQUIRES ", text))) << text;
}

TEST(OllamaModelfile, TextsReadBackAsTheyWere) {
  const std::vector<ModelfileLine> lines = {
      {Command::kFrom, "", "a.gguf", 1},
      {Command::kSystem, "", "\"quoted\" at first", 2},
      {Command::kTemplate, "", "\nlines \"\"\" inside\r\n", 3},
      {Command::kParameter, "stop", " ", 6},
      {Command::kParameter, "stop", "\ttab", 7},
      {Command::kMessage, "user", "", 8},
      {Command::kLicense, "", "", 9},
  };
  const auto read = ParseModelfile(ModelfileText(lines), "Modelfile");
  SMELT_ASSERT_OK(read);
  ASSERT_EQ(read->size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ((*read)[i].command, lines[i].command);
    EXPECT_EQ((*read)[i].key, lines[i].key);
    EXPECT_EQ((*read)[i].value, lines[i].value);
  }
}

TEST(OllamaModelfile, ErrorsSayWhereAndWhatWasExpected) {
  const auto message = [](std::string_view text) {
    return std::string(ParseModelfile(text, "M").status().message());
  };
  EXPECT_EQ(message("FROM a\n  TEMPRATURE 1\n"),
            "M, line 2, column 3: TEMPRATURE is no command; a line begins with one of FROM, "
            "ADAPTER, DRAFT, TEMPLATE, SYSTEM, LICENSE, RENDERER, PARSER, REQUIRES, PARAMETER, "
            "MESSAGE");
  EXPECT_EQ(message("FROM a\nPARAMETER temperature\n"),
            "M, line 2, column 11: expected a parameter's name, a space and its value after "
            "PARAMETER, found temperature and no space");
  EXPECT_EQ(message("FROM a\nSYSTEM \"open\nPARAMETER seed 1\n"),
            "M, line 2, column 8: the quotes that begin the value of SYSTEM are not closed at the "
            "end of a line");
  EXPECT_THAT(message("FROM a\nMESSAGE tool x\n"),
              HasSubstr("M, line 2, column 9: tool is no role"));
}

TEST(OllamaParameters, InheritedValuesGiveWay) {
  auto parameters = Parameters::Read(
      "{\"stop\":[\"a\",\"b\"],\"num_ctx\":4096,\"temperature\":0.7,\"x\":true}", "p");
  SMELT_ASSERT_OK(parameters);
  SMELT_EXPECT_OK(parameters->Add("stop", "c"));
  SMELT_EXPECT_OK(parameters->Add("stop", "d"));
  SMELT_EXPECT_OK(parameters->Add("temperature", "1"));
  EXPECT_EQ(parameters->Json(),
            "{\"num_ctx\":4096,\"stop\":[\"c\",\"d\"],\"temperature\":1,\"x\":true}\n");
  EXPECT_FALSE(Parameters::Read("[1]", "p").ok());
  EXPECT_FALSE(Parameters::Read("{\"a\":{}}", "p").ok());
  EXPECT_FALSE(Parameters::Read("{\"a\":[1]}", "p").ok());
}

}  // namespace
}  // namespace smelt::ollama
