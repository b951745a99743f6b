// The library's Unigram: in double precision.
#include <cmath>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/models/model.h"
#include "lib/text/models/segmentation.h"

namespace smelt {
namespace {

class Unigram : public Model {
 public:
  Unigram(const UnigramModel& spec, const TokenTable& tokens)
      : spec_(spec), tokens_(tokens), bytes_(tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (tokens.Has(id)) pieces_.Insert(tokens.Text(id), id);
    }
  }

  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    const Segmentation best = BestSegmentation<double>(
        word, pieces_, [&](int32_t id, size_t) { return spec_.scores[static_cast<size_t>(id)]; },
        spec_.unknown_score, INFINITY);
    if (best.lacks_character && spec_.unk_id < 0) {
      return Error(ErrorCode::kInvalidInput,
                   "a character is not in the vocabulary, and the Unigram model has no unk_id");
    }
    for (size_t i = 0; i < best.segments.size(); ++i) {
      const size_t first = i;
      // Neighbouring unknowns are one.
      while (IsUnknown(best.segments[i]) && i + 1 < best.segments.size() &&
             IsUnknown(best.segments[i + 1]))
        ++i;
      const size_t begin = best.segments[first].begin;
      Put(word.substr(begin, best.segments[i].end - begin), out);
    }
    return absl::OkStatus();
  }

 private:
  bool IsUnknown(const Segmentation::Segment& segment) const {
    return segment.id < 0 || segment.id == spec_.unk_id;
  }

  void Put(std::string_view part, std::vector<int32_t>& out) const {
    if (const int32_t id = tokens_.Find(part); id >= 0) {
      out.push_back(id);
    } else if (spec_.byte_fallback && bytes_.HasAllOf(part)) {
      bytes_.ForEach(part, [&](int32_t id) { out.push_back(id); });
    } else {
      out.push_back(spec_.unk_id);
    }
  }

  const UnigramModel& spec_;
  const TokenTable& tokens_;
  ByteTokens bytes_;
  ByteTrie pieces_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeUnigram(const UnigramModel& spec,
                                                   const ModelParts& parts) {
  for (size_t id = 0; id < spec.scores.size(); ++id) {
    if (!std::isfinite(spec.scores[id])) {
      return Error(ErrorCode::kInvalidInput, "the score of token ", id, " (\"",
                   Escape(parts.tokens.Text(static_cast<int32_t>(id)), 40), "\") is not finite");
    }
  }
  if (spec.unk_id >= static_cast<int64_t>(spec.scores.size())) {
    return Error(ErrorCode::kInvalidInput, "unk_id ", spec.unk_id,
                 " lies outside the vocabulary of ", spec.scores.size());
  }
  return std::unique_ptr<Model>(std::make_unique<Unigram>(spec, parts.tokens));
}

}  // namespace smelt
