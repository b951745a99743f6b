// tokenizer.ggml.model "llama": SentencePiece-like BPE, merging by score, with bytes for what the
// vocabulary lacks.
#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/spm_normalizer.h"
#include "lib/text/gguf/gguf_base.h"
#include "lib/text/gguf/gguf_merges.h"
#include "lib/text/models/blank_cuts.h"
#include "lib/text/models/merges.h"
#include "lib/text/models/model.h"
#include "lib/text/models/spm_bpe.h"
#include "lib/text/models/token_table.h"

namespace smelt {
namespace {

enum class SpacePrefix { kNone, kAlways, kUnlessPresent, kFirst };

class GgufSentencePiece : public GgufBase {
 public:
  absl::Status Setup(const Metadata& metadata, GgufVocabulary vocabulary) {
    SMELT_ASSIGN_OR_RETURN(const std::string source,
                           ReadOwn<std::string>(metadata, "smelt.tokenizer.source", ""));
    if (!source.empty() && source != "sentencepiece") {
      return BadOwnKey("smelt.tokenizer.source",
                       Cat("is \"", source, "\", which no vocabulary of this kind has"));
    }
    native_ = source == "sentencepiece";
    std::vector<float> scores;
    if (vocabulary.model != kGemma4) {
      SMELT_ASSIGN_OR_RETURN(scores, ReadScores(metadata, vocabulary.size()));
      SMELT_ASSIGN_OR_RETURN(const std::vector<double> better,
                             ReadOwnList<std::vector<double>>(metadata, "smelt.tokenizer.scores",
                                                              {.tokens = vocabulary.size()}));
      std::copy(better.begin(), better.end(), scores.begin());
    }
    SMELT_RETURN_IF_ERROR(Init(metadata, std::move(vocabulary)));
    SMELT_RETURN_IF_ERROR(SetupSpaces(metadata));
    size_t bytes = 0;
    for (const std::string& token : tokens_) bytes += token.size();
    table_.Reserve(tokens_.size(), bytes);
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if ((Type(id) == TokenType::kUnused && !native_) || IsOutside(id)) continue;
      table_.Add(id, tokens_[i]);
      has_unused_ = has_unused_ || Type(id) == TokenType::kUnused;
    }
    SMELT_ASSIGN_OR_RETURN(
        const std::vector<int32_t> user_defined,
        ReadOwnList<std::vector<int32_t>>(metadata, "smelt.tokenizer.user_defined",
                                          {.tokens = tokens_.size()}));
    for (const int32_t id : user_defined) {
      if (native_) frozen_.Insert(tokens_[static_cast<size_t>(id)], id);
    }
    ranks_ = RankScores(scores);
    bytes_ = ByteTokens(table_);
    for (size_t b = 0; b < 256; ++b) {
      if (bytes_[b] >= 0) byte_of_.emplace(bytes_[b], static_cast<char>(b));
    }
    cuts_ = BlankCuts(table_);
    return SetupMerges(metadata);
  }

 protected:
  absl::Status EncodeFragment(TextPiece piece, WordCache& cache,
                              std::vector<int32_t>& out) const override {
    const std::string_view text = piece.text;
    std::string normalized;
    if (native_) {
      const bool prefix = prefix_ != SpacePrefix::kFirst ||
                          (piece.start > 0 && !text.starts_with(' ') && !text.starts_with(kBlank));
      normalized = normalizer_.Apply(text, frozen_, prefix);
    } else {
      const bool prefix = prefix_ == SpacePrefix::kAlways ||
                          ((prefix_ == SpacePrefix::kUnlessPresent ||
                            (prefix_ == SpacePrefix::kFirst && piece.start > 0)) &&
                           !text.starts_with(' ') && !text.starts_with(kBlank));
      if (prefix) normalized = kBlank;
      for (const char c : text) {
        if (c == ' ') {
          normalized += kBlank;
        } else {
          normalized.push_back(c);
        }
      }
    }
    const auto encode = [&](std::string_view word) {
      if (cache.Append(word, out)) return absl::OkStatus();
      const size_t before = out.size();
      if (listed_merges_) {
        EncodeByMerges(word, out);
      } else {
        EncodeWord(word, out);
      }
      cache.Insert(word, std::span<const int32_t>(out).subspan(before));
      return absl::OkStatus();
    };
    if (!split_blanks_) return cuts_.Split(table_, normalized, encode);
    for (std::string_view rest = normalized; !rest.empty();) {
      const size_t end = std::min(rest.find(kBlank, 1), rest.size());
      SMELT_RETURN_IF_ERROR(encode(rest.substr(0, end)));
      rest.remove_prefix(end);
    }
    return absl::OkStatus();
  }

  void AppendDecoded(int32_t id, bool first, std::string& out) const override {
    if (Type(id) == TokenType::kByte) {
      const auto byte = byte_of_.find(id);
      if (byte != byte_of_.end()) out.push_back(byte->second);
      return;
    }
    if (Type(id) == TokenType::kControl) {
      out += Shown(id);
      return;
    }
    std::string_view text = Shown(id);
    if (first && strips_first_ && text.starts_with(kBlank)) text.remove_prefix(kBlank.size());
    while (!text.empty()) {
      const bool blank = text.starts_with(kBlank);
      out.push_back(blank ? ' ' : text.front());
      text.remove_prefix(blank ? kBlank.size() : 1);
    }
  }

 private:
  absl::Status SetupSpaces(const Metadata& metadata) {
    SMELT_ASSIGN_OR_RETURN(const bool prefix, metadata.BoolOr("tokenizer.ggml.add_space_prefix",
                                                              vocabulary_.model != kGemma4));
    SMELT_ASSIGN_OR_RETURN(
        const std::string rule,
        ReadOwn<std::string>(metadata, "smelt.tokenizer.space_prefix", prefix ? "always" : "none"));
    static constexpr std::pair<std::string_view, SpacePrefix> kRules[] = {
        {"none", SpacePrefix::kNone},
        {"normalizer", SpacePrefix::kNone},  // smelt.tokenizer.normalizer puts it there
        {"always", SpacePrefix::kAlways},
        {"unless_present", SpacePrefix::kUnlessPresent},
        {"first", SpacePrefix::kFirst}};
    for (const auto& [name, meaning] : kRules) {
      if (name == rule) prefix_ = meaning;
    }
    SMELT_ASSIGN_OR_RETURN(
        const bool remove_extra,
        ReadOwn<bool>(metadata, "smelt.tokenizer.remove_extra_whitespaces", false));
    SMELT_ASSIGN_OR_RETURN(const std::string charsmap,
                           ReadOwnBytes(metadata, "smelt.tokenizer.precompiled_charsmap"));
    SMELT_ASSIGN_OR_RETURN(normalizer_.charsmap, Charsmap::Parse(charsmap));
    normalizer_.add_dummy_prefix = prefix;
    normalizer_.remove_extra_whitespaces = remove_extra;
    SMELT_ASSIGN_OR_RETURN(normalizer_.escape_whitespaces,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.escape_whitespaces", true));
    SMELT_ASSIGN_OR_RETURN(normalizer_.whitespace_as_suffix,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.whitespace_as_suffix", false));
    strips_first_ = prefix_ != SpacePrefix::kNone || rule == "normalizer";
    if (native_) SMELT_RETURN_IF_ERROR(DecodeAsSentencePiece(metadata, normalizer_));
    SMELT_ASSIGN_OR_RETURN(split_blanks_,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.split_blanks", false));
    return absl::OkStatus();
  }

  // Merges as the tokenizer lists them: Gemma 4's as texts, ours, where scores cannot say the same,
  // as ids (left, right, result).
  absl::Status SetupMerges(const Metadata& metadata) {
    SMELT_ASSIGN_OR_RETURN(const std::string unknown,
                           ReadOwn<std::string>(metadata, "smelt.tokenizer.unknown_token", ""));
    SMELT_ASSIGN_OR_RETURN(fuse_unknown_,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.fuse_unknown", false));
    if (!unknown.empty()) {
      unknown_ = table_.Find(unknown);
      if (unknown_ < 0) return NoUnknownToken(unknown);
    }
    if (vocabulary_.model == kGemma4) {
      listed_merges_ = true;
      return ReadMerges(
          metadata, table_,
          [](std::string_view part, std::string& out) {
            out += part;
            return true;
          },
          merges_);
    }
    constexpr OwnKey<std::vector<int32_t>> kMerges = "smelt.tokenizer.merges";
    listed_merges_ = metadata.Has(kMerges);
    SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                           ReadOwnList(metadata, kMerges, {.tokens = tokens_.size()}));
    merges_.Reserve(ids.size() / 3);
    for (size_t i = 0; i + 2 < ids.size(); i += 3)
      merges_.Set(ids[i], ids[i + 1], {static_cast<uint32_t>(i / 3), ids[i + 2]});
    return absl::OkStatus();
  }

  void EncodeByMerges(std::string_view word, std::vector<int32_t>& out) const {
    SymbolList symbols;
    symbols.Reserve(word.size());
    // As in the library, a waiting unknown token comes before the next known character, not before
    // the next bytes.
    bool unknown_waits = false;
    for (size_t at = 0; at < word.size();) {
      const std::string_view c = word.substr(at, DecodeUtf8(word.substr(at, 4)).length);
      at += c.size();
      if (const int32_t id = table_.Find(c); id >= 0) {
        if (unknown_waits) symbols.Add(unknown_);
        unknown_waits = false;
        symbols.Add(id);
      } else if (HaveBytes(c)) {
        for (const char b : c) symbols.Add(bytes_[static_cast<unsigned char>(b)]);
      } else if (unknown_ >= 0) {
        if (unknown_waits && !fuse_unknown_) symbols.Add(unknown_);
        unknown_waits = true;
      }
    }
    if (unknown_waits) symbols.Add(unknown_);
    MergeSymbols(symbols, [&](uint32_t left, uint32_t right) {
      return merges_.Find(symbols.id(left), symbols.id(right));
    });
    for (uint32_t i = 0; i < symbols.size(); i = symbols.Next(i)) out.push_back(symbols.id(i));
  }

  bool HaveBytes(std::string_view text) const {
    return std::all_of(text.begin(), text.end(),
                       [&](char b) { return bytes_[static_cast<unsigned char>(b)] >= 0; });
  }

  void Put(std::string_view text, int32_t id, bool& unknown_before,
           std::vector<int32_t>& out) const {
    if (id >= 0) {
      out.push_back(id);
      unknown_before = false;
      return;
    }
    if (HaveBytes(text)) {
      for (const char b : text) out.push_back(bytes_[static_cast<unsigned char>(b)]);
      return;
    }
    if (!unknown_before && vocabulary_.unknown >= 0) out.push_back(vocabulary_.unknown);
    unknown_before = true;
  }

  bool Mergeable(int32_t id) const {
    const TokenType type = Type(id);
    return type == TokenType::kNormal || type == TokenType::kUserDefined ||
           type == TokenType::kUnused;
  }

  void EncodeWord(std::string_view word, std::vector<int32_t>& out) const {
    TextSymbols symbols(word);
    for (size_t at = 0; at < word.size();) {
      size_t length = 0;
      frozen_.Prefixes(word.substr(at), [&](size_t n, int32_t) { length = n; });
      const bool frozen = length > 0;
      if (!frozen) length = DecodeUtf8(word.substr(at, 4)).length;
      symbols.Add(frozen ? SymbolList::kFrozen : SymbolList::kNoId, length);
      at += length;
    }
    std::unordered_map<int32_t, size_t> left_of;  // unused tokens: how long the left part was
    MergeByText(
        word, table_, ranks_,
        [&](int32_t id, uint32_t left, uint32_t) {
          if (has_unused_ && Type(id) == TokenType::kUnused) left_of[id] = symbols.Length(left);
          return Mergeable(id);
        },
        symbols);
    bool unknown_before = false;
    std::vector<std::pair<std::string_view, int>> todo;  // and how often it was split
    for (uint32_t i = 0; i < symbols.list().size(); i = symbols.list().Next(i)) {
      todo.assign(1, {symbols.Text(i), 0});
      while (!todo.empty()) {
        const auto [text, splits] = todo.back();
        todo.pop_back();
        int32_t id = table_.Find(text);
        if (id >= 0 && (Type(id) == TokenType::kUnknown || Type(id) == TokenType::kByte)) id = -1;
        const auto split = left_of.find(id);
        if (id >= 0 && splits < kMaxSplits && split != left_of.end() &&
            split->second < text.size()) {
          todo.emplace_back(text.substr(split->second), splits + 1);
          todo.emplace_back(text.substr(0, split->second), splits + 1);
          continue;
        }
        Put(text, id, unknown_before, out);
      }
    }
  }

  bool native_ = false, strips_first_ = true, has_unused_ = false;
  bool listed_merges_ = false, fuse_unknown_ = false;
  int32_t unknown_ = -1;       ///< where merges are listed; -1: what has no token is dropped
  bool split_blanks_ = false;  ///< before U+2581, as Metaspace does
  SpacePrefix prefix_ = SpacePrefix::kAlways;
  MergeTable merges_;
  SpmNormalizer normalizer_;
  ByteTrie frozen_;
  TokenTable table_;
  std::vector<uint32_t> ranks_;
  std::array<int32_t, 256> bytes_;
  BlankCuts cuts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufSentencePiece(const Metadata& metadata,
                                                                 GgufVocabulary vocabulary) {
  auto tokenizer = std::make_unique<GgufSentencePiece>();
  SMELT_RETURN_IF_ERROR(tokenizer->Setup(metadata, std::move(vocabulary)));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace smelt
