// Models: one word in, ids out. Each kind of a spec has a file of its own.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/components/byte_trie.h"
#include "lib/text/models/merges.h"
#include "lib/text/spec/pipeline_spec.h"
#include "lib/text/spec/token_table.h"

namespace smelt {

class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of a word that is not empty.
  virtual absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const = 0;
  /// nullptr for models without a list of merges.
  virtual const MergeTable* merges() const { return nullptr; }
};

/// What a model is made of besides its own part of the spec; outlives it.
struct ModelParts {
  const TokenTable& tokens;
  const ByteTrie& user_defined;  ///< SentencePiece's pieces of that type
  bool on_bytes =
      false;  ///< words are bytes, each a character of the byte-level alphabet in tokens
};

absl::StatusOr<std::unique_ptr<Model>> MakeModel(const TokenizerModel& spec,
                                                 const ModelParts& parts);

/// kInvalidInput names the merge whose parts or result are not in the vocabulary.
absl::StatusOr<std::unique_ptr<Model>> MakeBpe(const BpeModel& spec, const ModelParts& parts);
absl::StatusOr<std::unique_ptr<Model>> MakeUnigram(const UnigramModel& spec,
                                                   const ModelParts& parts);
absl::StatusOr<std::unique_ptr<Model>> MakeWordPiece(const WordPieceModel& spec,
                                                     const ModelParts& parts);
absl::StatusOr<std::unique_ptr<Model>> MakeWordLevel(const WordLevelModel& spec,
                                                     const ModelParts& parts);
absl::StatusOr<std::unique_ptr<Model>> MakePieceBpe(const PieceModel& spec,
                                                    const ModelParts& parts);
absl::StatusOr<std::unique_ptr<Model>> MakePieceUnigram(const PieceModel& spec,
                                                        const ModelParts& parts);

/// Ids of <0x00> to <0xFF>.
class ByteTokens {
 public:
  explicit ByteTokens(const TokenTable& tokens);
  int32_t operator[](char byte) const { return ids_[static_cast<unsigned char>(byte)]; }  ///< or -1
  bool HasAll() const;
  bool HasAny() const;
  bool HasAllOf(std::string_view text) const {
    for (const char byte : text) {
      if ((*this)[byte] < 0) return false;
    }
    return true;
  }
  /// Calls add(id) for the bytes of a text that HasAllOf.
  template <typename Add>
  void ForEach(std::string_view text, const Add& add) const {
    for (const char byte : text) add((*this)[byte]);
  }
  const std::array<int32_t, 256>& ids() const { return ids_; }

 private:
  std::array<int32_t, 256> ids_;
};

}  // namespace smelt
