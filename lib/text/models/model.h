// The "model" of a tokenizer.json: one word in, ids out.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/models/byte_trie.h"
#include "lib/text/models/merges.h"
#include "lib/text/models/token_table.h"

namespace smelt {

class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of a word that is not empty.
  virtual absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const = 0;
  const TokenTable& tokens() const { return tokens_; }
  /// nullptr for models that merge nothing.
  virtual const MergeTable* merges() const { return nullptr; }

 protected:
  TokenTable tokens_;
};

/// Pairs of texts in a list, compactly.
class MergeList {
 public:
  void Add(std::string_view left, std::string_view right) {
    spans_.push_back(
        {bytes_.size(), static_cast<uint32_t>(left.size()), static_cast<uint32_t>(right.size())});
    bytes_.append(left);
    bytes_.append(right);
  }
  size_t size() const { return spans_.size(); }
  std::string_view Left(size_t i) const {
    return std::string_view(bytes_).substr(spans_[i].offset, spans_[i].left);
  }
  std::string_view Right(size_t i) const {
    return std::string_view(bytes_).substr(spans_[i].offset + spans_[i].left, spans_[i].right);
  }

 private:
  struct Span {
    uint64_t offset;
    uint32_t left, right;
  };
  std::string bytes_;
  std::vector<Span> spans_;
};

struct BpeOptions {
  std::string unk_token;  ///< empty: none
  std::string prefix;     ///< continuing_subword_prefix
  std::string suffix;     ///< end_of_word_suffix
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

/// kInvalidInput names the merge whose parts or result are not in the vocabulary.
absl::StatusOr<std::unique_ptr<Model>> MakeBpe(TokenTable tokens, const MergeList& merges,
                                               BpeOptions options);

struct UnigramOptions {
  int32_t unk_id = -1;
  bool byte_fallback = false;
  bool fuse_unk = true;
};
absl::StatusOr<std::unique_ptr<Model>> MakeUnigram(TokenTable tokens, std::vector<double> scores,
                                                   UnigramOptions options);

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string prefix = "##";
  size_t max_chars = 100;
};
absl::StatusOr<std::unique_ptr<Model>> MakeWordPiece(TokenTable tokens, WordPieceOptions options);
absl::StatusOr<std::unique_ptr<Model>> MakeWordLevel(TokenTable tokens, std::string_view unk_token);

/// Ids of <0x00> to <0xFF>, -1 where the vocabulary has none.
std::array<int32_t, 256> ByteTokens(const TokenTable& tokens);

}  // namespace smelt
