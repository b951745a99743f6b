// A published tokenizer (tokenizer.json, tokenizer.model, ... of a folder): used directly, and
// written as GGUF keys.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "lib/text/tokenizer.h"

namespace smelt {

/// Ids that config.json names when tokenizer_config.json does not.
struct ConfigTokenIds {
  std::optional<int64_t> bos, eos, unknown, separator, padding, mask, cls;
};

struct VocabularyOptions {
  uint64_t rows =
      0;  ///< rows of the embedding: ids without a text become [PADn]; 0 = as many as there are
  std::string architecture;  ///< GGUF architecture, for the few rules that depend on it
  ConfigTokenIds config_ids;
  std::string pre;              ///< --pre NAME: use this pre-tokenizer name
  bool allow_mismatch = false;  ///< do not compare the written vocabulary with the tokenizer
};

class PublishedTokenizer : public Tokenizer {
 public:
  /// Writes tokenizer.ggml.* and tokenizer.chat_template* as llama.cpp's converter does, appended
  /// to `out`. `notes` receives what the GGUF vocabulary cannot say.
  virtual absl::Status WriteVocabulary(const VocabularyOptions& options, Metadata& out,
                                       std::vector<std::string>& notes) const = 0;

  /// The text of an added token that is left out because the embedding has no row for it; empty
  /// when the id is none of those.
  virtual std::string RowlessPiece(int64_t id) const = 0;
};

/// Whether a folder has a file that OpenPublishedTokenizer would read.
bool HasTokenizerFiles(const std::string& folder);

/// Reads the tokenizer files of a folder, or one tokenizer file. kNotFound when the folder has
/// none. `rows` of the model's embedding, where they are known: special tokens that only a
/// configuration names and that would lie beyond them are left out.
absl::StatusOr<std::unique_ptr<PublishedTokenizer>> OpenPublishedTokenizer(const std::string& path,
                                                                           uint64_t rows = 0);

}  // namespace smelt
