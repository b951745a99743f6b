#include "smelt/chat_template.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "formats/gguf.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/open_model.h"
#include "lib/text/chat/chat_template.h"

namespace smelt {
namespace {

constexpr uint64_t kLongestTemplate = 4 << 20;
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

std::string TokenText(const Metadata& metadata, std::string_view key) {
  const MetadataValue* id = metadata.Find(key);
  const auto tokens = metadata.Strings("tokenizer.ggml.tokens");
  if (id == nullptr || !tokens.ok()) return "";
  const std::optional<uint64_t> index = id->AsUint();
  return index && *index < (*tokens)->size() ? (**tokens)[*index] : "";
}

// A file that is no model: the template itself.
absl::StatusOr<bool> IsTemplateFile(const std::string& path) {
  if (!IsFile(path)) return false;
  if (path.ends_with(".jinja") || path.ends_with(".jinja2") || path.ends_with(".txt")) return true;
  SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> file, OpenFile(path));
  return !LooksLikeGguf(*file);
}

}  // namespace

struct ChatRenderer::State {
  std::string text, bos, eos;
  std::optional<ChatTemplate> parsed;
};

ChatRenderer::ChatRenderer(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatRenderer::ChatRenderer(ChatRenderer&&) noexcept = default;
ChatRenderer& ChatRenderer::operator=(ChatRenderer&&) noexcept = default;
ChatRenderer::~ChatRenderer() = default;
const std::string& ChatRenderer::text() const { return state_->text; }

absl::StatusOr<ChatRenderer> ChatRenderer::Open(const ChatTemplateOptions& options,
                                                const Observer& observer) try {
  auto state = std::make_unique<State>();
  SMELT_ASSIGN_OR_RETURN(const bool is_file, IsTemplateFile(options.source));
  if (is_file) {
    SMELT_ASSIGN_OR_RETURN(state->text, ReadTextFile(options.source, kLongestTemplate));
  } else {
    SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> model,
                           OpenModelByName(options.source, {}, observer));
    const Metadata& metadata = model->metadata();
    const MetadataValue* text = metadata.Find("tokenizer.chat_template");
    if (text == nullptr || text->AsString() == nullptr) {
      return Error(ErrorCode::kNotFound, Escape(options.source),
                   " carries no chat template; give a template's file instead");
    }
    state->text = *text->AsString();
    state->bos = TokenText(metadata, "tokenizer.ggml.bos_token_id");
    state->eos = TokenText(metadata, "tokenizer.ggml.eos_token_id");
  }
  if (options.bos) state->bos = *options.bos;
  if (options.eos) state->eos = *options.eos;
  SMELT_ASSIGN_OR_RETURN(ChatTemplate parsed,
                         ChatTemplate::Parse(state->text, Escape(options.source)));
  state->parsed = std::move(parsed);
  return ChatRenderer(std::move(state));
} catch (...) {
  return CaughtError();
}

absl::StatusOr<std::string> ChatRenderer::Render(std::string_view conversation) const try {
  SMELT_ASSIGN_OR_RETURN(ChatInputs inputs, ReadConversation(conversation));
  inputs.bos_token = state_->bos;
  inputs.eos_token = state_->eos;
  return state_->parsed->Render(inputs);
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
