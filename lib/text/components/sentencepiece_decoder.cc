#include "lib/text/components/sentencepiece_decoder.h"

#include "lib/base/utf8.h"
#include "lib/text/components/byte_trie.h"
#include "lib/text/components/sentencepiece_normalizer.h"

namespace smelt {

// A run of byte pieces is text of its own: each byte that belongs to no character is U+FFFD.
void SentencePieceText::FlushBytes() {
  for (size_t at = 0; at < bytes_.size();) {
    const Utf8Char c = DecodeUtf8(std::string_view(bytes_).substr(at));
    if (c.valid || raw_) {
      text_.append(bytes_, at, c.length);
      at += c.length;
    } else {
      text_ += "\xef\xbf\xbd";
      ++at;
    }
    started_ = true;
  }
  bytes_.clear();
}

void SentencePieceText::Unknown() {
  FlushBytes();
  text_ += how_.unknown_surface;
  started_ = started_ || !how_.unknown_surface.empty();
}

void SentencePieceText::Beside(std::string_view text) {
  FlushBytes();
  text_ += text;
}

void SentencePieceText::Piece(std::string_view text) {
  FlushBytes();
  if (!started_ && how_.strips_space && text.starts_with(kMetaspace)) {
    text.remove_prefix(kMetaspace.size());
    started_ = !how_.strips_spaces;
  }
  started_ = started_ || !text.empty();
  while (!text.empty()) {
    const bool space = text.starts_with(kMetaspace);
    text_.push_back(space ? ' ' : text.front());
    text.remove_prefix(space ? kMetaspace.size() : 1);
  }
}

std::string SentencePieceText::Finish() && {
  FlushBytes();
  if (charsmap_.empty()) return std::move(text_);
  SentencePieceNormalizer rules;
  rules.remove_extra_whitespaces = rules.escape_whitespaces = false;
  return NormalizeAsSentencePiece(text_, rules, charsmap_, ByteTrie(), false);
}

}  // namespace smelt
