// tokenizer.ggml.model "bert": WordPiece, the longest match first; words begin with U+2581.
#include <algorithm>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/blank_cuts.h"
#include "lib/text/decoder.h"
#include "lib/text/gguf_base.h"
#include "lib/text/pre_tokenizer.h"
#include "lib/text/token_table.h"

namespace smelt {
namespace {

class GgufWordPiece : public GgufBase {
 public:
  absl::Status Setup(const Metadata& metadata, GgufVocabulary vocabulary) {
    SMELT_RETURN_IF_ERROR(Init(metadata, std::move(vocabulary)));
    if (!metadata.Has("smelt.tokenizer.normalizer")) {
      SMELT_ASSIGN_OR_RETURN(const bool lower,
                             metadata.BoolOr("tokenizer.ggml.normalizer.lowercase", true));
      SMELT_ASSIGN_OR_RETURN(
          const JsonValue json,
          ParseJsonValue(Cat(R"({"type":"BertNormalizer","lowercase":)", lower, "}"),
                         "normalizer"));
      SMELT_RETURN_IF_ERROR(SetNormalizer(json));
    }
    SMELT_ASSIGN_OR_RETURN(
        const std::string pre,
        metadata.StringOr("smelt.tokenizer.pre_tokenizer", R"({"type":"BertPreTokenizer"})"));
    SMELT_ASSIGN_OR_RETURN(const JsonValue json,
                           ParseJsonValue(pre, "smelt.tokenizer.pre_tokenizer"));
    bool bytes = false;
    SMELT_ASSIGN_OR_RETURN(words_, MakePreTokenizer(&json, RegexEngine::kAny, &bytes));
    SMELT_ASSIGN_OR_RETURN(max_chars_, metadata.UintOr("smelt.tokenizer.max_word_chars", 100));
    SMELT_ASSIGN_OR_RETURN(cleanup_, metadata.BoolOr("smelt.tokenizer.cleanup", true));
    SMELT_ASSIGN_OR_RETURN(const std::string unknown,
                           metadata.StringOr("smelt.tokenizer.unknown_token", ""));
    unknown_ = vocabulary_.unknown;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (!unknown.empty() && tokens_[i] == unknown) unknown_ = id;
      if (Type(id) == TokenType::kNormal) table_.Add(id, tokens_[i]);
    }
    if (unknown_ < 0)
      return Error(ErrorCode::kInvalidInput,
                   "tokenizer.ggml.unknown_token_id is missing, which WordPiece needs");
    return absl::OkStatus();
  }

 protected:
  absl::Status EncodeFragment(std::string_view text, bool at_start, WordCache& cache,
                              std::vector<int32_t>& out) const override {
    return words_->Split({text, at_start}, [&](TextPiece piece) {
      if (cache.Append(piece.text, out)) return absl::OkStatus();
      const size_t before = out.size();
      EncodeWord(piece.text, out);
      cache.Insert(piece.text, std::span<const int32_t>(out).subspan(before));
      return absl::OkStatus();
    });
  }

  void AppendDecoded(int32_t id, bool first, std::string& out) const override {
    std::string_view text = Text(id);
    const bool begins = text.starts_with(kBlank) && Type(id) == TokenType::kNormal;
    if (begins) text.remove_prefix(kBlank.size());
    std::string shown(text);
    // A continuation that stands first keeps its mark, as the original decoder leaves it.
    if (!begins && Type(id) == TokenType::kNormal && first) shown = Cat("##", text);
    if ((begins || Type(id) != TokenType::kNormal) && !first) shown.insert(0, " ");
    if (cleanup_) CleanUpWord(shown);
    out += shown;
  }

 private:
  void EncodeWord(std::string_view word, std::vector<int32_t>& out) const {
    const auto chars = static_cast<uint64_t>(std::count_if(word.begin(), word.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
    const size_t before = out.size();
    size_t done = 0;
    std::string text;
    while (chars <= max_chars_ && done < word.size()) {
      text = done == 0 ? std::string(kBlank) : std::string();
      const size_t marks = text.size();
      text.append(word.substr(done, table_.longest()));
      int32_t id = -1;
      for (; text.size() > marks; text.pop_back()) {
        id = -1;
        // U+2581 typed inside a word is no beginning of a word.
        if (done > 0 && text.starts_with(kBlank)) continue;
        if ((id = table_.Find(text)) >= 0) break;
      }
      if (id < 0) break;
      out.push_back(id);
      done += text.size() - marks;
    }
    if (done == word.size() && chars <= max_chars_) return;
    out.resize(before);
    out.push_back(unknown_);
  }

  std::unique_ptr<PreTokenizer> words_;
  TokenTable table_;
  uint64_t max_chars_ = 100;
  bool cleanup_ = true;
  int32_t unknown_ = -1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufWordPiece(const Metadata& metadata,
                                                             GgufVocabulary vocabulary) {
  auto tokenizer = std::make_unique<GgufWordPiece>();
  SMELT_RETURN_IF_ERROR(tokenizer->Setup(metadata, std::move(vocabulary)));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace smelt
