// What the files that write tokenizer.ggml.* share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "formats/sentencepiece.h"
#include "lib/base/json.h"
#include "lib/base/metadata.h"
#include "lib/text/core.h"
#include "lib/text/gguf/token_types.h"
#include "lib/text/pipeline.h"

namespace smelt {

/// The score that llama.cpp's converter gives to added tokens.
inline constexpr float kAddedScore = -1000.0f;

/// The steps of a component, nested sequences resolved; `list_name` holds those of one.
void Flatten(const JsonValue* json, std::string_view list_name, std::vector<const JsonValue*>& out);

/// The refusal of a pipeline that GGUF keys cannot say.
absl::Status NoForm(std::string_view what);

TokenType WrittenType(PieceType type);
size_t RowsOf(const CoreWriteOptions& options, size_t tokens);

/// Writes what stands before the vocabulary: normalizers that GGUF has no key for.
void WriteNormalizers(const std::vector<JsonValue>& normalizers, Metadata& after);

/// What a BPE model makes of characters that have no token.
void WriteUnknown(const JsonValue& bpe, Metadata& after);

absl::Status WriteBlankBpe(const Pipeline& p, const CoreWriteOptions& options, Metadata& out,
                           Metadata& after);

}  // namespace smelt
