// The parsers of tokenizer.json and of SentencePiece models: the first byte chooses the form; text
// follows the file after a zero byte (a model, which has zero bytes itself, encodes its beginning).
#include "lib/text/pipeline.h"
#include "lib/text/published/sentencepiece_core.h"
#include "lib/text/published/tokenizer_json.h"
#include "tests/fuzz/tokenizer_use.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  if (size < 2) return 0;
  const std::string_view all(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 != 0) {
    const auto core = fuzz::ValueOrNull(MakeSentencePieceCore(all, "input"));
    if (core != nullptr) fuzz::UseCore(*core, RepairUtf8(all.substr(0, 200)), "gpt-2");
    return 0;
  }
  const fuzz::FileAndText input = fuzz::SplitInput(all);
  absl::StatusOr<TokenizerJson> parsed = ParseTokenizerJson(input.file, "input");
  if (!parsed.ok()) {
    fuzz::RequireGoodMessage(parsed.status());
    return 0;
  }
  const auto core =
      fuzz::ValueOrNull(MakePipelineCore(*std::move(parsed), "input", RegexEngine::kAny));
  if (core != nullptr) fuzz::UseCore(*core, input.text, "gpt-2");
  return 0;
}
