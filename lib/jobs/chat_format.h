// A model's own chat template as one of the chat formats that we can write for Ollama.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/ollama/model_settings.h"

namespace smelt {

struct ChatFormat {
  std::string name;
  /// template_text, the stop words among the parameters, least_ollama.
  ollama::ModelSettings settings;
  bool has_tools = false;  ///< in its Go template
};

struct ChatFormatMatch {
  std::optional<ChatFormat> format;
  struct Near {
    std::string name;
    size_t agreed = 0;  ///< probe conversations that come out alike
  };
  std::vector<Near> nearest;  ///< of no format: those that agree on most, at most three
  size_t probes = 0;          ///< conversations that were tried, but for those with tools
  bool has_tools = false;     ///< of a format: the model's own template writes of tools
};

/// Renders probe conversations by the Jinja template `jinja` and compares them with what each
/// format's Go template makes of them; a format is the model's when all are equal (the text of
/// `bos` in front may be missing: Ollama puts the token there itself). A system prompt that `jinja`
/// writes where a conversation has none is written by the Go template too, also with the date in
/// it. Formats with tools are those of models whose template writes these too as the Go template
/// does, but for the form of JSON. Errors: `jinja` is no template.
absl::StatusOr<ChatFormatMatch> RecogniseChatFormat(std::string_view jinja, std::string_view bos,
                                                    std::string_view eos);

}  // namespace smelt
