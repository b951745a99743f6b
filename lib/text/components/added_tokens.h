// Tokens that are found in the text before the model sees it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "lib/text/components/byte_trie.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// Splits text at added tokens as the `tokenizers` library does: the leftmost, of those the
/// longest; flags decide about the spaces around and about neighbours that are letters.
class AddedTokenMatcher {
 public:
  /// `pattern`: the text to look for (the content, or what the normalizer makes of it). Later ones
  /// with the same pattern are ignored.
  void Add(AddedToken token, std::string_view pattern);
  bool empty() const { return tokens_.empty(); }

  /// Calls emit(text, id) in order: id >= 0 for a token, -1 for the text between. With
  /// `special_as_text`, special tokens count as text.
  absl::Status Split(std::string_view text, bool special_as_text,
                     absl::FunctionRef<absl::Status(std::string_view, int32_t)> emit) const;

 private:
  std::vector<AddedToken> tokens_;
  ByteTrie trie_;
};

}  // namespace smelt
