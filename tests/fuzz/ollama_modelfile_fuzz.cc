#include "formats/ollama/go_template.h"
#include "formats/ollama/model_settings.h"
#include "formats/ollama/modelfile.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = ollama::ParseModelfile(text, "input");
  if (lines.ok()) {
    const auto settings = ollama::ModelSettings::Of(*lines, "input");
    if (!settings.ok()) fuzz::RequireGoodMessage(settings.status());
    ollama::ModelfileText(*lines);
  } else {
    fuzz::RequireGoodMessage(lines.status());
  }
  const absl::Status parsed = ollama::CheckGoTemplate(text);
  if (!parsed.ok()) fuzz::RequireGoodMessage(parsed);
  return 0;
}
