#include "tests/testing/bad_cases.h"

#include <algorithm>
#include <filesystem>

#include "lib/base/ascii.h"
#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestSentence = 380;

std::vector<std::string> Strings(const JsonValue& entry, std::string_view key) {
  std::vector<std::string> out;
  if (const JsonValue* list = entry.Find(key)) {
    for (const JsonValue& item : *list->as_array()) out.push_back(*item.as_string());
  }
  return out;
}

/// `number` stands in `text`, not as a part of a longer one.
bool HasNumber(std::string_view text, std::string_view number) {
  for (size_t at = text.find(number); at != text.npos; at = text.find(number, at + 1)) {
    const size_t end = at + number.size();
    if ((at == 0 || !IsDigit(text[at - 1])) && (end == text.size() || !IsDigit(text[end])))
      return true;
  }
  return false;
}

void TakeStep(const JsonValue& step, const fs::path& input) {
  const std::string& op = *step.Find("op")->as_string();
  const JsonValue* at = step.Find("path");
  const fs::path path = at == nullptr ? input : input / *at->as_string();
  if (op == "extend") {
    fs::resize_file(path, static_cast<uintmax_t>(*step.Find("size")->as_int()));
  } else if (op == "move") {
    const fs::path to = (input / *step.Find("to")->as_string()).lexically_normal();
    fs::create_directories(to.parent_path());
    fs::rename(path, to);
  } else if (op == "symlink") {
    fs::create_symlink(*step.Find("to")->as_string(), path);
  } else if (op == "remove") {
    fs::remove(path);
  } else {
    ADD_FAILURE() << "unknown setup step " << op;
  }
}

}  // namespace

void PrintTo(const BadCase& c, std::ostream* out) { *out << c.id; }

std::string BadCaseName(const ::testing::TestParamInfo<BadCase>& info) {
  std::string name = info.param.id;
  for (char& c : name) c = IsDigit(c) || IsLowerAscii(LowerAscii(c)) ? c : '_';
  return name;
}

std::vector<BadCase> BadCases(std::initializer_list<std::string_view> prefixes,
                              std::string_view command) {
  const std::string path = TestdataPath("bad/MANIFEST.json");
  const absl::StatusOr<JsonValue> manifest = ParseJsonValue(ReadFile(path), path);
  std::vector<BadCase> cases;
  if (!manifest.ok()) return cases;
  for (const JsonValue& entry : *manifest->as_array()) {
    const std::string& id = *entry.Find("id")->as_string();
    const bool wanted = std::ranges::any_of(
        prefixes, [&](std::string_view prefix) { return id.starts_with(prefix); });
    if (!wanted || (!command.empty() && Strings(entry, "command")[0] != command)) continue;
    BadCase c{.id = id,
              .path = *entry.Find("path")->as_string(),
              .expect = *entry.Find("expect")->as_string(),
              .bases = Strings(entry, "base"),
              .mentions = Strings(entry, "mentions"),
              .mentions_all = Strings(entry, "mentions_all"),
              .setup = JsonValue()};
    if (const JsonValue* setup = entry.Find("setup")) c.setup = *setup;
    cases.push_back(std::move(c));
  }
  return cases;
}

std::string Materialize(const BadCase& c, const std::string& root) {
  const fs::path top = fs::path(root) / "a" / "b";
  fs::create_directories(top);
  const fs::path source = TestdataPath("bad/" + c.path);
  if (!fs::is_directory(source)) {
    const fs::path file = top / ("model" + source.extension().string());
    fs::copy_file(source, file);
    return file;
  }
  const fs::path input = top / "model";
  std::vector<std::string> layers = c.bases;
  layers.push_back(c.path);
  for (const std::string& layer : layers) {
    fs::copy(TestdataPath("bad/" + layer), input,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }
  if (c.setup.is_array()) {
    for (const JsonValue& step : *c.setup.as_array()) TakeStep(step, input);
  }
  return input;
}

void ExpectMention(const BadCase& c, std::string_view sentence) {
  const std::string lower = LowerAscii(sentence);
  const bool mentioned = std::ranges::any_of(c.mentions, [&](const std::string& mention) {
    return lower.find(LowerAscii(mention)) != std::string::npos;
  });
  EXPECT_TRUE(mentioned || c.mentions.empty()) << sentence;
}

void ExpectRefused(const BadCase& c, const absl::Status& status,
                   const std::vector<std::string>& unasked) {
  ASSERT_FALSE(status.ok());
  std::string sentence(status.message());
  for (const std::string& text : unasked) {
    for (size_t at; (at = sentence.find(text)) != std::string::npos;)
      sentence.erase(at, text.size());
  }
  EXPECT_LT(sentence.size(), kLongestSentence) << sentence;
  for (const char letter : sentence) EXPECT_GE(static_cast<unsigned char>(letter), 32) << sentence;
  EXPECT_NE(CodeOf(status), ErrorCode::kInternal) << sentence;
  ExpectMention(c, sentence);
  for (const std::string& number : c.mentions_all)
    EXPECT_TRUE(HasNumber(sentence, number)) << number << " in: " << sentence;
}

}  // namespace smelt::testing
