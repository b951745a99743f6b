// A model's chat template beside the formats that we write for Ollama; and the input as a model's
// answer, split into thoughts and answer, and as a text with JSON in it.
#include "formats/ollama/go_template.h"
#include "lib/jobs/chat_format.h"
#include "lib/jobs/plain_json.h"
#include "lib/jobs/thoughts.h"
#include "tests/fuzz/fuzz.h"

namespace smelt {
namespace {

std::string Split(std::string_view text, size_t step, bool& thinking) {
  std::vector<const ThoughtForm*> forms;
  for (const ThoughtForm& form : ThoughtForms()) forms.push_back(&form);
  std::string out;
  ThoughtSplitter splitter(std::move(forms), "", [&](bool thought, std::string_view piece) {
    fuzz::Require(!piece.empty(), "a piece has something in it");
    if (thought != thinking) out += '\0';
    thinking = thought;
    out += piece;
  });
  for (size_t at = 0; at < text.size(); at += step) splitter.Take(text.substr(at, step));
  splitter.Finish();
  return out;
}

}  // namespace
}  // namespace smelt

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  if (size > 4096) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  bool whole = false, pieces = false;
  fuzz::Require(Split(text, 5000, whole) == Split(text, 1 + size % 7, pieces) && whole == pieces,
                "an answer is split alike however it comes");
  const std::string plain = WithPlainJson(text);
  fuzz::Require(WithPlainJson(plain) == plain, "plain JSON stays as it is");

  const absl::StatusOr<ChatFormatMatch> match = RecogniseChatFormat(text, "<s>", "</s>");
  if (!match.ok()) {
    fuzz::RequireGoodMessage(match.status());
  } else if (match->format) {
    fuzz::Require(ollama::CheckGoTemplate(match->format->settings.template_text).ok(),
                  "Go reads the template");
  }
  return 0;
}
