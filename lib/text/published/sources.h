// Tokenizers that are published in other forms than tokenizer.json and SentencePiece models.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/text/published/published.h"
#include "lib/text/published/tokenizer_json.h"

namespace smelt {

/// GPT-2's form: vocab.json and merges.txt; around them the byte-level pipeline of the class that
/// `folder` names, whose special tokens it then has. The file names are for messages, here and
/// below.
absl::StatusOr<TokenizerJson> ReadVocabAndMerges(std::string_view vocab,
                                                 const std::string& vocab_file,
                                                 std::string_view merges,
                                                 const std::string& merges_file,
                                                 TokenizerFolder& folder);

/// Mistral's tekken.json: ranks of byte strings, special tokens before them.
absl::StatusOr<std::unique_ptr<TokenizerCore>> MakeTekkenCore(std::string_view text,
                                                              const std::string& file,
                                                              TokenizerFolder& folder);

/// Lines of base64 and rank, as tiktoken and Llama 3's own layout have them; a vocabulary that is
/// not known is refused.
bool LooksLikeTiktoken(std::string_view text);
absl::StatusOr<std::unique_ptr<TokenizerCore>> MakeTiktokenCore(std::string_view text,
                                                                const std::string& file,
                                                                TokenizerFolder& folder);

}  // namespace smelt
