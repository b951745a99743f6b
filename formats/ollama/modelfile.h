// Ollama's Modelfile: what a model is made from, as commands in a text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace smelt::ollama {

/// A command's word. `kParameter` and `kMessage` have a key besides their value.
enum class Command {
  kFrom,
  kAdapter,
  kDraft,
  kTemplate,
  kSystem,
  kLicense,
  kRenderer,
  kParser,
  kRequires,
  kParameter,
  kMessage,
};

struct ModelfileLine {
  Command command = Command::kFrom;
  std::string key;    ///< a parameter's name, a message's role; else empty
  std::string value;  ///< without quotes
  uint64_t line = 0;  ///< where the command begins; each CR and each LF counts, as Ollama counts
};

/// Reads a Modelfile as Ollama does: UTF-8, or UTF-16 with a byte order mark; broken bytes become
/// U+FFFD; in values characters that are not printable are dropped. Errors name `file`, line,
/// column and what was expected; a text without FROM is one.
absl::StatusOr<std::vector<ModelfileLine>> ParseModelfile(std::string_view bytes,
                                                          std::string_view file);

/// The commands as `ollama show --modelfile` writes them, a line each; values are quoted where they
/// must be. Not every such text reads back: a value of one line that begins with `"` is bare.
std::string ModelfileText(const std::vector<ModelfileLine>& lines);

}  // namespace smelt::ollama
