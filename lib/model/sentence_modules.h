// What sentence-transformers puts behind a model: modules.json.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace smelt {

struct SentenceModules {
  std::optional<uint32_t> pooling_type;  ///< as llama.cpp numbers them
  std::vector<std::string> notes;        ///< modules that a GGUF has no place for
};

/// Reads modules.json and the configuration of the pooling module; nothing where there is none.
/// `read` gives the text of a file of the folder by its relative name.
SentenceModules ReadSentenceModules(
    const std::function<std::optional<std::string>(const std::string&)>& read);

}  // namespace smelt
