// Text to ids with a model's tokenizer, and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct TokenizeFlags {
  bool add_special = true;    ///< beginning and end tokens, as the model asks
  bool parse_special = true;  ///< texts of special tokens become those tokens
};

/// A model's tokenizer, kept open for many texts. Safe to use from several threads.
class SMELT_EXPORT TextTokenizer {
 public:
  /// `model`: a model directory, a GGUF, a store name, a directory that holds only tokenizer files,
  /// or one tokenizer file (tokenizer.json, tokenizer.model, tekken.json ...).
  static absl::StatusOr<TextTokenizer> Open(const std::string& model,
                                            const Observer& observer = {});
  TextTokenizer(TextTokenizer&&) noexcept;
  TextTokenizer& operator=(TextTokenizer&&) noexcept;
  ~TextTokenizer();

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const TokenizeFlags& flags = {}) const;
  /// Unknown ids are left out; broken bytes become U+FFFD.
  absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids,
                                     bool show_special = true) const;
  /// The vocabulary's own text of an id.
  absl::StatusOr<std::string> Piece(int32_t id) const;
  /// Number of ids.
  size_t size() const;

 private:
  struct State;
  explicit TextTokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// The first place at which two tokenizers disagree about a text.
struct TokenizeDifference {
  bool different = false;
  size_t index = 0;   ///< of the first differing id
  size_t offset = 0;  ///< bytes of the text before it, about (where the decoded common part ends)
  std::vector<int32_t> a, b;
};

SMELT_EXPORT absl::StatusOr<TokenizeDifference> CompareTokenizers(const TextTokenizer& a,
                                                                  const TextTokenizer& b,
                                                                  std::string_view text,
                                                                  const TokenizeFlags& flags = {});

}  // namespace smelt
