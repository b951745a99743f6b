// A published tokenizer written as a GGUF's keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/metadata.h"
#include "lib/text/published/published_tokenizer.h"

namespace smelt {

/// Ids that config.json names when tokenizer_config.json does not.
struct ConfigTokenIds {
  std::optional<int64_t> bos, eos, unknown, separator, padding, mask;
};

struct VocabularyOptions {
  uint64_t rows =
      0;  ///< rows of the embedding: ids without a text become [PADn]; 0 = as many as there are
  std::string architecture;  ///< GGUF architecture, for the few rules that depend on it
  ConfigTokenIds config_ids;
  std::string pre;  ///< --pre NAME: use this pre-tokenizer name
  /// Byte-level vocabularies say whether texts begin and end with a token, in any case.
  bool states_boundaries = false;
  bool allow_mismatch = false;  ///< do not compare the written vocabulary with the tokenizer
};

/// Writes tokenizer.ggml.* and tokenizer.chat_template* as llama.cpp's converter does, appended to
/// `out`, and what these cannot say as smelt.tokenizer.*. `notes` receives what llama.cpp will do
/// otherwise. kUnsupported when the tokenizer has no GGUF form; kInvalidInput when the keys are
/// read back as another tokenizer.
absl::Status WriteVocabulary(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                             Metadata& out, std::vector<std::string>& notes);

/// tokenizer.chat_template*, appended.
absl::Status WriteChatTemplates(const TokenizerFolder& folder, Metadata& out);

/// What llama.cpp's converter writes for some architectures besides what their tokenizers say:
/// before the tokens, behind the special ones, and after everything else that `out` has. `after`
/// follows it.
void WriteFlagsOfArchitecture(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                              Metadata& out);
void WriteSpecialExceptions(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                            Metadata& out);
void WriteExceptions(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                     Metadata& out, Metadata& after);

}  // namespace smelt
