// What the tokenizers made from GGUF keys have in common: added tokens, special tokens around a
// text, hiding and showing.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/text/components/added_tokens.h"
#include "lib/text/components/normalizer.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/components/spm_decoder.h"
#include "lib/text/components/spm_normalizer.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/models/word_cache.h"
#include "lib/text/tokenizer.h"

namespace smelt {

class GgufBase : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const override;
  std::string Decode(const std::vector<int32_t>& ids, const DecodeOptions& options) const override;
  std::string Bytes(const std::vector<int32_t>& ids) const override;
  size_t size() const override { return vocabulary_.size(); }
  std::string Piece(int32_t id) const override;
  bool adds_bos() const override { return vocabulary_.add_bos && vocabulary_.bos >= 0; }
  int32_t bos() const override { return vocabulary_.bos; }
  bool ends_generation(int32_t id) const override;

 protected:
  /// `tokens` are copied: the metadata may go. `normalizer`: the JSON of the one that counts where
  /// the keys hold none.
  absl::Status Init(const Metadata& metadata, GgufVocabulary vocabulary,
                    std::string_view normalizer = {});

  /// One stretch of text without added tokens.
  virtual absl::Status EncodeFragment(TextPiece piece, WordCache& cache,
                                      std::vector<int32_t>& out) const = 0;
  /// Appends what a token decodes to; `first`: no token was shown before it.
  virtual void AppendDecoded(int32_t id, bool first, std::string& out) const = 0;
  /// Ids decode as SentencePiece itself does it: AppendDecoded is not asked.
  absl::Status DecodeAsSentencePiece(const Metadata& metadata, const SpmNormalizer& normalizer);
  /// After everything was appended.
  virtual void FinishDecode(std::string& text) const;

  const std::string& Text(int32_t id) const { return tokens_[static_cast<size_t>(id)]; }
  /// What a token decodes to: of normalized added tokens, the text that was found.
  const std::string& Shown(int32_t id) const {
    const auto shown = shown_.find(id);
    return shown == shown_.end() ? Text(id) : shown->second;
  }
  TokenType Type(int32_t id) const { return vocabulary_.types[static_cast<size_t>(id)]; }
  bool Known(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < tokens_.size(); }
  bool IsAdded(int32_t id) const { return added_.contains(id); }
  /// Found as an added token only, never as text.
  bool IsOutside(int32_t id) const {
    const auto added = added_.find(id);
    return added != added_.end() && added->second.outside;
  }

  GgufVocabulary vocabulary_;
  std::unordered_map<int32_t, char> byte_of_;  ///< of tokens of the type byte
  std::vector<std::string> tokens_;

 private:
  /// `bytes`: as they are, else repaired where they are no UTF-8.
  std::string Join(const std::vector<int32_t>& ids, bool bytes) const;
  std::string JoinAsSentencePiece(const std::vector<int32_t>& ids, bool bytes) const;
  struct Added {
    bool special, outside;
  };
  std::unordered_map<int32_t, Added> added_;
  std::unordered_map<int32_t, std::string> shown_;
  AddedTokenMatcher raw_, normalized_;
  std::unique_ptr<Normalizer> normalizer_;
  std::optional<SpmDecoding> spm_;
  mutable CachePool caches_;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufBpe(const Metadata& metadata,
                                                       GgufVocabulary vocabulary);
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufSentencePiece(const Metadata& metadata,
                                                                 GgufVocabulary vocabulary);
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufUnigram(const Metadata& metadata,
                                                           GgufVocabulary vocabulary);
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufWordPiece(const Metadata& metadata,
                                                             GgufVocabulary vocabulary);

}  // namespace smelt
