// SentencePiece's Unigram: in single precision.
#include <cmath>

#include "lib/text/models/model.h"
#include "lib/text/models/segmentation.h"

namespace smelt {
namespace {

// Sums beyond this start again at zero (SentencePiece since 0.2.2), so that float holds them.
constexpr float kRestartBeyond = 100000.0f;

// A user-defined piece of so many bytes is better than its parts (SentencePiece since 0.2.2).
float UserDefinedScore(size_t length) {
  return static_cast<float>(0.1 * (static_cast<double>(length) - 1));
}

class PieceUnigram : public Model {
 public:
  PieceUnigram(const PieceModel& spec, const TokenTable& tokens) : spec_(spec), bytes_(tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (!tokens.Has(id)) continue;
      if (spec.types[i] == PieceType::kNormal || spec.types[i] == PieceType::kUserDefined)
        pieces_.Insert(tokens.Text(id), id);
    }
  }

  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    const auto score = [&](int32_t id, size_t length) {
      const auto i = static_cast<size_t>(id);
      return spec_.types[i] == PieceType::kUserDefined ? UserDefinedScore(length) : spec_.scores[i];
    };
    const Segmentation best =
        BestSegmentation<float>(word, pieces_, score, spec_.unknown_score, kRestartBeyond);
    bool unknown_before = false;
    for (const auto& [begin, end, id] : best.segments) {
      const std::string_view text = word.substr(begin, end - begin);
      const bool unknown = id < 0 && !(spec_.byte_fallback && bytes_.HasAllOf(text));
      if (id >= 0) {
        out.push_back(id);
      } else if (!unknown) {
        bytes_.ForEach(text, [&](int32_t byte) { out.push_back(byte); });
      } else if (!unknown_before && spec_.unknown >= 0) {
        out.push_back(spec_.unknown);
      }
      unknown_before = unknown;
    }
    return absl::OkStatus();
  }

 private:
  const PieceModel& spec_;
  ByteTokens bytes_;
  ByteTrie pieces_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakePieceUnigram(const PieceModel& spec,
                                                        const ModelParts& parts) {
  return std::unique_ptr<Model>(std::make_unique<PieceUnigram>(spec, parts.tokens));
}

}  // namespace smelt
