// Published vocabularies in tiktoken's format. A file of ranks says neither how a text is cut
// before the ranks count, nor which tokens are special: only what a vocabulary is known to be does.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/published/tokenizer_folder.h"
#include "lib/text/spec/token_table.h"

namespace smelt {

struct TiktokenVocabulary {
  std::string_view pattern;
  bool nfc = false;
  bool ignore_merges = false;  ///< for names of pre-tokenizers; every token is its merges' result
  std::vector<AddedToken> special;
  JsonValue config;  ///< tokenizer_config.json of a folder that has none
};

/// By the ranks themselves; or, because Meta's reference code takes any ranks in this way, by a
/// params.json beside them that counts its 256 special tokens.
absl::StatusOr<TiktokenVocabulary> FindTiktokenVocabulary(const TokenTable& ranks,
                                                          const TokenizerFolder& folder,
                                                          const std::string& file);

}  // namespace smelt
