// Templates of Ollama's models: Go's text/template. Only their syntax is known here; a template
// that does not parse makes a model that cannot be shown, listed or run.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace smelt::ollama {

/// Whether Ollama can parse `text`: delimiters, control structures, pipelines, declared variables,
/// and functions (Go's own and Ollama's). The error says line and cause.
absl::Status CheckGoTemplate(std::string_view text);

}  // namespace smelt::ollama
