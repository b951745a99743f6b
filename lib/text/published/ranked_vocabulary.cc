#include "lib/text/published/ranked_vocabulary.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/models/merges.h"

namespace smelt {
namespace {

// Ranks as merges: every way to split a
// token into two others, tokens by rank, the ways of one token by the ranks of their parts.
void AppendAllWays(const TokenTable& ranks, MergeList& merges) {
  struct Way {
    int32_t left, right;
    size_t middle;
  };
  std::vector<Way> ways;
  std::string left, right;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const std::string_view bytes = ranks.Text(static_cast<int32_t>(rank));
    ways.clear();
    for (size_t i = 1; i < bytes.size(); ++i) {
      const Way way{ranks.Find(bytes.substr(0, i)), ranks.Find(bytes.substr(i)), i};
      if (way.left >= 0 && way.right >= 0) ways.push_back(way);
    }
    std::stable_sort(ways.begin(), ways.end(), [](const Way& a, const Way& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
    for (const Way& way : ways) {
      left.clear();
      right.clear();
      AppendByteLevel(left, bytes.substr(0, way.middle));
      AppendByteLevel(right, bytes.substr(way.middle));
      merges.Add(left, right);
    }
  }
}

// The same with one way per token: the two parts that merging everything of a lower rank leaves of
// it.
void AppendOneWay(const TokenTable& ranks, MergeList& merges) {
  SymbolList symbols;
  std::string left, right;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const std::string_view bytes = ranks.Text(static_cast<int32_t>(rank));
    if (bytes.size() < 2) continue;
    symbols.Clear();
    for (size_t i = 0; i < bytes.size(); ++i) symbols.Add(0);
    MergeSymbols(symbols, [&](uint32_t a, uint32_t b) -> std::optional<Merge> {
      const int32_t id = ranks.Find(bytes.substr(a, symbols.Next(b) - a));
      if (id < 0 || id >= static_cast<int32_t>(rank)) return std::nullopt;
      return Merge{static_cast<uint32_t>(id), id};
    });
    const uint32_t second = symbols.Next(0);
    if (second == symbols.size() || symbols.Next(second) != symbols.size())
      continue;  // reached as a whole only
    left.clear();
    right.clear();
    AppendByteLevel(left, bytes.substr(0, second));
    AppendByteLevel(right, bytes.substr(second));
    merges.Add(left, right);
  }
}

absl::Status CheckBytes(const TokenTable& ranks, const std::string& file) {
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    if (ranks.Find(std::string_view(&c, 1)) < 0)
      return Error(ErrorCode::kInvalidInput, file, ": no token is the single byte ", b);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PipelineSpec> MakeRankedSpec(const TokenTable& ranks, RankedForm form,
                                            const std::string& file) {
  SMELT_RETURN_IF_ERROR(CheckBytes(ranks, file));
  PipelineSpec spec;
  if (form.nfc) spec.normalizers = {UnicodeForm{NormalForm::kNfc}};
  spec.pre_tokenizers = {Split{.pattern = {.text = std::string(form.pattern), .is_regex = true}},
                         ByteLevel{.add_prefix_space = false, .use_regex = false}};
  std::string mapped;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto id = static_cast<int32_t>(rank);
    if (!ranks.Has(id)) continue;
    mapped.clear();
    AppendByteLevel(mapped, ranks.Text(id));
    spec.tokens.Add(form.first_id + id, mapped);
  }
  BpeModel model;
  model.ignore_merges = form.ignore_merges;
  if (form.all_ways) {
    AppendAllWays(ranks, model.merges);
  } else {
    AppendOneWay(ranks, model.merges);
  }
  spec.model = std::move(model);
  spec.decoders = {ByteLevelDecoder()};
  spec.added = std::move(form.added);
  return spec;
}

}  // namespace smelt
