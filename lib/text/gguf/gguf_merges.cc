#include "lib/text/gguf/gguf_merges.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr std::string_view kKey = "tokenizer.ggml.merges";
constexpr size_t kAtOnce = 64;  // lookups that overlap

class Reader {
 public:
  Reader(const TokenTable& tokens, absl::FunctionRef<bool(std::string_view, std::string&)> append,
         MergeTable& merges)
      : tokens_(tokens), append_(append), merges_(merges) {}

  // Merges whose ranks begin with `rank`.
  absl::Status Read(std::span<const std::string> texts, size_t rank) {
    count_ = 0;
    bytes_.clear();
    for (size_t i = 0; i < texts.size(); ++i) SMELT_RETURN_IF_ERROR(Spell(texts[i], rank + i));
    std::array<std::string_view, 3 * kAtOnce> parts;  // left, right, both
    std::array<int32_t, 3 * kAtOnce> ids;
    for (size_t i = 0; i < count_; ++i) {
      const Spelled& s = spelled_[i];
      const std::string_view both = std::string_view(bytes_).substr(s.begin, s.end - s.begin);
      parts[3 * i] = both.substr(0, s.middle - s.begin);
      parts[3 * i + 1] = both.substr(s.middle - s.begin);
      parts[3 * i + 2] = both;
    }
    tokens_.FindAll(std::span(parts).first(3 * count_), ids);
    for (size_t i = 0; i < count_; ++i) merges_.Prefetch(ids[3 * i], ids[3 * i + 1]);
    for (size_t i = 0; i < count_; ++i) {
      const std::span<const int32_t> three = std::span(ids).subspan(3 * i, 3);
      if (const auto none = std::find(three.begin(), three.end(), -1); none != three.end()) {
        return Error(ErrorCode::kInvalidInput, kKey, ": entry ", spelled_[i].rank, " \"",
                     Escape(texts[spelled_[i].rank - rank], 60), "\" needs the token \"",
                     Escape(parts[3 * i + static_cast<size_t>(none - three.begin())], 60),
                     "\", which tokenizer.ggml.tokens lacks");
      }
      merges_.Set(three[0], three[1], {static_cast<uint32_t>(spelled_[i].rank), three[2]});
    }
    return absl::OkStatus();
  }

 private:
  struct Spelled {
    size_t rank, begin, middle, end;  ///< places in bytes_
  };

  absl::Status Spell(std::string_view text, size_t rank) {
    const size_t space = text.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == text.size()) {
      return Error(ErrorCode::kInvalidInput, kKey, ": entry ", rank, " \"", Escape(text, 40),
                   "\" has no space between two parts");
    }
    Spelled& s = spelled_[count_];
    s.rank = rank;
    s.begin = bytes_.size();
    bool possible = append_(text.substr(0, space), bytes_);
    s.middle = bytes_.size();
    possible = append_(text.substr(space + 1), bytes_) && possible;
    s.end = bytes_.size();
    if (possible) ++count_;
    return absl::OkStatus();
  }

  const TokenTable& tokens_;
  absl::FunctionRef<bool(std::string_view, std::string&)> append_;
  MergeTable& merges_;
  std::array<Spelled, kAtOnce> spelled_;
  size_t count_ = 0;
  std::string bytes_;
};

}  // namespace

absl::Status ReadMerges(const Metadata& metadata, const TokenTable& tokens,
                        absl::FunctionRef<bool(std::string_view, std::string&)> append,
                        MergeTable& merges) {
  if (!metadata.Has(kKey)) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string>* texts, metadata.Strings(kKey));
  merges.Reserve(texts->size());
  Reader reader(tokens, append, merges);
  for (size_t first = 0; first < texts->size(); first += kAtOnce) {
    const size_t count = std::min(kAtOnce, texts->size() - first);
    SMELT_RETURN_IF_ERROR(reader.Read({texts->data() + first, count}, first));
  }
  return absl::OkStatus();
}

}  // namespace smelt
