#include "lib/text/gguf/spec_writer.h"

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/kind_writers.h"
#include "lib/text/spec/component_json.h"

namespace smelt {

// llama.cpp's converter does not know user-defined pieces: it writes them as normal ones.
PieceType WrittenType(PieceType type) {
  return type == PieceType::kUserDefined ? PieceType::kNormal : type;
}

absl::Status NoForm(std::string_view what) {
  return Error(ErrorCode::kUnsupported, "the tokenizer has no GGUF form: ", what);
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
  const bool suffix = !model.end_of_word_suffix.empty();
  if (!suffix && model.continuing_subword_prefix.empty()) return absl::OkStatus();
  return NoForm(Cat("its BPE has ",
                    suffix ? "an end_of_word_suffix" : "a continuing_subword_prefix",
                    ", which no key holds"));
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

// A step that joins all tokens changes nothing where it is the last one.
bool DecodeAlike(std::vector<DecoderStep> a, std::vector<DecoderStep> b) {
  for (std::vector<DecoderStep>* steps : {&a, &b}) {
    while (!steps->empty() && std::holds_alternative<Fuse>(steps->back())) steps->pop_back();
  }
  return a == b;
}

// The writer of a kind of model.
struct Writer {
  const Pipeline& p;
  const SpecWriteOptions& options;
  Metadata &out, &after;

  absl::StatusOr<PipelineSpec> operator()(const BpeModel&) const {
    return LeavesBytes(p.spec().pre_tokenizers) || DecodesBytes(p.spec())
               ? WriteByteLevelBpe(p, options, out, after)
               : WriteMetaspaceBpe(p, options, out, after);
  }
  absl::StatusOr<PipelineSpec> operator()(const UnigramModel&) const {
    return WriteUnigram(p, options, out, after);
  }
  absl::StatusOr<PipelineSpec> operator()(const WordPieceModel&) const {
    return WriteWordPiece(p, options, out, after);
  }
  absl::StatusOr<PipelineSpec> operator()(const WordLevelModel&) const {
    return NoForm("its model is WordLevel; BPE, Unigram and WordPiece have one");
  }
  absl::StatusOr<PipelineSpec> operator()(const PieceModel&) const {
    return WriteSentencePiece(p, options, out, after);
  }
};

}  // namespace

absl::StatusOr<PipelineSpec> WriteSpec(const Pipeline& p, const SpecWriteOptions& options,
                                       Metadata& out, Metadata& after) {
  const PipelineSpec& spec = p.spec();
  SMELT_RETURN_IF_ERROR(CheckRows(options, spec.tokens, spec.added));
  SMELT_ASSIGN_OR_RETURN(PipelineSpec written,
                         std::visit(Writer{p, options, out, after}, spec.model));
  if (written.decoders != spec.decoders && !DecodeAlike(written.decoders, spec.decoders)) {
    WriteOwn<std::string>(after, "smelt.tokenizer.decoder", ToJson(spec.decoders));
    written.decoders = spec.decoders;
  }
  return written;
}

}  // namespace smelt
