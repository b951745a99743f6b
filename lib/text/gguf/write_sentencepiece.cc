// SentencePiece models as tokenizer.ggml.model "llama" (BPE) or "t5" (Unigram).
#include <unordered_set>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/text/gguf/kind_writers.h"

namespace smelt {
namespace {

// Where llama.cpp has a key for Unigram only, ours says it for BPE.
void WriteSpaces(const SentencePieceNormalizer& rules, bool unigram, Metadata& out,
                 Metadata& after) {
  const bool prefix = rules.dummy_prefix != PrependScheme::kNever;
  if (unigram) {
    out.Set("tokenizer.ggml.add_space_prefix", prefix);
    out.Set("tokenizer.ggml.remove_extra_whitespaces", rules.remove_extra_whitespaces);
    if (!rules.charsmap.empty())
      out.Set("tokenizer.ggml.precompiled_charsmap", BytesOf(rules.charsmap));
  } else {
    if (!prefix) after.Set("tokenizer.ggml.add_space_prefix", false);
    if (rules.dummy_prefix == PrependScheme::kFirst)
      WriteOwn<std::string>(after, "smelt.tokenizer.space_prefix", "first");
    if (rules.remove_extra_whitespaces)
      WriteOwn<bool>(after, "smelt.tokenizer.remove_extra_whitespaces", true);
    if (!rules.charsmap.empty())
      WriteOwn<std::vector<uint8_t>>(after, "smelt.tokenizer.precompiled_charsmap",
                                     BytesOf(rules.charsmap));
  }
  if (rules.whitespace_as_suffix)
    WriteOwn<bool>(after, "smelt.tokenizer.whitespace_as_suffix", true);
  if (!rules.escape_whitespaces) WriteOwn<bool>(after, "smelt.tokenizer.escape_whitespaces", false);
}

// Declared tokens stand in the place of pieces, with types and scores of their own.
PipelineSpec AsWritten(const PipelineSpec& spec, const std::vector<AddedToken>& declared,
                       const VocabularyArrays& arrays) {
  PipelineSpec written;
  written.normalizers = spec.normalizers;
  written.decoders = spec.decoders;
  written.added = AddedAsWritten(spec.added, AddedTo::kSentencePiece, -1, arrays);
  PieceModel model = std::get<PieceModel>(spec.model);
  const bool unigram = model.algorithm == SentencePieceModel::Type::kUnigram;
  model.scores.resize(arrays.size());
  model.types.resize(arrays.size(), PieceType::kUnused);
  std::unordered_set<int32_t> outside;
  for (const AddedToken& token : declared) {
    const auto id = static_cast<size_t>(token.id);
    if (token.outside) outside.insert(token.id);
    model.scores[id] = token.outside ? 0 : kAddedScore;
    if (model.types[id] == PieceType::kUserDefined) continue;
    const bool control = unigram || token.special || LooksSpecial(token.content);
    model.types[id] = control ? PieceType::kControl : PieceType::kNormal;
  }
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (!outside.contains(id)) written.tokens.Add(id, spec.tokens.Text(id));
  }
  if (!unigram) model.unknown_score = 0;
  written.model = std::move(model);
  return written;
}

}  // namespace

absl::StatusOr<PipelineSpec> WriteSentencePiece(const Pipeline& p, const SpecWriteOptions& options,
                                                Metadata& out, Metadata& after) {
  const PipelineSpec& spec = p.spec();
  const PieceModel& model = std::get<PieceModel>(spec.model);
  const bool unigram = model.algorithm == SentencePieceModel::Type::kUnigram;
  out.Set("tokenizer.ggml.model", unigram ? "t5" : "llama");
  out.Set("tokenizer.ggml.pre", "default");
  VocabularyArrays arrays(RowsOf(options, p));
  std::vector<int32_t> user_defined;
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    arrays.Set(id, std::string(spec.tokens.Text(id)), WrittenType(model.types[i]), model.scores[i]);
    if (model.types[i] == PieceType::kUserDefined) user_defined.push_back(id);
  }
  // The model's own control and unknown pieces are written already.
  for (const AddedToken& token : options.declared) arrays.SetAdded(token, kAddedScore);
  std::vector<AddedToken> declared;
  for (const AddedToken& token : options.declared) declared.push_back(*p.FindAdded(token.id));
  PipelineSpec written = AsWritten(spec, declared, arrays);
  std::move(arrays).Write(true, out);
  WriteSpaces(std::get<SentencePieceNormalizer>(spec.normalizers.front()), unigram, out, after);
  if (!user_defined.empty())
    WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.user_defined", std::move(user_defined));
  const auto& decoder = std::get<SentencePieceDecoder>(spec.decoders.front());
  if (decoder.unknown_surface != SentencePieceDecoder().unknown_surface)
    WriteOwn<std::string>(after, "smelt.tokenizer.unknown_surface", decoder.unknown_surface);
  if (!decoder.charsmap.empty())
    WriteOwn<std::vector<uint8_t>>(after, "smelt.tokenizer.denormalizer_charsmap",
                                   BytesOf(decoder.charsmap));
  // What readers take where the key is missing.
  const int32_t usual_unknown = unigram ? 2 : 0;
  if (model.unknown != usual_unknown)
    after.Set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(model.unknown));
  WriteOwn<std::string>(after, "smelt.tokenizer.source", "sentencepiece");
  const ByteTokens bytes(spec.tokens);
  const bool usual_bytes = unigram ? bytes.HasAll() : bytes.HasAny();
  if (model.byte_fallback != usual_bytes)
    WriteOwn<bool>(after, "smelt.tokenizer.byte_fallback", model.byte_fallback);
  WriteAddedFlags(declared, AddedTo::kSentencePiece, -1, after);
  return written;
}

}  // namespace smelt
