// Lines of base64 and rank (the first byte is even: after those of the 256 single bytes), and
// vocab.json with merges.txt (the first byte's second bit; a zero byte between them).
#include <algorithm>

#include "lib/base/status.h"
#include "lib/text/published/readers.h"
#include "tests/fuzz/tokenizer_use.h"

namespace smelt::fuzz {
namespace {

void VocabAndMerges(const FileAndText& input) {
  const size_t end = std::min(input.file.find('\0'), input.file.size());
  TokenizerFolder folder;
  UseSpec(
      ReadVocabAndMerges(input.file.substr(0, end), "vocab",
                         input.file.substr(std::min(end + 1, input.file.size())), "merges", folder),
      input.text, "llama-bpe");
}

}  // namespace
}  // namespace smelt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  if (size < 1) return 0;
  const fuzz::FileAndText input =
      fuzz::SplitInput(std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  if ((data[0] & 2) != 0) {
    fuzz::VocabAndMerges(input);
    return 0;
  }
  std::string file;
  if (data[0] % 2 == 0) {
    for (int b = 0; b < 256; ++b)
      file += Cat(fuzz::Base64(std::string(1, static_cast<char>(b))), " ", b, "\n");
  }
  file += input.file;
  LooksLikeTiktoken(file);
  TokenizerFolder folder;  // Meta's layout, which takes any ranks
  const auto lines = std::count(file.begin(), file.end(), '\n') + (file.ends_with('\n') ? 0 : 1);
  folder.model_config =
      JsonValue(JsonValue::Object{{"vocab_size", JsonValue(int64_t{lines} + 256)}});
  fuzz::UseSpec(ReadTiktoken(file, "input", folder), input.text, "llama-bpe");
  return 0;
}
