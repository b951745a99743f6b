// Chat formats that we write for Ollama, as texts built into the library (folder chat_formats/).
#pragma once

#include <span>
#include <string_view>

namespace smelt::ollama {

/// A Modelfile with the Go template of a format and its stop words. In it and in the renderings
/// %BOS% and %EOS% stand for a model's tokens, %SYSTEM% for the system prompt that a model's own
/// template writes when a conversation has none.
struct ChatFormatText {
  std::string_view name, modelfile;
};

std::span<const ChatFormatText> ChatFormatTexts();

/// {"probes": [conversation...], "renderings": {name: [text or null...]}}: what Go makes of each
/// probe by each format, without BOS; null where the format's Jinja template refuses the probe.
std::string_view ChatFormatRenderings();

}  // namespace smelt::ollama
