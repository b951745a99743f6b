#include "lib/text/components/spm_decoder.h"

#include "lib/base/utf8.h"
#include "lib/text/components/spm_normalizer.h"
#include "lib/text/models/blank_cuts.h"
#include "lib/text/models/byte_trie.h"

namespace smelt {

// A run of byte pieces is text of its own: each byte that belongs to no character is U+FFFD.
void SpmText::FlushBytes() {
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

void SpmText::Unknown() {
  FlushBytes();
  text_ += how_.unknown;
  started_ = started_ || !how_.unknown.empty();
}

void SpmText::Beside(std::string_view text) {
  FlushBytes();
  text_ += text;
}

void SpmText::Piece(std::string_view text) {
  FlushBytes();
  if (!started_ && how_.strips_blank && text.starts_with(kBlank)) {
    text.remove_prefix(kBlank.size());
    started_ = !how_.strips_all;
  }
  started_ = started_ || !text.empty();
  while (!text.empty()) {
    const bool blank = text.starts_with(kBlank);
    text_.push_back(blank ? ' ' : text.front());
    text.remove_prefix(blank ? kBlank.size() : 1);
  }
}

std::string SpmText::Finish() && {
  FlushBytes();
  const SpmNormalizer rules{how_.rules, false, false, false, false};
  return how_.rules.empty() ? std::move(text_) : rules.Apply(text_, ByteTrie());
}

}  // namespace smelt
