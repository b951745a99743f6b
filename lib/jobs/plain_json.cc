#include "lib/jobs/plain_json.h"

#include <algorithm>
#include <cstddef>

#include "lib/base/json.h"

namespace smelt {
namespace {

/// What is longer or deeper is left as it is: the time that a text takes stays in proportion to its
/// length.
constexpr size_t kLongest = 64 << 10;
constexpr int kDeepest = 32;

/// Bytes of `text` up to where its brackets are closed; 0 where they never are.
size_t ClosedBrackets(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < std::min(text.size(), kLongest); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDeepest) return 0;
    } else if (c == '}' || c == ']') {
      if (--depth == 0) return i + 1;
    }
  }
  return 0;
}

JsonValue Plain(const JsonValue& value) {
  if (const auto* array = value.as_array()) {
    JsonValue::Array out;
    for (const JsonValue& element : *array) out.push_back(Plain(element));
    return JsonValue(std::move(out));
  }
  const auto* object = value.as_object();
  if (object == nullptr) return value;
  JsonValue::Object out;
  for (const auto& [name, member] : *object) {
    const std::string* text = member.as_string();
    if (name == "description" && text != nullptr && text->empty()) continue;
    out.emplace_back(name, Plain(member));
  }
  std::ranges::sort(out, {}, [](const auto& member) -> const std::string& { return member.first; });
  return JsonValue(std::move(out));
}

}  // namespace

std::string WithPlainJson(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length =
        text[at] == '{' || text[at] == '[' ? ClosedBrackets(text.substr(at)) : size_t{0};
    if (length > 0) {
      const auto value = ParseJsonValue(text.substr(at, length), "JSON", {.max_depth = kDeepest});
      if (value.ok()) {
        out += Plain(*value).ToText();
        at += length;
        continue;
      }
    }
    out += text[at++];
  }
  return out;
}

}  // namespace smelt
