#include "tests/mutations/mutants.h"

#include <algorithm>
#include <array>
#include <random>
#include <set>

#include "lib/base/cat.h"

namespace smelt::testing {
namespace {

constexpr size_t kLimit = 64;  // members of a list or object that are all visited
constexpr size_t kDrawn = 20;

// What a value is replaced by, kind by kind.
constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kOthers = {{
    {"boolean", "true"},
    {"integer", "7"},
    {"fraction", "0.5"},
    {"text", "\"x\""},
    {"list", "[]"},
    {"object", "{}"},
}};

std::string_view KindOf(std::string_view value) {
  switch (value.front()) {
    case '"':
      return "text";
    case '[':
      return "list";
    case '{':
      return "object";
    case 't':
    case 'f':
      return "boolean";
    case 'n':
      return "null";
    default:
      return value.find_first_of(".eEN") == std::string_view::npos ? "integer" : "fraction";
  }
}

}  // namespace

std::vector<size_t> Sample(size_t count, size_t limit) {
  std::set<size_t> chosen;
  if (count <= std::max(limit, kDrawn + 2)) {
    for (size_t i = 0; i < count; ++i) chosen.insert(i);
  } else {
    chosen = {0, count - 1};
    std::minstd_rand draw(static_cast<unsigned>(count));
    while (chosen.size() < kDrawn + 2) chosen.insert(draw() % count);
  }
  return {chosen.begin(), chosen.end()};
}

JsonMutants::JsonMutants(std::string text) : text_(std::move(text)) { Visit(Skip(0), "", ""); }

/// The next place that is no blank, comma or colon.
size_t JsonMutants::Skip(size_t at) const { return text_.find_first_not_of(" \t\r\n,:", at); }

/// Where the value that begins at `at` ends.
size_t JsonMutants::End(size_t at) const {
  size_t depth = 0;
  do {
    const char c = text_[at];
    if (c == '"') {
      for (++at; text_[at] != '"'; ++at) at += text_[at] == '\\';
      ++at;
    } else if (c == '{' || c == '[') {
      ++depth, ++at;
    } else if (c == '}' || c == ']') {
      --depth, ++at;
    } else {
      at = text_.find_first_of(" \t\r\n,:]}", at);
    }
    if (depth > 0) at = Skip(at);
  } while (depth > 0);
  return at;
}

void JsonMutants::Visit(size_t at, const std::string& path, const std::string& name) {
  const bool object = text_[at] == '{';
  if (!object && text_[at] != '[') return;
  std::vector<size_t> members;  // where each begins: at its key, or its value
  for (size_t next = Skip(at + 1); text_[next] != '}' && text_[next] != ']';
       next = Skip(End(object ? Skip(End(next)) : next)))
    members.push_back(next);
  const bool entries = name == "vocab" || name == "merges" || name.starts_with("added_tokens");
  for (const size_t i : Sample(members.size(), entries ? 0 : kLimit)) {
    const size_t value = object ? Skip(End(members[i])) : members[i];
    const std::string key =
        object ? text_.substr(members[i] + 1, End(members[i]) - members[i] - 2) : Cat(i);
    const std::string inner = path.empty() ? key : Cat(path, "/", key);
    const std::string& named = object ? key : name;
    Change(value, End(value), members[i], inner, named);
    Visit(value, inner, named);
  }
}

/// All changes of the member that begins at `member` (its key, or the value itself).
void JsonMutants::Change(size_t value, size_t value_end, size_t member, const std::string& path,
                         const std::string& name) {
  const std::string_view old = std::string_view(text_).substr(value, value_end - value);
  const std::string_view kind = KindOf(old);
  // With the comma behind it, or the one before it where it is the last.
  size_t begin = member, end = text_.find_first_not_of(" \t\r\n", value_end);
  if (text_[end] == ',') {
    ++end;
  } else {
    const size_t before = text_.find_last_not_of(" \t\r\n", member - 1);
    if (text_[before] == ',') begin = before;
    end = value_end;
  }
  Splice(path, name, "delete", begin, end, "");
  Splice(path, name, "double", value_end, value_end,
         Cat(",", text_.substr(member, value_end - member)));
  if (kind != "null") Splice(path, name, "null", value, value_end, "null");
  for (const auto& [other, text] : kOthers) {
    if (other != kind) Splice(path, name, other, value, value_end, std::string(text));
  }
  if (kind != "text" && kind != "list" && kind != "object" && kind != "null")
    Splice(path, name, "quoted", value, value_end, Cat("\"", old, "\""));
}

void JsonMutants::Splice(const std::string& path, const std::string& name, std::string_view what,
                         size_t begin, size_t end, std::string with) {
  Add(Cat(path, " ", what), name, [this, begin, end, with = std::move(with)] {
    return Cat(std::string_view(text_).substr(0, begin), with, std::string_view(text_).substr(end));
  });
}

}  // namespace smelt::testing
