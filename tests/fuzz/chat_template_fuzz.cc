// A chat template: parsed and rendered with a small conversation, in bounded time and memory.
#include "lib/text/chat/chat_template.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  static const JsonValue* const messages = new JsonValue(*ParseJsonValue(
      R"([{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "ü"}]},
          {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5, true]}}}]}])",
      "messages"));
  if (size > 4096) return 0;
  const absl::StatusOr<ChatTemplate> parsed =
      ChatTemplate::Parse(std::string_view(reinterpret_cast<const char*>(data), size), "input");
  if (!parsed.ok()) {
    fuzz::RequireGoodMessage(parsed.status());
    return 0;
  }
  const absl::StatusOr<std::string> text =
      parsed->Render({.messages = *messages, .now = std::tm{}});
  if (!text.ok()) fuzz::RequireGoodMessage(text.status());
  return 0;
}
