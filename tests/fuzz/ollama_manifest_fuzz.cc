#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"
#include "formats/ollama/parameters.h"
#include "lib/base/json.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using smelt::fuzz::Require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto manifest = smelt::ollama::ReadManifest(text, "input");
  if (manifest.ok()) {
    for (const smelt::ollama::Layer& layer : manifest->layers) {
      Require(!smelt::ollama::BlobName(layer.digest).empty(), "a layer has a digest");
    }
    const std::string written = smelt::ollama::WriteManifest(*manifest);
    const auto again = smelt::ollama::ReadManifest(written, "again");
    Require(again.ok() || manifest->config.digest.empty(), "what was written is read");
  } else {
    smelt::fuzz::RequireGoodMessage(manifest.status());
  }

  if (const auto config = smelt::ollama::ReadConfig(text, "input"); config.ok()) {
    Require(smelt::ollama::ReadConfig(smelt::ollama::WriteConfig(*config), "again").ok(),
            "a configuration that was written is read");
  } else {
    smelt::fuzz::RequireGoodMessage(config.status());
  }

  if (const auto parameters = smelt::ollama::Parameters::Read(text, "input"); parameters.ok()) {
    for (const auto& [key, value] : parameters->values()) smelt::ollama::ParameterTexts(value);
    Require(smelt::ollama::Parameters::Read(parameters->Json(), "again").ok(),
            "parameters that were written are read");
  } else {
    smelt::fuzz::RequireGoodMessage(parameters.status());
  }
  if (const auto messages = smelt::ollama::ReadMessages(text, "input"); messages.ok()) {
    const auto again = smelt::ollama::ReadMessages(smelt::ollama::MessagesJson(*messages), "again");
    Require(again.ok() && again->size() == messages->size(), "messages that were written are read");
  } else {
    smelt::fuzz::RequireGoodMessage(messages.status());
  }

  const smelt::ollama::Name name = smelt::ollama::SplitName(text).WithDefaults();
  if (name.valid()) {
    const std::string path = name.ManifestPath();
    Require(path.find("..") != 0 && path.find("/../") == path.npos, "a name stays in the store");
    Require(smelt::ollama::NameOfManifest(path) == name, "a path leads back to its name");
  }
  const std::string quoted = smelt::ollama::GoJsonString(text);
  Require(smelt::ParseJsonValue(quoted, "quoted").ok(), "a quoted string is JSON");
  return 0;
}
