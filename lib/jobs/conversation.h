// What a chat template is rendered with.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "formats/gguf.h"
#include "lib/text/chat/chat_template.h"

namespace smelt {

/// A list of messages, or an object with "messages", "tools", "add_generation_prompt", "kwargs" and
/// "now" (a local time), of which all but the first may be left out. kInvalidInput names the
/// member.
absl::StatusOr<ChatInputs> ReadConversation(std::string_view text);

/// The text of a model's token, `kind` "bos" or "eos"; empty where it has none.
std::string SpecialTokenText(const Metadata& metadata, std::string_view kind);

}  // namespace smelt
