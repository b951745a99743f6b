// Where the GGUF vocabulary of a SentencePiece-like tokenizer has a space at the beginning.
#pragma once

#include <optional>
#include <string_view>

#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

enum class SpacePrefix {
  kNone,
  kNormalizer,     ///< a normalizer of its own puts it there, and maps spaces
  kAlways,         ///< before every stretch between added tokens
  kUnlessPresent,  ///< the same, but not before a space
  kFirst,          ///< before a text's own beginning, but not before a space
};

/// As smelt.tokenizer.space_prefix has it.
std::string_view NameOf(SpacePrefix prefix);
std::optional<SpacePrefix> SpacePrefixOf(std::string_view name);

/// The steps that map spaces to U+2581 and back. `split`: words begin at every U+2581.
void AddSpaceSteps(SpacePrefix prefix, bool split, PipelineSpec& spec);

}  // namespace smelt
