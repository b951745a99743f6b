// A model's chat template: from a conversation to the text that the model continues.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct ChatTemplateOptions {
  std::string source;  ///< a template's file (NAME.jinja), a model folder, a GGUF or a store name
  /// The texts of the beginning and end tokens; empty: the model's own, none for a file.
  std::optional<std::string> bos, eos;
};

/// A template kept open for many conversations. Safe to use from several threads.
class SMELT_EXPORT ChatRenderer {
 public:
  /// kNotFound when the model carries no template.
  static absl::StatusOr<ChatRenderer> Open(const ChatTemplateOptions& options,
                                           const Observer& observer = {});
  ChatRenderer(ChatRenderer&&) noexcept;
  ChatRenderer& operator=(ChatRenderer&&) noexcept;
  ~ChatRenderer();

  /// The template as the model carries it.
  const std::string& text() const;

  /// `conversation` is JSON: a list of messages {"role", "content", ...}, or an object with
  /// "messages" and, if wanted, "tools" (a list), "add_generation_prompt" (true unless said),
  /// "kwargs" (an object of further variables) and "now" (ISO 8601 local time, for templates that
  /// print the date; the present time unless said). kInvalidInput when it is anything else, and
  /// where the template refuses the conversation.
  absl::StatusOr<std::string> Render(std::string_view conversation) const;

 private:
  struct State;
  explicit ChatRenderer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace smelt
