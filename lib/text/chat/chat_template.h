// Chat templates: the Jinja programs that models carry to turn a conversation into text, run as the
// transformers library runs them (Jinja2 3.1 in its sandbox, trim_blocks and lstrip_blocks, loop
// controls, the generation tag; tojson, raise_exception and strftime_now of its own).
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/base/json.h"

namespace smelt {

/// The variables of a template.
struct ChatInputs {
  JsonValue messages = {};           ///< a list of {"role", "content", ...}
  JsonValue tools = {};              ///< a list, or null
  JsonValue::Object variables = {};  ///< further ones by name, as enable_thinking
  bool add_generation_prompt = true;
  std::string bos_token = {}, eos_token = {};
  std::optional<std::tm> now = {};  ///< what strftime_now shows; the local time if empty
};

class ChatTemplate {
 public:
  /// kInvalidInput with `name` and the line when it is no template; kUnsupported names a tag that
  /// is not supported (inheritance, imports, includes).
  static absl::StatusOr<ChatTemplate> Parse(std::string_view text, std::string_view name);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// kInvalidInput with the line and what Python would raise: the template's own exceptions, uses
  /// of what is undefined, and whatever would take too long or too much memory. Safe to call from
  /// several threads.
  absl::StatusOr<std::string> Render(const ChatInputs& inputs) const;

 private:
  struct Parsed;
  explicit ChatTemplate(std::unique_ptr<const Parsed> parsed);
  std::unique_ptr<const Parsed> parsed_;
};

}  // namespace smelt
