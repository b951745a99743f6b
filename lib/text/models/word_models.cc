// WordPiece (greedy longest match) and WordLevel (whole words).
#include <algorithm>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/models/model.h"

namespace smelt {
namespace {

size_t CountChars(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

class WordPiece : public Model {
 public:
  WordPiece(TokenTable tokens, WordPieceOptions options, int32_t unk)
      : options_(std::move(options)), unk_(unk) {
    tokens_ = std::move(tokens);
  }

  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    const size_t before = out.size();
    if (word.size() > options_.max_chars && CountChars(word) > options_.max_chars) {
      out.push_back(unk_);
      return absl::OkStatus();
    }
    std::string text;
    for (size_t begin = 0; begin < word.size();) {
      text = begin > 0 ? options_.prefix : std::string();
      const size_t room = tokens_.longest() > text.size() ? tokens_.longest() - text.size() : 0;
      size_t length = std::min(word.size() - begin, room);
      text.append(word, begin, length);
      int32_t id = -1;
      while (length > 0 && (id = tokens_.Find(text)) < 0) {
        text.pop_back();
        --length;
      }
      if (length == 0) {
        out.resize(before);
        out.push_back(unk_);
        return absl::OkStatus();
      }
      out.push_back(id);
      begin += length;
    }
    return absl::OkStatus();
  }

 private:
  WordPieceOptions options_;
  int32_t unk_;
};

class WordLevel : public Model {
 public:
  WordLevel(TokenTable tokens, int32_t unk) : unk_(unk) { tokens_ = std::move(tokens); }
  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    int32_t id = tokens_.Find(word);
    if (id < 0) id = unk_;
    if (id < 0)
      return Error(ErrorCode::kInvalidInput, "the word \"", Escape(word, 40),
                   "\" is not in the vocabulary, and there is no unknown token");
    out.push_back(id);
    return absl::OkStatus();
  }

 private:
  int32_t unk_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeWordPiece(TokenTable tokens, WordPieceOptions options) {
  const int32_t unk = tokens.Find(options.unk_token);
  if (unk < 0)
    return Error(ErrorCode::kInvalidInput, "the unknown token \"", Escape(options.unk_token),
                 "\" is not in the vocabulary");
  return std::unique_ptr<Model>(
      std::make_unique<WordPiece>(std::move(tokens), std::move(options), unk));
}

absl::StatusOr<std::unique_ptr<Model>> MakeWordLevel(TokenTable tokens,
                                                     std::string_view unk_token) {
  const int32_t unk = tokens.Find(unk_token);
  return std::unique_ptr<Model>(std::make_unique<WordLevel>(std::move(tokens), unk));
}

}  // namespace smelt
