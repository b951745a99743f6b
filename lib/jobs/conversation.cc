#include "lib/jobs/conversation.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <utility>

#include "lib/base/json.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr std::string_view kConversation = "the conversation";

// "2025-01-15T10:30:00", a blank in the place of the T; seconds or the whole time may be left out.
std::optional<std::tm> ParseLocalTime(std::string_view text) {
  constexpr std::string_view kPattern = "0000-00-00T00:00:00";
  if (text.size() != 10 && text.size() != 16 && text.size() < 19) return std::nullopt;
  int numbers[6] = {0, 1, 1, 0, 0, 0};
  size_t field = 0;
  for (size_t i = 0; i < std::min(text.size(), kPattern.size()); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kPattern[i] == '0' ? !digit : text[i] != kPattern[i] && !(i == 10 && text[i] == ' '))
      return std::nullopt;
    if (kPattern[i] != '0') {
      ++field;
    } else {
      const bool first = i == 0 || kPattern[i - 1] != '0';
      numbers[field] = (first ? 0 : numbers[field] * 10) + (text[i] - '0');
    }
  }
  std::tm time{};
  time.tm_year = numbers[0] - 1900;
  time.tm_mon = numbers[1] - 1;
  time.tm_mday = numbers[2];
  time.tm_hour = numbers[3];
  time.tm_min = numbers[4];
  time.tm_sec = numbers[5];
  time.tm_isdst = -1;
  const std::tm wanted = time;
  const bool exists = std::mktime(&time) != -1 && time.tm_mon == wanted.tm_mon &&
                      time.tm_mday == wanted.tm_mday && wanted.tm_hour < 24 && wanted.tm_min < 60;
  return exists ? std::optional(time) : std::nullopt;
}

absl::Status BadMember(std::string_view name, std::string_view expected) {
  return Error(ErrorCode::kInvalidInput, kConversation, "'s \"", name, "\" must be ", expected);
}

}  // namespace

absl::StatusOr<ChatInputs> ReadConversation(std::string_view text) {
  SMELT_ASSIGN_OR_RETURN(JsonValue json, ParseJsonValue(text, kConversation));
  ChatInputs inputs;
  if (json.as_array() != nullptr) {
    inputs.messages = std::move(json);
    return inputs;
  }
  const JsonValue* messages = json.Find("messages");
  if (messages == nullptr || messages->as_array() == nullptr) {
    return Error(ErrorCode::kInvalidInput, kConversation,
                 " is neither a list of messages nor an object with a list \"messages\"");
  }
  inputs.messages = *messages;
  if (const JsonValue* tools = json.FindNonNull("tools")) {
    if (tools->as_array() == nullptr) return BadMember("tools", "a list");
    inputs.tools = *tools;
  }
  if (const JsonValue* prompt = json.FindNonNull("add_generation_prompt")) {
    if (prompt->as_bool() == nullptr) return BadMember("add_generation_prompt", "true or false");
    inputs.add_generation_prompt = *prompt->as_bool();
  }
  if (const JsonValue* variables = json.FindNonNull("kwargs")) {
    if (!variables->is_object()) return BadMember("kwargs", "an object");
    inputs.variables = *variables->as_object();
  }
  if (const JsonValue* now = json.FindNonNull("now")) {
    if (now->as_string() != nullptr) inputs.now = ParseLocalTime(*now->as_string());
    if (!inputs.now) return BadMember("now", "a time like \"2025-01-15T10:30:00\"");
  }
  return inputs;
}

std::string SpecialTokenText(const Metadata& metadata, std::string_view kind) {
  const MetadataValue* id = metadata.Find(Cat("tokenizer.ggml.", kind, "_token_id"));
  const auto tokens = metadata.Strings("tokenizer.ggml.tokens");
  if (id == nullptr || !tokens.ok()) return "";
  const std::optional<uint64_t> index = id->AsUint();
  return index && *index < (*tokens)->size() ? (**tokens)[*index] : "";
}

}  // namespace smelt
