// The "decoder" of a tokenizer.json: texts of tokens in, text out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/json.h"
#include "lib/text/regex/regex.h"

namespace smelt {

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void Apply(std::vector<std::string>& tokens) const = 0;
};

/// From the component's JSON; nullptr for null: tokens are then joined with spaces.
absl::StatusOr<std::unique_ptr<Decoder>> MakeDecoder(const JsonValue* json);

/// WordPiece's clean-up of one token's text: English contractions and punctuation put together
/// again.
void CleanUpWord(std::string& text);

/// Invalid bytes become U+FFFD, one for every maximal part of a character.
std::string RepairUtf8(std::string_view text);

}  // namespace smelt
