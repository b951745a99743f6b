// The published formats of a vocabulary, one reader each: bytes of files in, a spec out. What names
// a format is open_published.cc. File names are for messages. What else a format says about its
// folder goes there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/sentencepiece.h"
#include "lib/text/published/tokenizer_folder.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// tokenizer.json of the `tokenizers` library. Added tokens have the ids of `tokens` where their
/// content is one.
absl::StatusOr<PipelineSpec> ReadTokenizerJson(std::string_view text, std::string_view file);

/// A SentencePiece model (tokenizer.model, spiece.model), BPE or Unigram. Its control and unknown
/// pieces are added tokens.
absl::StatusOr<PipelineSpec> ReadSentencePiece(const SentencePieceModel& model,
                                               std::string_view file);
/// Adds tokens that other files of its folder declare; they may give control pieces another name.
void AddToSentencePiece(const std::vector<AddedToken>& declared, PipelineSpec& spec);

/// GPT-2's form: vocab.json and merges.txt; around them the byte-level pipeline of the class that
/// the folder names, whose special tokens it then has.
absl::StatusOr<PipelineSpec> ReadVocabAndMerges(std::string_view vocab,
                                                const std::string& vocab_file,
                                                std::string_view merges,
                                                const std::string& merges_file,
                                                TokenizerFolder& folder);
/// vocab.json alone: {text: id}.
absl::StatusOr<TokenTable> ReadVocabJson(std::string_view text, std::string_view file);

/// Mistral's tekken.json.
absl::StatusOr<PipelineSpec> ReadTekken(std::string_view text, const std::string& file,
                                        TokenizerFolder& folder);

/// Lines of base64 and rank, as tiktoken and Llama 3's own layout have them; a vocabulary that is
/// not known is refused.
absl::StatusOr<PipelineSpec> ReadTiktoken(std::string_view text, const std::string& file,
                                          TokenizerFolder& folder);
bool LooksLikeTiktoken(std::string_view text);

}  // namespace smelt
