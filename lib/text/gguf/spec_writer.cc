#include "lib/text/gguf/spec_writer.h"

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/kind_writers.h"
#include "lib/text/published/component_json.h"

namespace smelt {

// llama.cpp's converter does not know user-defined pieces: it writes them as normal ones.
TokenType WrittenType(PieceType type) {
  return type == PieceType::kUserDefined ? TokenType::kNormal : static_cast<TokenType>(type);
}

absl::Status NoForm(std::string_view what) {
  return Error(ErrorCode::kUnsupported, "the tokenizer has no GGUF form: ", what,
               " (its pre-tokenizer and normalizer must be those of a known kind)");
}

void WriteNormalizers(const std::vector<NormalizerStep>& steps, Metadata& after) {
  if (!steps.empty()) WriteOwn<std::string>(after, "smelt.tokenizer.normalizer", ToJson(steps));
}

void WriteUnknown(const BpeModel& model, Metadata& after) {
  if (model.unk_token.empty()) return;
  WriteOwn<std::string>(after, "smelt.tokenizer.unknown_token", model.unk_token);
  if (model.fuse_unk) WriteOwn<bool>(after, "smelt.tokenizer.fuse_unknown", true);
}

absl::Status RefuseAffixes(const BpeModel& model) {
  if (!model.end_of_word_suffix.empty()) return NoForm("its BPE has a end_of_word_suffix");
  if (!model.continuing_subword_prefix.empty())
    return NoForm("its BPE has a continuing_subword_prefix");
  return absl::OkStatus();
}

size_t RowsOf(const SpecWriteOptions& options, const Pipeline& p) {
  return options.rows != 0 ? options.rows : p.size();
}

std::vector<uint8_t> BytesOf(std::string_view text) { return {text.begin(), text.end()}; }

namespace {

// Tokens beyond the embedding have no row.
absl::Status CheckRows(const SpecWriteOptions& options, const TokenTable& tokens,
                       const std::vector<AddedToken>& added) {
  const size_t rows = options.rows;
  if (rows == 0) return absl::OkStatus();
  if (tokens.size() > rows) {
    return Error(ErrorCode::kInvalidInput, "the vocabulary has ", tokens.size(),
                 " tokens, but the embedding has ", rows, " rows");
  }
  for (const AddedToken& token : added) {
    if (static_cast<size_t>(token.id) < rows) continue;
    return Error(ErrorCode::kInvalidInput, "the added token \"", Escape(token.content, 60),
                 "\" has id ", token.id, ", but the embedding has only ", rows,
                 " rows (vocab_size)");
  }
  return absl::OkStatus();
}

bool DecodesBytes(const PipelineSpec& spec) {
  return spec.decoders.size() == 1 && std::holds_alternative<ByteLevelDecoder>(spec.decoders[0]);
}

}  // namespace

absl::StatusOr<PipelineSpec> WriteSpec(const Pipeline& p, const SpecWriteOptions& options,
                                       Metadata& out, Metadata& after) {
  const PipelineSpec& spec = p.spec();
  SMELT_RETURN_IF_ERROR(CheckRows(options, spec.tokens, spec.added));
  if (std::holds_alternative<WordLevelModel>(spec.model)) return NoForm("its model is WordLevel");
  if (std::holds_alternative<WordPieceModel>(spec.model))
    return WriteWordPiece(p, options, out, after);
  if (std::holds_alternative<UnigramModel>(spec.model)) return WriteUnigram(p, options, out, after);
  if (std::holds_alternative<PieceModel>(spec.model))
    return WriteSentencePiece(p, options, out, after);
  return LeavesBytes(spec.pre_tokenizers) || DecodesBytes(spec)
             ? WriteByteLevelBpe(p, options, out, after)
             : WriteMetaspaceBpe(p, options, out, after);
}

}  // namespace smelt
