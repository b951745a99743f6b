#include "lib/text/models/model.h"

#include <algorithm>
#include <string>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/components/byte_level.h"

namespace smelt {
namespace {

// A model that knows characters only, behind a step that leaves bytes.
class OnBytes : public Model {
 public:
  explicit OnBytes(std::unique_ptr<Model> model) : model_(std::move(model)) {}
  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    std::string mapped;
    AppendByteLevel(mapped, word);
    return model_->Encode(mapped, out);
  }

 private:
  std::unique_ptr<Model> model_;
};

struct Maker {
  const ModelParts& parts;
  absl::StatusOr<std::unique_ptr<Model>> operator()(const BpeModel& spec) const {
    return MakeBpe(spec, parts);
  }
  absl::StatusOr<std::unique_ptr<Model>> operator()(const UnigramModel& spec) const {
    return MakeUnigram(spec, parts);
  }
  absl::StatusOr<std::unique_ptr<Model>> operator()(const WordPieceModel& spec) const {
    return MakeWordPiece(spec, parts);
  }
  absl::StatusOr<std::unique_ptr<Model>> operator()(const WordLevelModel& spec) const {
    return MakeWordLevel(spec, parts);
  }
  absl::StatusOr<std::unique_ptr<Model>> operator()(const PieceModel& spec) const {
    return spec.algorithm == SentencePieceModel::Type::kBpe ? MakePieceBpe(spec, parts)
                                                            : MakePieceUnigram(spec, parts);
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeModel(const TokenizerModel& spec,
                                                 const ModelParts& parts) {
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, std::visit(Maker{parts}, spec));
  if (parts.on_bytes && !std::holds_alternative<BpeModel>(spec))
    model = std::make_unique<OnBytes>(std::move(model));
  return model;
}

ByteTokens::ByteTokens(const TokenTable& tokens) {
  for (size_t b = 0; b < 256; ++b) ids_[b] = tokens.Find(BytePiece(static_cast<uint8_t>(b)));
}

bool ByteTokens::HasAll() const {
  return std::all_of(ids_.begin(), ids_.end(), [](int32_t id) { return id >= 0; });
}

bool ByteTokens::HasAny() const {
  return std::any_of(ids_.begin(), ids_.end(), [](int32_t id) { return id >= 0; });
}

}  // namespace smelt
