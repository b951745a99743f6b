// Unigram pipelines as tokenizer.ggml.model "t5".
#include <algorithm>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/kind_writers.h"
#include "lib/text/spec/component_json.h"

namespace smelt {
namespace {

// Where the converter has no text for an added token (ids beyond a SentencePiece model), ours keeps
// it under keys of its own.
void WriteExtraTokens(const std::vector<AddedToken>& added, size_t pieces, Metadata& after) {
  std::vector<std::string> texts;
  std::vector<int32_t> ids, types;
  for (const AddedToken& token : added) {
    if (static_cast<size_t>(token.id) < pieces) continue;
    texts.push_back(token.content);
    ids.push_back(token.id);
    types.push_back(
        static_cast<int32_t>(token.special ? PieceType::kControl : PieceType::kUserDefined));
  }
  if (texts.empty()) return;
  WriteOwn<std::vector<std::string>>(after, "smelt.tokenizer.extra_tokens", std::move(texts));
  WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.extra_ids", std::move(ids));
  WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.extra_types", std::move(types));
}

// The tokens of the list, with the types and scores of the SentencePiece model where there is one.
VocabularyArrays ArraysOf(const Pipeline& p, const UnigramModel& model,
                          const SpecWriteOptions& options) {
  VocabularyArrays arrays(RowsOf(options, p));
  if (options.pieces != nullptr) {
    for (size_t i = 0; i < options.pieces->pieces.size(); ++i) {
      const SentencePiece& piece = options.pieces->pieces[i];
      arrays.Set(static_cast<int32_t>(i), piece.text, WrittenType(piece.type), piece.score);
    }
    return arrays;
  }
  const PipelineSpec& spec = p.spec();
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    arrays.Set(id, std::string(spec.tokens.Text(id)),
               id == model.unk_id ? PieceType::kUnknown : PieceType::kNormal,
               static_cast<float>(model.scores[i]));
  }
  for (const AddedToken& token : spec.added) {
    if (token.id == model.unk_id) continue;
    const auto id = static_cast<size_t>(token.id);
    arrays.SetAdded(token,
                    id < model.scores.size() ? static_cast<float>(model.scores[id]) : kAddedScore);
  }
  return arrays;
}

// The library computes in double precision: where single precision is not the same, sums that tie
// would not.
bool ScoresAreExact(const UnigramModel& model, const SentencePieceModel* pieces) {
  for (size_t id = 0; id < model.scores.size(); ++id) {
    const float written = pieces != nullptr && id < pieces->pieces.size()
                              ? pieces->pieces[id].score
                              : static_cast<float>(model.scores[id]);
    if (static_cast<double>(written) != model.scores[id]) return false;
  }
  return true;
}

// What reading these arrays and the keys beside them gives. `exact`: the scores lie under a key of
// their own.
PipelineSpec AsWritten(const PipelineSpec& spec, const UnigramModel& model,
                       const VocabularyArrays& arrays, const SentencePieceModel* pieces,
                       bool exact) {
  PipelineSpec written;
  written.normalizers = spec.normalizers;
  written.pre_tokenizers = spec.pre_tokenizers;
  const size_t extra = pieces == nullptr ? SIZE_MAX : pieces->pieces.size();
  written.added = AddedAsWritten(spec.added, AddedTo::kPipeline, model.unk_id, arrays, extra);
  UnigramModel kept = model;
  kept.scores.assign(arrays.size(), 0);
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const bool added = i >= extra && std::any_of(written.added.begin(), written.added.end(),
                                                 [&](const AddedToken& t) { return t.id == id; });
    if (arrays.type(id) == PieceType::kUnused && !added) continue;
    written.tokens.Add(id, spec.tokens.Text(id));
    kept.scores[i] = exact ? model.scores[i] : static_cast<double>(arrays.score(id));
  }
  if (model.byte_fallback) written.decoders.emplace_back(ByteFallback());
  written.decoders.emplace_back(MetaspaceDecoder());
  written.model = std::move(kept);
  return written;
}

// The rules of the last Precompiled step go into their own key: taken out of the steps.
std::string TakeCharsmap(std::vector<NormalizerStep>& steps) {
  std::string charsmap;
  for (NormalizerStep& step : steps) {
    if (Precompiled* precompiled = std::get_if<Precompiled>(&step); precompiled != nullptr)
      charsmap = std::exchange(precompiled->charsmap, {});
  }
  return charsmap;
}

}  // namespace

absl::StatusOr<PipelineSpec> WriteUnigram(const Pipeline& p, const SpecWriteOptions& options,
                                          Metadata& out, Metadata& after) {
  const PipelineSpec& spec = p.spec();
  const UnigramModel& model = std::get<UnigramModel>(spec.model);
  const SentencePieceModel* pieces = options.pieces;
  const auto is_metaspace = [](const PreTokenizerStep& step) {
    return std::holds_alternative<Metaspace>(step);
  };
  if (std::none_of(spec.pre_tokenizers.begin(), spec.pre_tokenizers.end(), is_metaspace)) {
    return NoForm("its Unigram model has no Metaspace step before it");
  }
  out.Set("tokenizer.ggml.model", "t5");
  out.Set("tokenizer.ggml.pre", "default");
  const bool exact = !ScoresAreExact(model, pieces);
  VocabularyArrays arrays = ArraysOf(p, model, options);
  PipelineSpec written = AsWritten(spec, model, arrays, pieces, exact);
  const ByteTokens bytes(spec.tokens);
  const bool reads_bytes = bytes.HasAll() && arrays.type(bytes['A']) == PieceType::kByte;
  std::move(arrays).Write(true, out);
  if (pieces != nullptr) WriteExtraTokens(spec.added, pieces->pieces.size(), after);
  std::vector<NormalizerStep> normalizers = spec.normalizers;
  const std::string charsmap = TakeCharsmap(normalizers);
  out.Set("tokenizer.ggml.add_space_prefix",
          pieces == nullptr || pieces->normalizer.add_dummy_prefix);
  out.Set("tokenizer.ggml.remove_extra_whitespaces",
          pieces == nullptr || pieces->normalizer.remove_extra_whitespaces);
  if (!charsmap.empty()) out.Set("tokenizer.ggml.precompiled_charsmap", BytesOf(charsmap));
  if (model.unk_id >= 0)
    after.Set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(model.unk_id));
  if (exact) WriteOwn<std::vector<double>>(after, "smelt.tokenizer.scores", model.scores);
  WriteOwn<std::string>(after, "smelt.tokenizer.source", "pipeline");
  WriteNormalizers(normalizers, after);
  WriteOwn<std::string>(after, "smelt.tokenizer.pre_tokenizer", ToJson(spec.pre_tokenizers));
  WriteOwn<double>(after, "smelt.tokenizer.unknown_score", model.unknown_score);
  if (model.byte_fallback || reads_bytes)
    WriteOwn<bool>(after, "smelt.tokenizer.byte_fallback", model.byte_fallback);
  WriteAddedFlags(spec.added, AddedTo::kPipeline, model.unk_id, after);
  return written;
}

}  // namespace smelt
