// SentencePiece's normalization: rules, spaces, the dummy prefix.
#pragma once

#include <string>
#include <string_view>

#include "lib/text/components/charsmap.h"
#include "lib/text/models/byte_trie.h"

namespace smelt {

struct SpmNormalizer {
  Charsmap charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;

  /// `user_defined`: texts that pass unchanged. `dummy_prefix`: false where a text gets none even
  /// if the rules have one.
  std::string Apply(std::string_view text, const ByteTrie& user_defined,
                    bool dummy_prefix = true) const;
};

}  // namespace smelt
