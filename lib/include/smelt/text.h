// Texts as people have them, read as UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

/// A whole text: a file, a pipe, or "-" for standard input. A byte order mark in front is left out
/// (a note). UTF-16 and UTF-32 are refused by name, with or without their mark; anything else that
/// is not valid UTF-8 is one warning, and each of its broken bytes is a U+FFFD to every tokenizer.
SMELT_EXPORT absl::StatusOr<std::string> ReadText(const std::string& path,
                                                  const Observer& observer = {});

/// The same for a text that is in memory already; `name` is what messages call it.
SMELT_EXPORT absl::StatusOr<std::string> AcceptText(std::string text, std::string_view name,
                                                    const Observer& observer = {});

/// A file's name as a word of a shell's command: read as it is meant, taken by no program for an
/// option, safe to show at a terminal. Names without special characters stay as they are.
SMELT_EXPORT std::string ShellQuoted(std::string_view path);

}  // namespace smelt
