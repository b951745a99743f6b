// tokenizer.ggml.model "gpt2": byte-level BPE, on bytes.
#include <algorithm>
#include <array>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/gguf/gguf_base.h"
#include "lib/text/gguf/gguf_merges.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/models/merges.h"
#include "lib/text/models/token_table.h"

namespace smelt {
namespace {

class GgufBpe : public GgufBase {
 public:
  absl::Status Setup(const Metadata& metadata, GgufVocabulary vocabulary) {
    SMELT_RETURN_IF_ERROR(Init(metadata, std::move(vocabulary)));
    SMELT_RETURN_IF_ERROR(SetupSplits(metadata));
    IndexTokens();
    SMELT_ASSIGN_OR_RETURN(const std::string unknown,
                           ReadOwn<std::string>(metadata, "smelt.tokenizer.unknown_token", ""));
    SMELT_ASSIGN_OR_RETURN(fuse_unknown_,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.fuse_unknown", false));
    for (size_t i = 0; i < tokens_.size() && !unknown.empty(); ++i) {
      if (tokens_[i] == unknown) unknown_ = static_cast<int32_t>(i);
    }
    if (!unknown.empty() && unknown_ < 0) return NoUnknownToken(unknown);
    return AddMerges(metadata);
  }

 protected:
  absl::Status EncodeFragment(TextPiece whole, WordCache& cache,
                              std::vector<int32_t>& out) const override {
    const auto word = [&](TextPiece piece) {
      if (cache.Append(piece.text, out)) return absl::OkStatus();
      const size_t before = out.size();
      EncodeWord(piece.text, out);
      cache.Insert(piece.text, std::span<const int32_t>(out).subspan(before));
      return absl::OkStatus();
    };
    return splits_ == nullptr ? word(whole) : splits_->Split(whole, word);
  }

  void AppendDecoded(int32_t id, bool, std::string& out) const override {
    if (!AppendBytesOfLevel(out, Shown(id))) out += Shown(id);
  }

 private:
  absl::Status SetupSplits(const Metadata& metadata) {
    const std::string pre = vocabulary_.pre.empty() ? "default" : vocabulary_.pre;
    const PreTokenizerName* known = FindPreTokenizer(pre);
    SMELT_ASSIGN_OR_RETURN(std::string pipeline,
                           ReadOwn<std::string>(metadata, "smelt.tokenizer.pre_tokenizer", ""));
    if (known == nullptr && pipeline.empty()) {
      return Error(ErrorCode::kUnsupported, "tokenizer.ggml.pre is \"", Escape(pre, 40),
                   "\", a pre-tokenizer that we do not know; known are ", KnownPreTokenizers());
    }
    if (pipeline.empty()) pipeline = PipelineOf(*known);
    SMELT_ASSIGN_OR_RETURN(const JsonValue json,
                           ParseJsonValue(pipeline, "smelt.tokenizer.pre_tokenizer"));
    bool bytes_last = false;
    SMELT_ASSIGN_OR_RETURN(splits_, MakePreTokenizer(&json, RegexEngine::kAny, &bytes_last));
    mapped_ = !bytes_last;  // an earlier step already turned bytes into characters
    SMELT_ASSIGN_OR_RETURN(ignore_merges_, ReadOwn<bool>(metadata, "smelt.tokenizer.ignore_merges",
                                                         known != nullptr && known->ignore_merges));
    return absl::OkStatus();
  }

  // Tokens by their bytes; one whose text is no byte-level text is none that merging or a word can
  // be. Where the splits hand out characters, by their characters.
  void IndexTokens() {
    size_t bytes = 0;
    for (const std::string& token : tokens_) bytes += token.size();
    table_.Reserve(tokens_.size(), bytes);
    std::string raw;
    for (const bool added : {false, true}) {  // of two with one text the first counts
      for (size_t i = 0; i < tokens_.size(); ++i) {
        const auto id = static_cast<int32_t>(i);
        if (Type(id) == TokenType::kUnused || IsAdded(id) != added || IsOutside(id)) continue;
        raw.clear();
        if (mapped_) {
          raw = tokens_[i];
        } else if (!AppendBytesOfLevel(raw, tokens_[i])) {
          continue;
        }
        table_.Add(id, raw);
      }
    }
    single_.fill(-1);
    for (int b = 0; b < 256; ++b) {
      const char c = static_cast<char>(b);
      std::string text(1, c);
      if (mapped_) {
        text.clear();
        AppendByteLevel(text, std::string_view(&c, 1));
      }
      single_[static_cast<size_t>(b)] = table_.Find(text);
    }
  }

  absl::Status AddMerges(const Metadata& metadata) {
    if (!metadata.Has("tokenizer.ggml.merges")) {
      return Error(ErrorCode::kInvalidInput,
                   "metadata key tokenizer.ggml.merges is missing, without which texts would be "
                   "encoded byte by byte");
    }
    return ReadMerges(
        metadata, table_,
        [&](std::string_view part, std::string& out) {
          if (!mapped_) return AppendBytesOfLevel(out, part);
          out += part;
          return true;
        },
        merges_);
  }

  void EncodeWord(std::string_view word, std::vector<int32_t>& out) const {
    if (ignore_merges_) {
      if (const int32_t id = table_.Find(word); id >= 0) {
        out.push_back(id);
        return;
      }
    }
    std::string bytes;
    if (mapped_) {
      if (AppendBytesOfLevel(bytes, word)) word = bytes;
    }
    if (word.size() > MergeTable::kShort) {
      SymbolList symbols;
      symbols.Reserve(word.size());
      ForEachSingle(word, [&](int32_t id) { symbols.Add(id); });
      MergeSymbols(symbols, [&](uint32_t left, uint32_t right) {
        return merges_.Find(symbols.id(left), symbols.id(right));
      });
      for (uint32_t i = 0; i < symbols.size(); i = symbols.Next(i)) out.push_back(symbols.id(i));
      return;
    }
    std::array<int32_t, MergeTable::kShort> ids;
    size_t count = 0;
    ForEachSingle(word, [&](int32_t id) { ids[count++] = id; });
    count = merges_.MergeShort(ids.data(), count);
    out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
  }

  // The tokens of single bytes, before any merge.
  template <typename Add>
  void ForEachSingle(std::string_view word, const Add& add) const {
    bool unknown_before = false;
    for (const char c : word) {
      const int32_t id = single_[static_cast<unsigned char>(c)];
      const bool unknown = id < 0;
      if (!unknown) add(id);
      if (unknown && unknown_ >= 0 && !(unknown_before && fuse_unknown_)) add(unknown_);
      unknown_before = unknown;
    }
  }

  std::unique_ptr<PreTokenizer> splits_;
  bool mapped_ = false;
  bool ignore_merges_ = false, fuse_unknown_ = false;
  int32_t unknown_ = -1;
  TokenTable table_;
  std::array<int32_t, 256> single_;
  MergeTable merges_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufBpe(const Metadata& metadata,
                                                       GgufVocabulary vocabulary) {
  auto tokenizer = std::make_unique<GgufBpe>();
  SMELT_RETURN_IF_ERROR(tokenizer->Setup(metadata, std::move(vocabulary)));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace smelt
