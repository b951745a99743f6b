// How a GGUF vocabulary classifies its tokens (tokenizer.ggml.token_type, with the numbers of
// SentencePiece), and what it says of added ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/metadata.h"
#include "lib/base/own_key_table.h"
#include "lib/text/components/added_tokens.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// Spaces as U+2581.
std::string WithMetaspaces(std::string_view text);

/// Texts that llama.cpp's converter takes for control tokens whatever their flags say.
bool LooksSpecial(std::string_view text);

/// The arrays tokens, token_type and (when wanted) scores, filled id by id. Ids without a text are
/// [PADn], unused.
class VocabularyArrays {
 public:
  explicit VocabularyArrays(size_t size);
  size_t size() const { return tokens_.size(); }
  void Set(int32_t id, std::string text, PieceType type, float score = 0);
  PieceType type(int32_t id) const {
    return static_cast<PieceType>(types_[static_cast<size_t>(id)]);
  }
  const std::string& text(int32_t id) const { return tokens_[static_cast<size_t>(id)]; }
  float score(int32_t id) const { return scores_[static_cast<size_t>(id)]; }
  /// An added token: control or user defined; U+2581 of user-defined ones becomes a space.
  void SetAdded(const AddedToken& token, float score);

  void ZeroScores() { scores_.assign(scores_.size(), 0.0f); }

  /// Appends the keys.
  void Write(bool with_scores, Metadata& out) &&;

 private:
  std::vector<std::string> tokens_;
  std::vector<float> scores_;
  std::vector<int32_t> types_;
};

/// What the GGUF keys cannot say about added tokens: smelt.tokenizer.added_flags, pairs of id and
/// bits. Written only when something has bits.
enum AddedFlag : int32_t {
  kAddedSingleWord = 1,
  kAddedLstrip = 2,
  kAddedRstrip = 4,
  kAddedNormalized = 8,  ///< looked for in the normalized text
  kAddedOrdinary = 16,   ///< a control token by its looks only
  kAddedMetaspace = 32,  ///< its spaces stand for U+2581 in the text
  kAddedOutside = 64,    ///< found as an added token only: the model does not have it
  kAddedNever = 128,     ///< an unknown token that is no added token
};
static_assert(2 * kAddedNever == kAddedBitsEnd);
/// Whose added tokens they are. Pipelines look for normalized ones after the others, also where no
/// normalizer changes the text. All but byte-level models would find any token by its text.
enum class AddedTo { kByteLevel, kPipeline, kSentencePiece };
/// `unknown`: id of the token of that type; -1 when there is none.
void WriteAddedFlags(const std::vector<AddedToken>& added, AddedTo kind, int32_t unknown,
                     Metadata& out);

/// What reading these arrays and those flags gives. Tokens with the ids from `extra` on lie under
/// keys of their own.
std::vector<AddedToken> AddedAsWritten(const std::vector<AddedToken>& added, AddedTo kind,
                                       int32_t unknown, const VocabularyArrays& arrays,
                                       size_t extra = SIZE_MAX);

}  // namespace smelt
