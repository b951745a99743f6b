#include "lib/base/utf8.h"
#include "lib/text/decoder.h"
#include "lib/text/tokenizer.h"

namespace smelt {
namespace {

constexpr size_t kWindow = 64;  // ids decoded together at most, about
constexpr std::string_view kReplacement = "\xef\xbf\xbd";

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options)
    : tokenizer_(tokenizer), options_(options) {}

// Decoding is that of a whole text (leading spaces, byte tokens), so a window of recent ids is
// decoded again and what is new is handed out.
std::string StreamDecoder::Push(int32_t id) {
  ids_.push_back(id);
  std::string text = tokenizer_.Decode(ids_, options_);
  // A character whose bytes are not all there decodes to U+FFFD at the end: wait, but not for ever.
  size_t waiting = 0;
  for (std::string_view rest = text; rest.ends_with(kReplacement) && rest.size() > emitted_;
       rest.remove_suffix(kReplacement.size()))
    ++waiting;
  size_t complete = text.size() - waiting * kReplacement.size();
  if (waiting > 4) complete = text.size();
  if (complete <= emitted_) return {};
  std::string fresh = text.substr(emitted_, complete - emitted_);
  emitted_ = complete;
  if (ids_.size() >= kWindow && waiting == 0) {
    // Keep half of the window as context; decoding it alone tells how much of it is out already.
    ids_.erase(ids_.begin(), ids_.end() - static_cast<std::ptrdiff_t>(kWindow / 2));
    emitted_ = tokenizer_.Decode(ids_, options_).size();
  }
  return fresh;
}

std::string StreamDecoder::Finish() {
  const std::string text = tokenizer_.Decode(ids_, options_);
  std::string rest = text.size() > emitted_ ? text.substr(emitted_) : std::string();
  emitted_ = text.size();
  return rest;
}

}  // namespace smelt
