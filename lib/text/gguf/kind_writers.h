// The writers of each kind of vocabulary, and what they share. Each gives what the keys say.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/text/gguf/spec_writer.h"
#include "lib/text/gguf/token_types.h"

namespace smelt {

/// "gpt2", write_byte_level.cc.
absl::StatusOr<PipelineSpec> WriteByteLevelBpe(const Pipeline& p, const SpecWriteOptions& options,
                                               Metadata& out, Metadata& after);
/// "llama" from a pipeline, write_metaspace_bpe.cc.
absl::StatusOr<PipelineSpec> WriteMetaspaceBpe(const Pipeline& p, const SpecWriteOptions& options,
                                               Metadata& out, Metadata& after);
/// "llama" and "t5" from a SentencePiece model, write_sentencepiece.cc.
absl::StatusOr<PipelineSpec> WriteSentencePiece(const Pipeline& p, const SpecWriteOptions& options,
                                                Metadata& out, Metadata& after);
/// "t5" from a pipeline, write_unigram.cc.
absl::StatusOr<PipelineSpec> WriteUnigram(const Pipeline& p, const SpecWriteOptions& options,
                                          Metadata& out, Metadata& after);
/// "bert", write_word_piece.cc.
absl::StatusOr<PipelineSpec> WriteWordPiece(const Pipeline& p, const SpecWriteOptions& options,
                                            Metadata& out, Metadata& after);

/// The score that llama.cpp's converter gives to added tokens.
inline constexpr float kAddedScore = -1000.0f;

/// The refusal of a spec that GGUF keys cannot say.
absl::Status NoForm(std::string_view what);

PieceType WrittenType(PieceType type);
size_t RowsOf(const SpecWriteOptions& options, const Pipeline& p);

/// Writes what stands before the vocabulary: normalizers that GGUF has no key for.
void WriteNormalizers(const std::vector<NormalizerStep>& steps, Metadata& after);

/// What a BPE model makes of characters that have no token.
void WriteUnknown(const BpeModel& model, Metadata& after);

/// A BPE whose tokens wear affixes has no form.
absl::Status RefuseAffixes(const BpeModel& model);

std::vector<uint8_t> BytesOf(std::string_view text);

}  // namespace smelt
