#include "lib/text/chat/chat_template.h"

#include <algorithm>

#include "lib/base/cat.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/chat/parser.h"
#include "lib/text/chat/renderer.h"

namespace smelt {
namespace {

using jinja::Budget;
using jinja::TemplateError;
using jinja::Value;

/// A second or two of work, and memory beside that of the conversation.
constexpr uint64_t kSteps = 20'000'000, kBytes = 64 << 20;
constexpr uint64_t kStepsPerByte = 100, kBytesPerByte = 32;
constexpr size_t kLongestTemplate = 4 << 20;

Value FromJson(Budget& budget, const JsonValue& json) {
  if (json.is_null()) return Value();
  if (const bool* flag = json.as_bool()) return Value(*flag);
  if (const std::string* text = json.as_string()) return jinja::MakeString(budget, *text);
  if (json.is_int()) {
    const std::optional<int64_t> integer = json.as_int();
    if (!integer) throw TemplateError{"a number of the conversation does not fit into 64 bits"};
    return Value(*integer);
  }
  if (const std::optional<double> real = json.as_double()) return Value(*real);
  if (const JsonValue::Array* array = json.as_array()) {
    std::vector<Value> items;
    for (const JsonValue& item : *array) items.push_back(FromJson(budget, item));
    return jinja::MakeList(budget, std::move(items));
  }
  std::vector<std::pair<Value, Value>> items;
  for (const auto& [key, value] : *json.as_object())
    items.emplace_back(jinja::MakeString(budget, key), FromJson(budget, value));
  return jinja::MakeDict(budget, std::move(items));
}

// What an assistant thought goes by several names. As in transformers, a message that has one is
// given what templates read: "reasoning_content", and "thinking" unless it has that itself.
JsonValue WithEveryThought(const JsonValue& messages) {
  if (messages.as_array() == nullptr) return messages;
  JsonValue::Array all = *messages.as_array();
  for (JsonValue& message : all) {
    if (!message.is_object()) continue;
    const JsonValue* thought = nullptr;
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      if (thought == nullptr) thought = message.FindNonNull(name);
    }
    if (thought == nullptr) continue;
    JsonValue::Object members;
    if (message.Find("thinking") == nullptr) members.emplace_back("thinking", *thought);
    for (const auto& [name, value] : *message.as_object())
      members.emplace_back(name, name == "reasoning_content" ? *thought : value);
    if (message.Find("reasoning_content") == nullptr)
      members.emplace_back("reasoning_content", *thought);
    message = JsonValue(std::move(members));
  }
  return JsonValue(std::move(all));
}

std::tm LocalTime() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string name;
  Budget constants{kSteps, kBytes};
  jinja::Block block;  // behind what its constants are charged to
};

ChatTemplate::ChatTemplate(std::unique_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(std::string_view text, std::string_view name) {
  if (text.size() > kLongestTemplate) {
    return Error(ErrorCode::kInvalidInput, name, ": the chat template is ", text.size(),
                 " bytes long, at most ", kLongestTemplate, " are read");
  }
  if (const size_t bad = FirstInvalidUtf8(text); bad != text.size()) {
    return Error(ErrorCode::kInvalidInput, name, ": the chat template is not valid UTF-8 at byte ",
                 bad);
  }
  auto parsed = std::make_unique<Parsed>();
  parsed->name = std::string(name);
  try {
    parsed->block = jinja::ParseTemplate(text, parsed->constants);
  } catch (const TemplateError& error) {
    return Error(ErrorCode::kInvalidInput, name, ": chat template, ", error.message);
  }
  return ChatTemplate(std::move(parsed));
}

absl::StatusOr<std::string> ChatTemplate::Render(const ChatInputs& inputs) const {
  const JsonValue messages = WithEveryThought(inputs.messages);
  const uint64_t size = messages.ToText().size() + inputs.tools.ToText().size();
  Budget budget(kSteps + kStepsPerByte * size, kBytes + kBytesPerByte * size);
  try {
    std::vector<std::pair<std::string, Value>> variables;
    const auto add = [&](std::string_view name, Value value) {
      variables.emplace_back(name, std::move(value));
    };
    add("messages", FromJson(budget, messages));
    add("tools", FromJson(budget, inputs.tools));
    add("documents", Value());
    add("add_generation_prompt", Value(inputs.add_generation_prompt));
    add("bos_token", jinja::MakeString(budget, inputs.bos_token));
    add("eos_token", jinja::MakeString(budget, inputs.eos_token));
    for (const auto& [name, value] : inputs.variables) add(name, FromJson(budget, value));
    jinja::Renderer renderer(budget, inputs.now ? *inputs.now : LocalTime());
    return renderer.Render(parsed_->block, std::move(variables));
  } catch (const TemplateError& error) {
    return Error(ErrorCode::kInvalidInput, parsed_->name, ": chat template, ",
                 Escape(error.message, 250));
  }
}

}  // namespace smelt
