// tokenizer.ggml.model "bert": WordPiece, the longest match first; words begin with U+2581.
#include <algorithm>
#include <set>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/components/decoder.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/gguf/gguf_base.h"
#include "lib/text/models/blank_cuts.h"
#include "lib/text/models/token_table.h"

namespace smelt {
namespace {

class GgufWordPiece : public GgufBase {
 public:
  absl::Status Setup(const Metadata& metadata, GgufVocabulary vocabulary) {
    SMELT_ASSIGN_OR_RETURN(const bool lower,
                           metadata.BoolOr("tokenizer.ggml.normalizer.lowercase", true));
    SMELT_RETURN_IF_ERROR(Init(metadata, std::move(vocabulary),
                               Cat(R"({"type":"BertNormalizer","lowercase":)", lower, "}")));
    SMELT_ASSIGN_OR_RETURN(const std::string pre,
                           ReadOwn<std::string>(metadata, "smelt.tokenizer.pre_tokenizer",
                                                R"({"type":"BertPreTokenizer"})"));
    SMELT_ASSIGN_OR_RETURN(const JsonValue json,
                           ParseJsonValue(pre, "smelt.tokenizer.pre_tokenizer"));
    SMELT_ASSIGN_OR_RETURN(words_, MakePreTokenizer(&json, RegexEngine::kAny, nullptr));
    SMELT_ASSIGN_OR_RETURN(max_chars_,
                           ReadOwn<uint32_t>(metadata, "smelt.tokenizer.max_word_chars", 100));
    SMELT_ASSIGN_OR_RETURN(cleanup_, ReadOwn<bool>(metadata, "smelt.tokenizer.cleanup", true));
    SMELT_ASSIGN_OR_RETURN(const std::string unknown,
                           ReadOwn<std::string>(metadata, "smelt.tokenizer.unknown_token", ""));
    SMELT_ASSIGN_OR_RETURN(
        const std::vector<int32_t> marked,
        ReadOwnList<std::vector<int32_t>>(metadata, "smelt.tokenizer.continuations",
                                          {.tokens = tokens_.size()}));
    marked_.insert(marked.begin(), marked.end());
    unknown_ = vocabulary_.unknown;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (!unknown.empty() && Original(id) == unknown) unknown_ = id;
    }
    IndexTokens();
    if (unknown_ < 0)
      return Error(ErrorCode::kInvalidInput,
                   "tokenizer.ggml.unknown_token_id is missing, which WordPiece needs");
    return absl::OkStatus();
  }

 protected:
  absl::Status EncodeFragment(TextPiece whole, WordCache& cache,
                              std::vector<int32_t>& out) const override {
    return words_->Split(whole, [&](TextPiece piece) {
      if (cache.Append(piece.text, out)) return absl::OkStatus();
      const size_t before = out.size();
      EncodeWord(piece.text, out);
      cache.Insert(piece.text, std::span<const int32_t>(out).subspan(before));
      return absl::OkStatus();
    });
  }

  void AppendDecoded(int32_t id, bool first, std::string& out) const override {
    // A continuation that stands first keeps its mark, as the original decoder leaves it.
    const bool normal = Type(id) == TokenType::kNormal;
    const std::string text = normal ? Original(id) : Shown(id);
    std::string shown = text;
    if (!first) shown = normal && text.starts_with(kMark) ? text.substr(kMark.size()) : " " + text;
    if (cleanup_) CleanUpWord(shown);
    out += shown;
  }

 private:
  static constexpr std::string_view kMark = "##";

  // The token as the model itself spells it. What begins a word has U+2581 before it in the file,
  // what continues one has lost its mark.
  std::string Original(int32_t id) const {
    const std::string_view text = Text(id);
    if (Type(id) != TokenType::kNormal) return std::string(text);
    return text.starts_with(kBlank) && !marked_.contains(id)
               ? std::string(text.substr(kBlank.size()))
               : Cat(kMark, text);
  }

  void IndexTokens() {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (Type(id) == TokenType::kUnused || IsOutside(id)) continue;
      const std::string text = Original(id);
      // The original looks for the text as it stands: also what continues words is found at the
      // beginning of one that begins with the mark itself.
      if (!text.empty()) words_table_.Add(id, text);
      if (text.size() > kMark.size() && text.starts_with(kMark))
        continuations_.Add(id, text.substr(kMark.size()));
    }
  }

  void EncodeWord(std::string_view word, std::vector<int32_t>& out) const {
    const auto chars = static_cast<uint64_t>(std::count_if(word.begin(), word.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
    const size_t before = out.size();
    size_t done = 0;
    while (chars <= max_chars_ && done < word.size()) {
      const TokenTable& table = done == 0 ? words_table_ : continuations_;
      std::string_view text = word.substr(done, table.longest());
      int32_t id = -1;
      for (; !text.empty(); text.remove_suffix(1)) {
        if ((id = table.Find(text)) >= 0) break;
      }
      if (id < 0) break;
      out.push_back(id);
      done += text.size();
    }
    if (done == word.size() && chars <= max_chars_) return;
    out.resize(before);
    out.push_back(unknown_);
  }

  std::unique_ptr<PreTokenizer> words_;
  std::set<int32_t> marked_;  ///< continuations that begin with U+2581
  TokenTable words_table_, continuations_;
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
