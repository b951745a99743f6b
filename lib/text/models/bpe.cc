// Byte-pair encoding by a list of merges.
#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/models/model.h"

namespace smelt {
namespace {

class Bpe : public Model {
 public:
  Bpe(const BpeModel& spec, const ModelParts& parts)
      : tokens_(parts.tokens),
        bytes_(parts.tokens),
        unk_token_(spec.unk_token),
        prefix_(spec.continuing_subword_prefix),
        suffix_(spec.end_of_word_suffix),
        fuse_unk_(spec.fuse_unk),
        byte_fallback_(spec.byte_fallback),
        ignore_merges_(spec.ignore_merges),
        on_bytes_(parts.on_bytes) {
    if (!unk_token_.empty()) unk_ = tokens_.Find(unk_token_);
    if (!on_bytes_) return;
    every_byte_ = !dressed();
    for (size_t b = 0; b < 256; ++b) {
      const char c = static_cast<char>(b);
      std::string text;
      AppendByteLevel(text, std::string_view(&c, 1));
      single_[b] = tokens_.Find(text);
      every_byte_ = every_byte_ && single_[b] >= 0;
    }
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
        if (right.size() < prefix_.size()) {
          return Error(ErrorCode::kInvalidInput, "merge ", first + i, ": \"", Escape(right, 40),
                       "\" has no place for the continuing_subword_prefix \"", Escape(prefix_, 40),
                       "\"");
        }
        bytes += merges.Left(first + i);
        bytes += right.substr(prefix_.size());  // whatever it begins with: as the library
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
    std::string mapped;
    std::string_view text = word;
    if (on_bytes_ && (ignore_merges_ || !every_byte_)) {
      AppendByteLevel(mapped, word);
      text = mapped;
    }
    if (ignore_merges_) {
      if (const int32_t id = tokens_.Find(text); id >= 0) {
        out.push_back(id);
        return absl::OkStatus();
      }
    }
    if (!every_byte_)
      return Merge(text, out, [&](const auto& add) { return ForEachSymbol(text, add); });
    return Merge(word, out, [&](const auto& add) {
      for (const char c : word) add(single_[static_cast<unsigned char>(c)]);
      return absl::OkStatus();
    });
  }

  const MergeTable* merges() const override { return &merges_; }

 private:
  bool dressed() const { return !prefix_.empty() || !suffix_.empty(); }

  // Merges the symbols that for_each(add) gives: at most as many as the text has bytes, unless
  // affixes fall back to bytes too.
  template <typename ForEach>
  absl::Status Merge(std::string_view text, std::vector<int32_t>& out,
                     const ForEach& for_each) const {
    if (text.size() <= MergeTable::kShort && !dressed()) {
      std::array<int32_t, MergeTable::kShort> ids;
      size_t count = 0;
      SMELT_RETURN_IF_ERROR(for_each([&](int32_t id) { ids[count++] = id; }));
      count = merges_.MergeShort(ids.data(), count);
      out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
      return absl::OkStatus();
    }
    SymbolList symbols;
    symbols.Reserve(text.size());
    SMELT_RETURN_IF_ERROR(for_each([&](int32_t id) { symbols.Add(id); }));
    MergeSymbols(symbols, [&](uint32_t left, uint32_t right) {
      return merges_.Find(symbols.id(left), symbols.id(right));
    });
    for (uint32_t i = 0; i < symbols.size(); i = symbols.Next(i)) out.push_back(symbols.id(i));
    return absl::OkStatus();
  }

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
      if ((!first && !prefix_.empty()) || (last && !suffix_.empty())) {
        dressed = Cat(first ? std::string_view() : std::string_view(prefix_), c,
                      last ? std::string_view(suffix_) : std::string_view());
        c = dressed;
      }
      if (const int32_t id = tokens_.Find(c); id >= 0) {
        if (unknown_waits) add(unk_);
        unknown_waits = false;
        add(id);
        continue;
      }
      if (byte_fallback_ && bytes_.HasAllOf(c)) {
        bytes_.ForEach(c, add);
        continue;
      }
      if (unk_token_.empty()) continue;  // dropped, as the library does
      if (unk_ < 0)
        return Error(ErrorCode::kInvalidInput, "the unknown token \"", Escape(unk_token_),
                     "\" is not in the vocabulary");
      if (unknown_waits && !fuse_unk_) add(unk_);
      unknown_waits = true;
    }
    if (unknown_waits) add(unk_);
    return absl::OkStatus();
  }

  const TokenTable& tokens_;
  MergeTable merges_;
  ByteTokens bytes_;
  std::string unk_token_, prefix_, suffix_;
  bool fuse_unk_, byte_fallback_, ignore_merges_, on_bytes_;
  bool every_byte_ = false;  ///< on_bytes_, and each has its token
  std::array<int32_t, 256> single_{};
  int32_t unk_ = -1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeBpe(const BpeModel& spec, const ModelParts& parts) {
  auto model = std::make_unique<Bpe>(spec, parts);
  SMELT_RETURN_IF_ERROR(model->AddMerges(spec.merges));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace smelt
