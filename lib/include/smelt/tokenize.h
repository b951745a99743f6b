// Text to ids with a model's tokenizer.
#pragma once

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
  bool add_special = true;
  bool parse_special = true;
};

/// A model's tokenizer, kept open for many texts.
class SMELT_EXPORT TextTokenizer {
 public:
  static absl::StatusOr<TextTokenizer> Open(const std::string& model,
                                            const Observer& observer = {});
  TextTokenizer(TextTokenizer&&) noexcept;
  TextTokenizer& operator=(TextTokenizer&&) noexcept;
  ~TextTokenizer();

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const TokenizeFlags& flags = {}) const;
  std::string Decode(const std::vector<int32_t>& ids, bool show_special = true) const;
  std::string Piece(int32_t id) const;

 private:
  struct State;
  explicit TextTokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace smelt
