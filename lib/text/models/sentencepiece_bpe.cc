// SentencePiece's BPE: two neighbours join when their text is a piece, the best score first.
#include <unordered_map>
#include <utility>

#include "lib/base/utf8.h"
#include "lib/text/models/merge_by_text.h"
#include "lib/text/models/model.h"

namespace smelt {
namespace {

class PieceBpe : public Model {
 public:
  PieceBpe(const PieceModel& spec, const ModelParts& parts)
      : spec_(spec),
        tokens_(parts.tokens),
        user_defined_(parts.user_defined),
        bytes_(parts.tokens),
        ranks_(RankScores(spec.scores)) {
    for (const PieceType type : spec.types) has_unused_ = has_unused_ || type == PieceType::kUnused;
  }

  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    TextSymbols symbols(word);
    AddSymbols(word, symbols);
    std::unordered_map<int32_t, size_t> left_of;  // unused pieces: how long the left part was
    MergeByText(
        word, tokens_, ranks_,
        [&](int32_t id, uint32_t left, uint32_t) {
          const PieceType type = TypeOf(id);
          if (has_unused_ && type == PieceType::kUnused) left_of[id] = symbols.Length(left);
          return type == PieceType::kNormal || type == PieceType::kUserDefined ||
                 type == PieceType::kUnused;
        },
        symbols);
    bool unknown_before = false;
    std::vector<std::pair<std::string_view, int>> todo;  // and how often it was split
    for (uint32_t i = 0; i < symbols.list().size(); i = symbols.list().Next(i)) {
      todo.assign(1, {symbols.Text(i), 0});
      while (!todo.empty()) {
        const auto [text, splits] = todo.back();
        todo.pop_back();
        const int32_t id = tokens_.Find(text);
        const auto split = left_of.find(id);
        if (split != left_of.end() && splits < kMaxSplits && split->second < text.size()) {
          todo.emplace_back(text.substr(split->second), splits + 1);
          todo.emplace_back(text.substr(0, split->second), splits + 1);
          continue;
        }
        unknown_before = Put(text, id, unknown_before, out);
      }
    }
    return absl::OkStatus();
  }

 private:
  PieceType TypeOf(int32_t id) const { return spec_.types[static_cast<size_t>(id)]; }

  // Characters, and user-defined pieces, which stay as they are.
  void AddSymbols(std::string_view word, TextSymbols& symbols) const {
    for (size_t at = 0; at < word.size();) {
      size_t length = 0;
      user_defined_.Prefixes(word.substr(at), [&](size_t n, int32_t) { length = n; });
      const bool frozen = length > 0;
      if (!frozen) length = DecodeUtf8(word.substr(at, 4)).length;
      symbols.Add(frozen ? SymbolList::kFrozen : SymbolList::kNoId, length);
      at += length;
    }
  }

  // True where it is unknown; several in a row are one.
  bool Put(std::string_view text, int32_t id, bool unknown_before,
           std::vector<int32_t>& out) const {
    if (id >= 0 && id != spec_.unknown && TypeOf(id) != PieceType::kByte) {
      out.push_back(id);
      return false;
    }
    if (spec_.byte_fallback && bytes_.HasAllOf(text)) {
      bytes_.ForEach(text, [&](int32_t byte) { out.push_back(byte); });
      return false;
    }
    if (!unknown_before && spec_.unknown >= 0) out.push_back(spec_.unknown);
    return true;
  }

  const PieceModel& spec_;
  const TokenTable& tokens_;
  const ByteTrie& user_defined_;
  ByteTokens bytes_;
  std::vector<uint32_t> ranks_;
  bool has_unused_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakePieceBpe(const PieceModel& spec,
                                                    const ModelParts& parts) {
  return std::unique_ptr<Model>(std::make_unique<PieceBpe>(spec, parts));
}

}  // namespace smelt
