// The parsers of tokenizer files, and the two implementations against each other: the first byte
// chooses the form; text follows the file after a zero byte.
#include "formats/sentencepiece.h"
#include "lib/text/decoder.h"
#include "lib/text/pipeline.h"
#include "lib/text/sentencepiece_core.h"
#include "lib/text/tokenizer_json.h"
#include "tests/fuzz/fuzz.h"

namespace {

std::unique_ptr<smelt::TokenizerCore> Parse(bool json, std::string_view bytes) {
  if (json) {
    absl::StatusOr<smelt::TokenizerJson> parsed = smelt::ParseTokenizerJson(bytes, "input");
    if (!parsed.ok()) {
      smelt::fuzz::RequireGoodMessage(parsed.status());
      return nullptr;
    }
    auto core = smelt::MakePipelineCore(*std::move(parsed), "input", smelt::RegexEngine::kAny);
    if (core.ok()) return *std::move(core);
    smelt::fuzz::RequireGoodMessage(core.status());
    return nullptr;
  }
  auto core = smelt::MakeSentencePieceCore(bytes, "input");
  if (core.ok()) return *std::move(core);
  smelt::fuzz::RequireGoodMessage(core.status());
  return nullptr;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view all(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t end = data[0] % 2 == 0 ? all.find('\0') : std::string_view::npos;
  const auto core = Parse(data[0] % 2 == 0, all.substr(0, end));
  if (core == nullptr) return 0;
  std::vector<int32_t> ids;
  const std::string text =
      smelt::RepairUtf8(end == std::string_view::npos ? all.substr(0, 200) : all.substr(end + 1));
  if (!core->EncodeText(text, true, ids).ok()) return 0;
  for (const int32_t id : ids)
    smelt::fuzz::Require(id >= 0 && static_cast<size_t>(id) < core->size(),
                         "an id is in the vocabulary");
  core->Decode(ids, true);
  smelt::Metadata metadata, after;
  std::vector<std::string> notes;
  const absl::Status written = core->WriteTokens({}, metadata, after, notes);
  if (!written.ok()) {
    smelt::fuzz::RequireGoodMessage(written);
    return 0;
  }
  for (const smelt::Metadata::Entry& entry : after.entries()) metadata.Set(entry.key, entry.value);
  const auto gguf = smelt::GgufTokenizer(metadata);
  if (!gguf.ok()) smelt::fuzz::RequireGoodMessage(gguf.status());
  return 0;
}
