#include "smelt/chat_template.h"

#include <memory>
#include <optional>
#include <utility>

#include "formats/gguf.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/conversation.h"
#include "lib/jobs/open_model.h"
#include "lib/text/chat/chat_template.h"

namespace smelt {
namespace {

constexpr uint64_t kLongestTemplate = 4 << 20;

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
                   " carries no chat template; give a template's file instead (to run --chat: "
                   "--chat-template FILE)");
    }
    state->text = *text->AsString();
    state->bos = SpecialTokenText(metadata, "bos");
    state->eos = SpecialTokenText(metadata, "eos");
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
