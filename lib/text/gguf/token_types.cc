#include "lib/text/gguf/token_types.h"

#include <algorithm>
#include <utility>

#include "lib/base/cat.h"
#include "lib/base/own_keys.h"

namespace smelt {

std::string WithMetaspaces(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ') {
      out += kMetaspace;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

bool LooksSpecial(std::string_view text) {
  if (text == "<pad>" || text == "<mask>" || text == "<2mass>" || text == "[@BOS@]") return true;
  if (text.starts_with("<|") && text.ends_with("|>")) return true;
  if (text.starts_with("<\xef\xbd\x9c") && text.ends_with("\xef\xbd\x9c>")) return true;
  return text.starts_with("<unused") && text.ends_with(">");
}

VocabularyArrays::VocabularyArrays(size_t size)
    : tokens_(size),
      scores_(size, -10000.0f),
      types_(size, static_cast<int32_t>(PieceType::kUnused)) {
  for (size_t i = 0; i < size; ++i) tokens_[i] = Cat("[PAD", i, "]");
}

void VocabularyArrays::Set(int32_t id, std::string text, PieceType type, float score) {
  const auto i = static_cast<size_t>(id);
  if (i >= tokens_.size()) return;  // no row
  tokens_[i] = std::move(text);
  types_[i] = static_cast<int32_t>(type);
  scores_[i] = score;
}

void VocabularyArrays::SetAdded(const AddedToken& token, float score) {
  if (token.special || LooksSpecial(token.content)) {
    Set(token.id, token.content, PieceType::kControl, score);
    return;
  }
  std::string text;
  for (std::string_view rest = token.content; !rest.empty();) {
    const bool space = rest.starts_with(kMetaspace);
    text.push_back(space ? ' ' : rest.front());
    rest.remove_prefix(space ? kMetaspace.size() : 1);
  }
  Set(token.id, std::move(text), PieceType::kUserDefined, score);
}

void VocabularyArrays::Write(bool with_scores, Metadata& out) && {
  out.Set("tokenizer.ggml.tokens", std::move(tokens_));
  if (with_scores) out.Set("tokenizer.ggml.scores", std::move(scores_));
  out.Set("tokenizer.ggml.token_type", std::move(types_));
}

namespace {

int32_t BitsOf(const AddedToken& token, AddedTo kind, int32_t unknown) {
  const bool looks_special = LooksSpecial(token.content);
  int32_t bits = 0;
  if (token.single_word) bits |= kAddedSingleWord;
  if (token.lstrip) bits |= kAddedLstrip;
  if (token.rstrip) bits |= kAddedRstrip;
  if (token.normalized && kind != AddedTo::kSentencePiece) bits |= kAddedNormalized;
  if (!token.special && (looks_special || token.id == unknown)) bits |= kAddedOrdinary;
  if (!token.special && !looks_special && token.content.find(kMetaspace) != std::string::npos)
    bits |= kAddedMetaspace;
  if (token.outside && (kind != AddedTo::kByteLevel || !token.special)) bits |= kAddedOutside;
  return bits;
}

}  // namespace

void WriteAddedFlags(const std::vector<AddedToken>& added, AddedTo kind, int32_t unknown,
                     Metadata& out) {
  std::vector<int32_t> pairs;
  const bool known = std::any_of(added.begin(), added.end(),
                                 [&](const AddedToken& token) { return token.id == unknown; });
  if (unknown >= 0 && !known) pairs = {unknown, kAddedNever};
  for (const AddedToken& token : added) {
    const int32_t bits = BitsOf(token, kind, unknown);
    if (bits != 0) pairs.insert(pairs.end(), {token.id, bits});
  }
  if (!pairs.empty())
    WriteOwn<std::vector<int32_t>>(out, "smelt.tokenizer.added_flags", std::move(pairs));
}

std::vector<AddedToken> AddedAsWritten(const std::vector<AddedToken>& added, AddedTo kind,
                                       int32_t unknown, const VocabularyArrays& arrays,
                                       size_t extra) {
  std::vector<AddedToken> out;
  for (AddedToken token : added) {
    const int32_t bits = BitsOf(token, kind, unknown);
    if (static_cast<size_t>(token.id) < extra) {
      const PieceType type = arrays.type(token.id);
      if (type != PieceType::kControl && type != PieceType::kUserDefined &&
          type != PieceType::kUnknown)
        continue;
      token.content = arrays.text(token.id);
      token.special = type != PieceType::kUserDefined && (bits & kAddedOrdinary) == 0;
    }
    if ((bits & kAddedMetaspace) != 0) token.content = WithMetaspaces(token.content);
    token.normalized = (bits & kAddedNormalized) != 0;
    token.outside = (bits & kAddedOutside) != 0;
    out.push_back(std::move(token));
  }
  std::sort(out.begin(), out.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return out;
}

}  // namespace smelt
