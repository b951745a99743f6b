#include <algorithm>
#include <span>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/models/model.h"

namespace smelt {

std::array<int32_t, 256> ByteTokens(const TokenTable& tokens) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::array<int32_t, 256> ids;
  for (size_t b = 0; b < 256; ++b) {
    const char text[] = {'<', '0', 'x', kHex[b >> 4], kHex[b & 15], '>'};
    ids[b] = tokens.Find(std::string_view(text, 6));
  }
  return ids;
}

namespace {

class Bpe : public Model {
 public:
  Bpe(TokenTable tokens, BpeOptions options) : options_(std::move(options)) {
    tokens_ = std::move(tokens);
    bytes_ = ByteTokens(tokens_);
    if (!options_.unk_token.empty()) unk_ = tokens_.Find(options_.unk_token);
  }

  absl::Status AddMerges(const MergeList& merges) {
    constexpr size_t kAtOnce = 64;
    merges_.Reserve(merges.size());
    std::string bytes;
    std::array<std::string_view, 3 * kAtOnce> texts;  // left, right, result
    std::array<int32_t, 3 * kAtOnce> ids;
    for (size_t first = 0; first < merges.size(); first += kAtOnce) {
      const size_t count = std::min(kAtOnce, merges.size() - first);
      std::array<size_t, kAtOnce + 1> ends{};
      bytes.clear();
      for (size_t i = 0; i < count; ++i) {
        const std::string_view right = merges.Right(first + i);
        if (right.size() < options_.prefix.size()) {
          return Error(ErrorCode::kInvalidInput, "merge ", first + i, ": \"", Escape(right, 40),
                       "\" has no place for the continuing_subword_prefix \"",
                       Escape(options_.prefix, 40), "\"");
        }
        bytes += merges.Left(first + i);
        bytes += right.substr(options_.prefix.size());  // whatever it begins with: as the library
        ends[i + 1] = bytes.size();
      }
      for (size_t i = 0; i < count; ++i) {
        texts[3 * i] = merges.Left(first + i);
        texts[3 * i + 1] = merges.Right(first + i);
        texts[3 * i + 2] = std::string_view(bytes).substr(ends[i], ends[i + 1] - ends[i]);
      }
      tokens_.FindAll(std::span(texts).first(3 * count), ids);
      for (size_t i = 0; i < count; ++i) merges_.Prefetch(ids[3 * i], ids[3 * i + 1]);
      for (size_t i = 0; i < count; ++i) {
        for (size_t part = 0; part < 3; ++part) {
          if (ids[3 * i + part] >= 0) continue;
          return Error(ErrorCode::kInvalidInput, "merge ", first + i, " (\"",
                       Escape(texts[3 * i], 40), "\" \"", Escape(texts[3 * i + 1], 40),
                       "\") needs the token \"", Escape(texts[3 * i + part], 60),
                       "\", which the vocabulary lacks");
        }
        merges_.Set(ids[3 * i], ids[3 * i + 1], {static_cast<uint32_t>(first + i), ids[3 * i + 2]});
      }
    }
    return absl::OkStatus();
  }

  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    if (options_.ignore_merges) {
      if (const int32_t id = tokens_.Find(word); id >= 0) {
        out.push_back(id);
        return absl::OkStatus();
      }
    }
    // As many symbols at most, unless affixes fall back to bytes too.
    const bool affixes = !options_.prefix.empty() || !options_.suffix.empty();
    if (word.size() <= MergeTable::kShort && !affixes) {
      std::array<int32_t, MergeTable::kShort> ids;
      size_t count = 0;
      SMELT_RETURN_IF_ERROR(ForEachSymbol(word, [&](int32_t id) { ids[count++] = id; }));
      count = merges_.MergeShort(ids.data(), count);
      out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
      return absl::OkStatus();
    }
    SymbolList symbols;
    symbols.Reserve(word.size());
    SMELT_RETURN_IF_ERROR(ForEachSymbol(word, [&](int32_t id) { symbols.Add(id); }));
    MergeSymbols(symbols, [&](uint32_t left, uint32_t right) {
      return merges_.Find(symbols.id(left), symbols.id(right));
    });
    for (uint32_t i = 0; i < symbols.size(); i = symbols.Next(i)) out.push_back(symbols.id(i));
    return absl::OkStatus();
  }

  const MergeTable* merges() const override { return &merges_; }

 private:
  // Calls add(id) for what a word is made of before any merge.
  template <typename Add>
  absl::Status ForEachSymbol(std::string_view word, const Add& add) const {
    bool unknown_waits = false;
    std::string dressed;
    for (size_t i = 0; i < word.size();) {
      const size_t length = DecodeUtf8(word.substr(i, 4)).length;
      std::string_view c = word.substr(i, length);
      const bool first = i == 0, last = i + length == word.size();
      i += length;
      if ((!first && !options_.prefix.empty()) || (last && !options_.suffix.empty())) {
        dressed = Cat(first ? std::string_view() : std::string_view(options_.prefix), c,
                      last ? std::string_view(options_.suffix) : std::string_view());
        c = dressed;
      }
      if (const int32_t id = tokens_.Find(c); id >= 0) {
        if (unknown_waits) add(unk_);
        unknown_waits = false;
        add(id);
        continue;
      }
      if (options_.byte_fallback && HaveBytes(c)) {
        for (const char b : c) add(bytes_[static_cast<unsigned char>(b)]);
        continue;
      }
      if (options_.unk_token.empty()) continue;  // dropped, as the library does
      if (unk_ < 0)
        return Error(ErrorCode::kInvalidInput, "the unknown token \"", Escape(options_.unk_token),
                     "\" is not in the vocabulary");
      if (unknown_waits && !options_.fuse_unk) add(unk_);
      unknown_waits = true;
    }
    if (unknown_waits) add(unk_);
    return absl::OkStatus();
  }

  bool HaveBytes(std::string_view text) const {
    for (const char b : text) {
      if (bytes_[static_cast<unsigned char>(b)] < 0) return false;
    }
    return true;
  }

  BpeOptions options_;
  MergeTable merges_;
  std::array<int32_t, 256> bytes_;
  int32_t unk_ = -1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeBpe(TokenTable tokens, const MergeList& merges,
                                               BpeOptions options) {
  auto model = std::make_unique<Bpe>(std::move(tokens), std::move(options));
  SMELT_RETURN_IF_ERROR(model->AddMerges(merges));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace smelt
