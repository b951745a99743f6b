// A SentencePiece model used directly.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "formats/sentencepiece.h"
#include "lib/text/components/added_tokens.h"
#include "lib/text/components/spm_decoder.h"
#include "lib/text/components/spm_normalizer.h"
#include "lib/text/core.h"
#include "lib/text/models/blank_cuts.h"
#include "lib/text/models/word_cache.h"

namespace smelt {

class SentencePieceCore : public TokenizerCore {
 public:
  static absl::StatusOr<std::unique_ptr<SentencePieceCore>> Make(SentencePieceModel model,
                                                                 std::string_view name);

  absl::Status EncodeText(std::string_view text, bool parse_special,
                          std::vector<int32_t>& out) const override;
  std::string Decode(const std::vector<int32_t>& ids, bool show_special) const override;
  size_t size() const override { return size_; }
  std::string Piece(int32_t id) const override;
  int32_t Find(std::string_view text) const override;
  absl::Status WriteTokens(const CoreWriteOptions& options, Metadata& out,
                           Metadata& after) const override;

  const SentencePieceModel& model() const { return model_; }

  /// The dummy prefix stands only before a text's own beginning ("legacy": false of Llama's class),
  /// not after special tokens, and not before a blank.
  bool prefix_at_start_only = false;

  /// A control piece, or a special token of another file.
  bool IsControl(int32_t id) const;
  /// Tokens that other files of the folder add (added_tokens.json, added_tokens_decoder).
  void AddDeclared(const std::vector<AddedToken>& tokens);

 private:
  explicit SentencePieceCore(SentencePieceModel model) : model_(std::move(model)) {}
  absl::Status EncodeFragment(std::string_view text, bool first, WordCache& cache,
                              std::vector<int32_t>& out) const;
  void EncodeBpe(std::string_view word, std::vector<int32_t>& out) const;
  absl::Status EncodeUnigram(std::string_view word, std::vector<int32_t>& out) const;
  void Put(std::string_view text, int32_t id, std::vector<int32_t>& out) const;
  bool Mergeable(int32_t id) const;

  SentencePieceModel model_;
  TokenTable tokens_;            ///< all pieces
  std::vector<uint32_t> ranks_;  ///< BPE: by score, equal scores have equal ranks
  SpmNormalizer normalizer_;
  ByteTrie user_defined_;
  ByteTrie pieces_;            ///< Unigram: what can be part of a segmentation
  AddedTokenMatcher special_;  ///< control and unknown pieces, for texts that name them
  BlankCuts cuts_;
  std::array<int32_t, 256> bytes_;
  std::unordered_map<int32_t, char> byte_of_;
  SpmDecoding decoding_;
  int32_t unknown_ = 0;
  float unknown_score_ = 0;
  size_t size_ = 0;
  bool has_unused_ = false;
  std::vector<AddedToken> declared_;
  mutable CachePool caches_;
};

}  // namespace smelt
