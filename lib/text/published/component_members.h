// Which members the components of a tokenizer.json have: the `tokenizers` library refuses a file
// whose component lacks one, or has one of another type. What is absent means what the library
// takes for it, never what a reader would guess.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "lib/base/json.h"

namespace smelt {

/// The kinds of a tokenizer.json's "model".
enum class ModelKind { kBpe, kUnigram, kWordPiece, kWordLevel };
std::string_view NameOf(ModelKind kind);

/// Checks the members of every component of a tokenizer.json, those of sequences too, and of its
/// added tokens. Components of an unknown type are left to whoever makes them. kInvalidInput names
/// the component and the member.
absl::Status CheckMembers(const JsonValue& root, ModelKind model, std::string_view file);

/// Checks the members of one token of added_tokens_decoder, where transformers has a default for
/// all but the text.
absl::Status CheckAddedToken(const JsonValue& token, std::string_view file);

}  // namespace smelt
