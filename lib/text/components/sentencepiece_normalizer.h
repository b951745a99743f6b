// SentencePiece's normalization: rules, spaces, the dummy prefix.
#pragma once

#include <string>
#include <string_view>

#include "lib/text/components/byte_trie.h"
#include "lib/text/components/charsmap.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// `charsmap`: that of the rules. `user_defined`: texts that pass unchanged. `dummy_prefix`:
/// whether this text gets one.
std::string NormalizeAsSentencePiece(std::string_view text, const SentencePieceNormalizer& rules,
                                     const Charsmap& charsmap, const ByteTrie& user_defined,
                                     bool dummy_prefix);

}  // namespace smelt
