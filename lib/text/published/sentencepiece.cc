// SentencePiece models as a spec.
#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "lib/text/components/charsmap.h"
#include "lib/text/published/readers.h"

namespace smelt {
namespace {

// What would be refused later, without the file's name.
absl::Status CheckRules(const SentencePieceModel& model) {
  SMELT_RETURN_IF_ERROR(Charsmap::Parse(model.normalizer.charsmap).status());
  const SentencePieceRules& back = model.denormalizer;
  if (const absl::Status parsed = Charsmap::Parse(back.charsmap).status(); !parsed.ok())
    return Prefixed("denormalizer: ", parsed);
  if (!back.charsmap.empty() &&
      (back.add_dummy_prefix || back.remove_extra_whitespaces || back.escape_whitespaces)) {
    return Error(ErrorCode::kUnsupported,
                 "its denormalizer changes spaces (only its rules are supported)");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PipelineSpec> ReadSentencePiece(const SentencePieceModel& model,
                                               std::string_view file) {
  using Type = SentencePieceModel::Type;
  if (model.type == Type::kWord || model.type == Type::kChar) {
    return Error(ErrorCode::kUnsupported, file, ": the model_type ",
                 model.type == Type::kWord ? "word" : "char",
                 " is not supported (BPE and Unigram are)");
  }
  if (const absl::Status rules = CheckRules(model); !rules.ok())
    return Prefixed(Cat(file, ": "), rules);
  const SentencePieceRules& rules = model.normalizer;
  PipelineSpec spec;
  spec.normalizers = {SentencePieceNormalizer{
      .charsmap = rules.charsmap,
      .dummy_prefix = rules.add_dummy_prefix ? PrependScheme::kAlways : PrependScheme::kNever,
      .remove_extra_whitespaces = rules.remove_extra_whitespaces,
      .escape_whitespaces = rules.escape_whitespaces,
      .whitespace_as_suffix = model.whitespace_as_suffix}};
  spec.decoders = {
      SentencePieceDecoder{.strips_space = rules.add_dummy_prefix || rules.remove_extra_whitespaces,
                           .strips_spaces = rules.remove_extra_whitespaces,
                           .unknown_surface = model.unk_surface,
                           .charsmap = model.denormalizer.charsmap}};
  PieceModel pieces;
  pieces.algorithm = model.type;
  pieces.byte_fallback = model.byte_fallback;
  float lowest = INFINITY;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const auto& [text, score, type] = model.pieces[i];
    spec.tokens.Add(id, text);
    pieces.scores.push_back(score);
    pieces.types.push_back(type);
    if (type == PieceType::kUnknown) pieces.unknown = id;
    if (type == PieceType::kNormal) lowest = std::min(lowest, score);
    if (type == PieceType::kControl || type == PieceType::kUnknown)
      spec.added.push_back({.id = id, .content = text, .special = true});
  }
  pieces.unknown_score = lowest - kUnknownPenalty;
  spec.model = std::move(pieces);
  return spec;
}

void AddToSentencePiece(const std::vector<AddedToken>& declared, PipelineSpec& spec) {
  PieceModel& pieces = std::get<PieceModel>(spec.model);
  for (AddedToken token : declared) {
    std::erase_if(spec.added, [&](const AddedToken& other) { return other.id == token.id; });
    token.normalized = false;  // looked for before any normalization
    // A name of its own: decoded as such.
    if (token.id == pieces.unknown)
      pieces.types[static_cast<size_t>(token.id)] = PieceType::kControl;
    spec.added.push_back(std::move(token));
  }
}

}  // namespace smelt
