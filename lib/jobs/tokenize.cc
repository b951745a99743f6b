#include "smelt/tokenize.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "formats/gguf.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/open_model.h"
#include "lib/text/vocabulary.h"

namespace smelt {
namespace {

enum class Place { kNowhere, kFolder, kFile };

Place PlaceOf(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return Place::kNowhere;
  return S_ISDIR(info.st_mode) ? Place::kFolder : Place::kFile;
}

}  // namespace

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
  Place place = PlaceOf(path);
  if (place != Place::kFile) {
    SMELT_ASSIGN_OR_RETURN(path, ResolveVocabulary(model));
    place = PlaceOf(path);
  }
  bool gguf = false;
  if (place == Place::kFile) {
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

std::string TextTokenizer::Decode(const std::vector<int32_t>& ids, bool show_special) const {
  return state_->tokenizer->Decode(ids, {.show_special = show_special});
}

std::string TextTokenizer::Piece(int32_t id) const { return state_->tokenizer->Piece(id); }

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
  const std::vector<int32_t> common(out.a.begin(), x);
  out.offset = std::min(text.size(), a.Decode(common, false).size());
  return out;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
