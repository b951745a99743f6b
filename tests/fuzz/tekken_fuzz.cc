// tekken.json. The 256 single bytes, without which every file is refused, are put in for an empty
// entry: "vocab":[{},
#include "lib/base/status.h"
#include "lib/text/published/readers.h"
#include "tests/fuzz/tokenizer_use.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  const fuzz::FileAndText input =
      fuzz::SplitInput(std::string_view(reinterpret_cast<const char*>(data), size));
  std::string file(input.file);
  constexpr std::string_view kMark = "{},";
  if (const size_t at = file.find(kMark); at != std::string::npos) {
    std::string bytes;
    for (int b = 0; b < 256; ++b)
      bytes += Cat("{\"rank\":", b, ",\"token_bytes\":\"",
                   fuzz::Base64(std::string(1, static_cast<char>(b))), "\"},");
    file.replace(at, kMark.size(), bytes);
  }
  TokenizerFolder folder;
  fuzz::UseSpec(ReadTekken(file, "input", folder), input.text, "tekken");
  return 0;
}
