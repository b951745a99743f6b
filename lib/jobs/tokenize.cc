#include "smelt/tokenize.h"

#include <algorithm>
#include <utility>

#include "formats/gguf.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/open_model.h"
#include "lib/text/published/published_tokenizer.h"

namespace smelt {

struct TextTokenizer::State {
  std::unique_ptr<Tokenizer> tokenizer;
};

TextTokenizer::TextTokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
TextTokenizer::TextTokenizer(TextTokenizer&&) noexcept = default;
TextTokenizer& TextTokenizer::operator=(TextTokenizer&&) noexcept = default;
TextTokenizer::~TextTokenizer() = default;

absl::StatusOr<TextTokenizer> TextTokenizer::Open(const std::string& model,
                                                  const Observer& observer) try {
  const JobScope job(observer);
  auto state = std::make_unique<State>();
  std::string path = model;
  const auto is_file = [&] { return Exists(path) && !IsFolder(path); };  // or a pipe, refused below
  if (!is_file()) {
    SMELT_ASSIGN_OR_RETURN(path, ResolveVocabulary(model));
  }
  bool gguf = false;
  if (is_file()) {
    SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> storage, OpenFile(path));
    gguf = LooksLikeGguf(*storage);
  }
  if (gguf) {
    SMELT_ASSIGN_OR_RETURN(const GgufFile file, OpenGguf(path));
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = GgufTokenizer(file.metadata);
    if (!tokenizer.ok()) return Prefixed(Cat(Escape(model), ": "), tokenizer.status());
    state->tokenizer = *std::move(tokenizer);
  } else {
    SMELT_ASSIGN_OR_RETURN(state->tokenizer, OpenPublishedTokenizer(path));
  }
  return TextTokenizer(std::move(state));
} catch (...) {
  return CaughtError();
}

absl::StatusOr<std::vector<int32_t>> TextTokenizer::Encode(std::string_view text,
                                                           const TokenizeFlags& flags) const try {
  return state_->tokenizer->Encode(
      text, {.add_special = flags.add_special, .parse_special = flags.parse_special});
} catch (...) {
  return CaughtError();
}

absl::StatusOr<std::string> TextTokenizer::Decode(const std::vector<int32_t>& ids,
                                                  bool show_special) const try {
  return state_->tokenizer->Decode(ids, {.show_special = show_special});
} catch (...) {
  return CaughtError();
}

absl::StatusOr<std::string> TextTokenizer::Piece(int32_t id) const try {
  return state_->tokenizer->Piece(id);
} catch (...) {
  return CaughtError();
}

size_t TextTokenizer::size() const { return state_->tokenizer->size(); }

absl::StatusOr<TokenizeDifference> CompareTokenizers(const TextTokenizer& a, const TextTokenizer& b,
                                                     std::string_view text,
                                                     const TokenizeFlags& flags) try {
  TokenizeDifference out;
  SMELT_ASSIGN_OR_RETURN(out.a, a.Encode(text, flags));
  SMELT_ASSIGN_OR_RETURN(out.b, b.Encode(text, flags));
  const auto [x, y] = std::mismatch(out.a.begin(), out.a.end(), out.b.begin(), out.b.end());
  out.different = x != out.a.end() || y != out.b.end();
  out.index = static_cast<size_t>(x - out.a.begin());
  SMELT_ASSIGN_OR_RETURN(const std::string common, a.Decode({out.a.begin(), x}, false));
  out.offset = std::min(text.size(), common.size());
  return out;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
