// A GGUF that holds a vocabulary and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/metadata_edits.h"
#include "smelt/observer.h"

namespace smelt {

struct VocabularyRequest {
  std::string source;  ///< folder with tokenizer files (weights are not looked at), one tokenizer
                       ///< file, GGUF, or store name
  std::string output;  ///< empty: NAME-vocab.gguf where we run
  std::string pre;     ///< pre-tokenizer name to use
  bool allow_tokenizer_mismatch = false;  ///< write a vocabulary that encodes differently
  bool force = false;                     ///< replace an existing output
  MetadataEdits metadata;
};

struct VocabularyResult {
  std::string output;
  std::string architecture;  ///< general.architecture: config.json's, or llama where nothing says
  std::string tokenizer;     ///< tokenizer.ggml.model
  std::string pre;           ///< tokenizer.ggml.pre
  uint64_t tokens = 0, bytes = 0;
};

/// Writes the tokenizer's keys as a GGUF without tensors, encoded and compared with the source
/// first as in every conversion. Programs that load vocabularies alone (llama.cpp's vocab_only)
/// read it.
SMELT_EXPORT absl::StatusOr<VocabularyResult> ConvertVocabulary(const VocabularyRequest& request,
                                                                const Observer& observer = {});

}  // namespace smelt
