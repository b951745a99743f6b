#include "lib/text/published/sentencepiece_core.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/models/spm_bpe.h"

namespace smelt {
namespace {

constexpr float kUnknownPenalty = 10.0f;
// Sums beyond this start again at zero (SentencePiece since 0.2.2), so that float holds them.
constexpr float kScoreReset = 100000.0f;

// A user-defined piece of so many bytes is better than its parts (SentencePiece since 0.2.2).
float UserDefinedScore(size_t length) {
  return static_cast<float>(0.1 * (static_cast<double>(length) - 1));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SentencePieceCore>> SentencePieceCore::Make(SentencePieceModel model,
                                                                           std::string_view name) {
  if (model.type == SentencePieceModel::Type::kWord ||
      model.type == SentencePieceModel::Type::kChar) {
    return Error(ErrorCode::kUnsupported, name, ": the model_type ",
                 model.type == SentencePieceModel::Type::kWord ? "word" : "char",
                 " is not supported (BPE and Unigram are)");
  }
  std::unique_ptr<SentencePieceCore> core(new SentencePieceCore(std::move(model)));
  const SentencePieceRules& rules = core->model_.normalizer;
  const SentencePieceRules& back = core->model_.denormalizer;
  absl::StatusOr<Charsmap> charsmap = Charsmap::Parse(rules.charsmap);
  if (!charsmap.ok()) return Prefixed(Cat(name, ": "), charsmap.status());
  core->normalizer_ = {*std::move(charsmap), rules.add_dummy_prefix, rules.remove_extra_whitespaces,
                       rules.escape_whitespaces, core->model_.whitespace_as_suffix};
  absl::StatusOr<Charsmap> denormalizer = Charsmap::Parse(back.charsmap);
  if (!denormalizer.ok()) return Prefixed(Cat(name, ": denormalizer: "), denormalizer.status());
  if (!back.charsmap.empty() &&
      (back.add_dummy_prefix || back.remove_extra_whitespaces || back.escape_whitespaces)) {
    return Error(ErrorCode::kUnsupported, name,
                 ": its denormalizer changes spaces (only its rules are supported)");
  }
  core->decoding_ = {rules.add_dummy_prefix || rules.remove_extra_whitespaces,
                     rules.remove_extra_whitespaces, core->model_.unk_surface,
                     *std::move(denormalizer)};
  std::vector<float> scores;
  float lowest = INFINITY;
  const auto& pieces = core->model_.pieces;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const SentencePiece& piece = pieces[i];
    core->tokens_.Add(id, piece.text);
    scores.push_back(piece.score);
    if (piece.type == PieceType::kUserDefined) core->user_defined_.Insert(piece.text, id);
    if (piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined)
      core->pieces_.Insert(piece.text, id);
    if (piece.type == PieceType::kUnknown) core->unknown_ = id;
    if (piece.type == PieceType::kUnused) core->has_unused_ = true;
    if (piece.type == PieceType::kControl || piece.type == PieceType::kUnknown)
      core->special_.Add({id, piece.text, false, false, false, false, true}, piece.text);
    if (piece.type == PieceType::kNormal) lowest = std::min(lowest, piece.score);
  }
  core->unknown_score_ = lowest - kUnknownPenalty;
  core->ranks_ = RankScores(scores);
  core->bytes_ = ByteTokens(core->tokens_);
  for (size_t b = 0; b < 256; ++b) core->byte_of_[core->bytes_[b]] = static_cast<char>(b);
  core->cuts_ =
      core->model_.type == SentencePieceModel::Type::kBpe ? BlankCuts(core->tokens_) : BlankCuts();
  core->size_ = pieces.size();
  return core;
}

void SentencePieceCore::AddDeclared(const std::vector<AddedToken>& tokens) {
  declared_ = tokens;
  for (AddedToken& token : declared_) {
    const int32_t known = tokens_.Find(token.content);
    token.outside = known != token.id;
    if (known == token.id &&
        model_.pieces[static_cast<size_t>(known)].type == PieceType::kUserDefined)
      continue;
    special_.Add(token, token.content);
    size_ = std::max(size_, static_cast<size_t>(token.id) + 1);
  }
}

bool SentencePieceCore::IsControl(int32_t id) const {
  for (const AddedToken& token : declared_) {
    if (token.id == id) return token.special;
  }
  return tokens_.Has(id) && model_.pieces[static_cast<size_t>(id)].type == PieceType::kControl;
}

bool SentencePieceCore::Mergeable(int32_t id) const {
  const PieceType type = model_.pieces[static_cast<size_t>(id)].type;
  return type == PieceType::kNormal || type == PieceType::kUserDefined ||
         type == PieceType::kUnused;
}

void SentencePieceCore::Put(std::string_view text, int32_t id, std::vector<int32_t>& out) const {
  if (id >= 0) {
    out.push_back(id);
    return;
  }
  if (!model_.byte_fallback) {
    out.push_back(unknown_);
    return;
  }
  for (const char b : text) out.push_back(bytes_[static_cast<unsigned char>(b)]);
}

void SentencePieceCore::EncodeBpe(std::string_view word, std::vector<int32_t>& out) const {
  TextSymbols symbols(word);
  for (size_t at = 0; at < word.size();) {
    size_t length = 0;
    user_defined_.Prefixes(word.substr(at), [&](size_t n, int32_t) { length = n; });
    const bool frozen = length > 0;
    if (!frozen) length = DecodeUtf8(word.substr(at, 4)).length;
    symbols.Add(frozen ? SymbolList::kFrozen : SymbolList::kNoId, length);
    at += length;
  }
  std::unordered_map<int32_t, std::pair<size_t, size_t>>
      split_of;  // unused piece: lengths of the two parts last seen
  MergeByText(
      word, tokens_, ranks_,
      [&](int32_t id, uint32_t left, uint32_t right) {
        if (!Mergeable(id)) return false;
        if (has_unused_ && model_.pieces[static_cast<size_t>(id)].type == PieceType::kUnused)
          split_of[id] = {symbols.Length(left), symbols.Length(right)};
        return true;
      },
      symbols);
  bool unknown_before = false;
  std::vector<std::pair<std::string_view, int>> todo;  // and how often it was split
  for (uint32_t i = 0; i < symbols.list().size(); i = symbols.list().Next(i)) {
    todo.assign(1, {symbols.Text(i), 0});
    while (!todo.empty()) {
      const auto [text, splits] = todo.back();
      todo.pop_back();
      int32_t id = tokens_.Find(text);
      if (id == unknown_) id = -1;
      const auto split = id < 0 ? split_of.end() : split_of.find(id);
      if (split != split_of.end() && splits < kMaxSplits &&
          model_.pieces[static_cast<size_t>(id)].type == PieceType::kUnused) {
        todo.emplace_back(text.substr(split->second.first), splits + 1);
        todo.emplace_back(text.substr(0, split->second.first), splits + 1);
        continue;
      }
      const bool unknown = id < 0 && !model_.byte_fallback;
      if (!unknown || !unknown_before) Put(text, id, out);
      unknown_before = unknown;
    }
  }
}

absl::Status SentencePieceCore::EncodeUnigram(std::string_view word,
                                              std::vector<int32_t>& out) const {
  struct Node {
    float score = 0;
    int64_t begin = -1;
    int32_t id = -1;
  };
  std::vector<Node> best(word.size() + 1);
  size_t farthest = 0;
  for (size_t at = 0; at < word.size();) {
    const size_t char_length = DecodeUtf8(word.substr(at, 4)).length;
    if (std::fabs(best[at].score) > kScoreReset) {
      const float offset = best[at].score;
      for (size_t i = at; i <= farthest; ++i) {
        if (i == at || best[i].begin >= 0) best[i].score -= offset;
      }
    }
    const float here = best[at].score;
    bool single = false;
    const auto offer = [&](size_t length, int32_t id, float score) {
      Node& node = best[at + length];
      farthest = std::max(farthest, at + length);
      if (node.begin < 0 || score > node.score) node = {score, static_cast<int64_t>(at), id};
    };
    pieces_.Prefixes(word.substr(at), [&](size_t length, int32_t id) {
      const SentencePiece& piece = model_.pieces[static_cast<size_t>(id)];
      const float score =
          piece.type == PieceType::kUserDefined ? UserDefinedScore(length) : piece.score;
      offer(length, id, score + here);
      single = single || length == char_length;
    });
    if (!single) offer(char_length, -1, unknown_score_ + here);
    at += char_length;
  }
  std::vector<std::pair<size_t, int32_t>> parts;  // begin, id
  for (size_t end = word.size(); end > 0;) {
    parts.emplace_back(static_cast<size_t>(best[end].begin), best[end].id);
    end = parts.back().first;
  }
  bool unknown_before = false;
  for (size_t i = parts.size(); i-- > 0;) {
    const size_t end = i == 0 ? word.size() : parts[i - 1].first;
    const bool unknown = parts[i].second < 0 && !model_.byte_fallback;
    if (!unknown || !unknown_before)
      Put(word.substr(parts[i].first, end - parts[i].first), parts[i].second, out);
    unknown_before = unknown;
  }
  return absl::OkStatus();
}

absl::Status SentencePieceCore::EncodeFragment(std::string_view text, bool first, WordCache& cache,
                                               std::vector<int32_t>& out) const {
  const bool prefix =
      !prefix_at_start_only || (first && !text.starts_with(' ') && !text.starts_with(kBlank));
  const std::string normalized = normalizer_.Apply(text, user_defined_, prefix);
  if (model_.type == SentencePieceModel::Type::kUnigram) return EncodeUnigram(normalized, out);
  return cuts_.Split(tokens_, normalized, [&](std::string_view word) {
    if (cache.Append(word, out)) return absl::OkStatus();
    const size_t before = out.size();
    EncodeBpe(word, out);
    cache.Insert(word, std::span<const int32_t>(out).subspan(before));
    return absl::OkStatus();
  });
}

absl::Status SentencePieceCore::EncodeText(std::string_view text, bool parse_special,
                                           std::vector<int32_t>& out) const {
  const CachePool::Lease lease(caches_);
  return special_.Split(text, !parse_special, [&](std::string_view part, int32_t id) {
    if (id < 0) return EncodeFragment(part, part.data() == text.data(), *lease, out);
    out.push_back(id);
    return absl::OkStatus();
  });
}

std::string SentencePieceCore::Piece(int32_t id) const {
  for (const AddedToken& token : declared_) {
    if (token.id == id) return token.content;
  }
  return std::string(tokens_.Text(id));
}

int32_t SentencePieceCore::Find(std::string_view text) const {
  for (const AddedToken& token : declared_) {
    if (token.content == text) return token.id;
  }
  return tokens_.Find(text);
}

std::string SentencePieceCore::Decode(const std::vector<int32_t>& ids, bool show_special) const {
  SpmText text(decoding_);
  for (const int32_t id : ids) {
    const auto declared = std::find_if(declared_.begin(), declared_.end(),
                                       [&](const AddedToken& t) { return t.id == id; });
    if (declared != declared_.end()) {
      if (show_special || !declared->special) text.Beside(declared->content);
      continue;
    }
    if (!tokens_.Has(id)) continue;
    const SentencePiece& piece = model_.pieces[static_cast<size_t>(id)];
    if (piece.type == PieceType::kControl) {
      text.Beside(show_special ? std::string_view(piece.text) : std::string_view());
    } else if (piece.type == PieceType::kUnknown) {
      text.Unknown();
    } else if (const auto byte = byte_of_.find(id);
               piece.type == PieceType::kByte && byte != byte_of_.end()) {
      text.Byte(byte->second);
    } else {
      text.Piece(piece.text);
    }
  }
  return std::move(text).Finish();
}

absl::StatusOr<std::unique_ptr<TokenizerCore>> MakeSentencePieceCore(std::string_view bytes,
                                                                     std::string_view name) {
  SMELT_ASSIGN_OR_RETURN(SentencePieceModel model, ParseSentencePiece(bytes, name));
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<SentencePieceCore> core,
                         SentencePieceCore::Make(std::move(model), name));
  return std::unique_ptr<TokenizerCore>(std::move(core));
}

}  // namespace smelt
