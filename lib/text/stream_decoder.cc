#include "lib/text/components/decoder.h"
#include "lib/text/tokenizer.h"

namespace smelt {
namespace {

constexpr size_t kWindow = 64;  // ids decoded together at most, about
constexpr int kPatience = 16;   // ids without complete text after which it is taken to be broken
constexpr std::string_view kReplacement = "\xef\xbf\xbd";

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options)
    : tokenizer_(tokenizer), options_(options) {}

// Decoding is that of a whole text (leading spaces, byte tokens), so a window of recent ids is
// decoded again and what is new is handed out.
std::string StreamDecoder::Push(int32_t id) {
  ids_.push_back(id);
  const std::string text = tokenizer_.Decode(ids_, options_);
  // A character whose bytes are not all there decodes to U+FFFD at the end (with byte tokens, so
  // does everything before it in the same run): wait for the rest, but not for ever.
  size_t complete = text.size();
  while (std::string_view(text).substr(0, complete).ends_with(kReplacement))
    complete -= kReplacement.size();
  held_ = complete == text.size() ? 0 : held_ + 1;
  if (held_ > kPatience) complete = text.size();
  if (complete <= emitted_) return {};
  std::string fresh = Rest(text, complete);
  emitted_ = complete;
  if (ids_.size() >= kWindow && held_ == 0) Shorten(text);
  return fresh;
}

// Keeps about half of the window as context: so much of it that it decodes to the end of the text
// also without what came before.
void StreamDecoder::Shorten(const std::string& text) {
  for (size_t keep = kWindow / 2; keep < kWindow; ++keep) {
    const std::vector<int32_t> kept(ids_.end() - static_cast<std::ptrdiff_t>(keep), ids_.end());
    const std::string tail = tokenizer_.Decode(kept, options_);
    if (!text.ends_with(tail)) continue;
    ids_ = kept;
    emitted_ = tail.size();
    return;
  }
}

std::string StreamDecoder::Finish() {
  const std::string text = tokenizer_.Decode(ids_, options_);
  std::string rest = Rest(text, text.size());
  emitted_ = text.size();
  held_ = 0;
  return rest;
}

// What follows the part that was handed out, from a character's beginning on: where broken bytes
// came, both need not fit together.
std::string StreamDecoder::Rest(const std::string& text, size_t end) const {
  size_t begin = emitted_;
  while (begin < end && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) ++begin;
  return begin < end ? text.substr(begin, end - begin) : std::string();
}

}  // namespace smelt
