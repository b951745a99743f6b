#include "lib/text/components/added_tokens.h"

#include <algorithm>

#include "lib/base/status.h"
#include "lib/base/unicode.h"
#include "lib/base/utf8.h"
#include "lib/text/regex/char_set.h"

namespace smelt {
namespace {

// Length of the last character of a text that is not empty.
size_t LastLength(std::string_view text) {
  size_t n = 1;
  while (n < text.size() && n < 4 &&
         (static_cast<unsigned char>(text[text.size() - n]) & 0xc0) == 0x80)
    ++n;
  return n;
}

bool EndsWithWord(std::string_view text) {
  if (text.empty()) return false;
  return Contains(RustWordSet(),
                  DecodeUtf8(text.substr(text.size() - LastLength(text))).code_point);
}

bool StartsWithWord(std::string_view text) {
  return !text.empty() && Contains(RustWordSet(), DecodeUtf8(text).code_point);
}

size_t SpaceAtStart(std::string_view text) {
  size_t n = 0;
  while (n < text.size()) {
    const Utf8Char c = DecodeUtf8(text.substr(n));
    if ((CodePointFlags(c.code_point) & kUnicodeSpace) == 0) break;
    n += c.length;
  }
  return n;
}

// Where the spaces at the end begin.
size_t SpaceAtEnd(std::string_view text) {
  while (!text.empty()) {
    const size_t length = LastLength(text);
    if ((CodePointFlags(DecodeUtf8(text.substr(text.size() - length)).code_point) &
         kUnicodeSpace) == 0)
      break;
    text.remove_suffix(length);
  }
  return text.size();
}

}  // namespace

void AddedTokenMatcher::Add(AddedToken token, std::string_view pattern) {
  if (trie_.Insert(pattern, static_cast<int32_t>(tokens_.size())))
    tokens_.push_back(std::move(token));
}

absl::Status AddedTokenMatcher::Split(
    std::string_view text, bool special_as_text,
    absl::FunctionRef<absl::Status(std::string_view, int32_t)> emit) const {
  size_t done = 0, spaces_end = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    if (!trie_.MayBegin(text[at])) {
      ++at;
      continue;
    }
    size_t length = 0;
    int32_t index = -1;
    trie_.Prefixes(text.substr(at), [&](size_t n, int32_t value) {
      length = n;
      index = value;
    });
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at, end = at + length;
    at = end;
    if (special_as_text && token.special) continue;
    if (token.single_word &&
        (EndsWithWord(text.substr(0, begin)) || StartsWithWord(text.substr(end))))
      continue;
    // A stretch of spaces is walked once, also where tokens are made of spaces themselves.
    if (token.lstrip) {
      begin = done < begin ? done + SpaceAtEnd(text.substr(done, begin - done)) : done;
    }
    if (token.rstrip) {
      if (end >= spaces_end) spaces_end = end + SpaceAtStart(text.substr(end));
      end = spaces_end;
    }
    if (done < begin) SMELT_RETURN_IF_ERROR(emit(text.substr(done, begin - done), -1));
    // A token whose spaces another one has taken, all of it spaces itself, is none.
    if (begin < end) SMELT_RETURN_IF_ERROR(emit(text.substr(begin, end - begin), token.id));
    done = std::max(begin, end);
  }
  if (done < text.size()) SMELT_RETURN_IF_ERROR(emit(text.substr(done), -1));
  return absl::OkStatus();
}

}  // namespace smelt
