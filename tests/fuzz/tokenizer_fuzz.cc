// The parsers of tokenizer.json and of SentencePiece models: the first byte chooses the form; text
// follows the file after a zero byte (a model, which has zero bytes itself, encodes its beginning).
#include "lib/text/published/readers.h"
#include "tests/fuzz/tokenizer_use.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  if (size < 2) return 0;
  const std::string_view all(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 != 0) {
    const absl::StatusOr<SentencePieceModel> model = ParseSentencePiece(all, "input");
    if (!model.ok()) {
      fuzz::RequireGoodMessage(model.status());
      return 0;
    }
    fuzz::UseSpec(ReadSentencePiece(*model, "input"), RepairUtf8(all.substr(0, 200)), "gpt-2");
    return 0;
  }
  const fuzz::FileAndText input = fuzz::SplitInput(all);
  fuzz::UseSpec(ReadTokenizerJson(input.file, "input"), input.text, "gpt-2");
  return 0;
}
