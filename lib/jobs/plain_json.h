// Texts with JSON in them, compared whatever form the JSON has.
#pragma once

#include <string>
#include <string_view>

namespace smelt {

/// `text` with every JSON object and list in it written in one form: members by name, no blanks.
/// Without empty descriptions, which Ollama adds to parameters of tools.
std::string WithPlainJson(std::string_view text);

}  // namespace smelt
