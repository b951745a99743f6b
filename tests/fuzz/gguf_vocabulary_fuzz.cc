// A vocabulary from the keys of a hostile GGUF, used.
#include "formats/gguf.h"
#include "lib/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = smelt::ReadGguf(smelt::fuzz::InMemory(data, size));
  if (!file.ok()) return 0;
  const auto tokenizer = smelt::GgufTokenizer(file->metadata);
  if (!tokenizer.ok()) {
    smelt::fuzz::RequireGoodMessage(tokenizer.status());
    return 0;
  }
  const auto ids = (*tokenizer)->Encode("Hello, world 123\n\t \xe2\x96\x81", {});
  if (ids.ok()) (*tokenizer)->Decode(*ids, {});
  return 0;
}
