// WordPiece: greedy, the longest match first.
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
  WordPiece(const TokenTable& tokens, WordPieceModel spec, int32_t unk)
      : tokens_(tokens), spec_(std::move(spec)), unk_(unk) {}

  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    const size_t before = out.size();
    if (word.size() > spec_.max_input_chars_per_word &&
        CountChars(word) > spec_.max_input_chars_per_word) {
      out.push_back(unk_);
      return absl::OkStatus();
    }
    std::string text;
    for (size_t begin = 0; begin < word.size();) {
      text = begin > 0 ? spec_.continuing_subword_prefix : std::string();
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
  const TokenTable& tokens_;
  WordPieceModel spec_;
  int32_t unk_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeWordPiece(const WordPieceModel& spec,
                                                     const ModelParts& parts) {
  const int32_t unk = parts.tokens.Find(spec.unk_token);
  if (unk < 0)
    return Error(ErrorCode::kInvalidInput, "the unknown token \"", Escape(spec.unk_token),
                 "\" is not in the vocabulary");
  return std::unique_ptr<Model>(std::make_unique<WordPiece>(parts.tokens, spec, unk));
}

}  // namespace smelt
