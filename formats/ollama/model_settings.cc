#include "formats/ollama/model_settings.h"

#include <algorithm>

#include "formats/ollama/go_template.h"
#include "formats/ollama/store.h"
#include "lib/base/ascii.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"

namespace smelt::ollama {
namespace {

/// Larger layers of parameters are none that Ollama wrote.
constexpr uint64_t kMostParameterBytes = 1 << 20;

/// "rc.1" of 1.2.3-rc.1: texts between points. `numbers`: those of digits alone are numbers, which
/// do not begin with 0.
bool AreIdentifiers(std::string_view text, bool numbers) {
  return std::ranges::all_of(SplitAt(text, '.'), [&](std::string_view part) {
    const auto letter = [](char c) {
      return IsDigit(c) || (LowerAscii(c) >= 'a' && LowerAscii(c) <= 'z') || c == '-';
    };
    const bool digits = numbers && std::ranges::all_of(part, IsDigit);
    return !part.empty() && std::ranges::all_of(part, letter) &&
           (!digits || part == "0" || part.front() != '0');
  });
}

/// As Ollama's semver package judges what follows a "v": one to three numbers, after three perhaps
/// "-rc1" and "+build".
bool IsVersion(std::string_view text) {
  const size_t end = std::min(text.find_first_of("-+"), text.size());
  const std::string_view numbers = text.substr(0, end);
  const size_t count = SplitAt(numbers, '.').size();
  if (count > 3 || (end < text.size() && count < 3)) return false;
  if (!AreIdentifiers(numbers, true) ||
      !std::ranges::all_of(numbers, [](char c) { return IsDigit(c) || c == '.'; })) {
    return false;
  }
  text.remove_prefix(end);
  const size_t plus = std::min(text.find('+'), text.size());
  return (plus == 0 || AreIdentifiers(text.substr(1, plus - 1), true)) &&
         (plus == text.size() || AreIdentifiers(text.substr(plus + 1), false));
}

/// A version without its "v".
absl::StatusOr<std::string> Version(std::string_view text) {
  std::string_view version = text;
  if (version.starts_with('v')) version.remove_prefix(1);
  if (IsVersion(version)) return std::string(version);
  return Error(ErrorCode::kInvalidInput, "REQUIRES takes a version of Ollama such as 0.14.0, not ",
               Escape(text, 60));
}

absl::Status Set(const ModelfileLine& line, ModelSettings& settings, Parameters& parameters) {
  switch (line.command) {
    case Command::kFrom:
    case Command::kAdapter:
      break;
    case Command::kDraft:
      return Error(ErrorCode::kUnsupported,
                   "DRAFT is for models of Ollama's MLX engine, which are not imported");
    case Command::kTemplate:
      SMELT_RETURN_IF_ERROR(CheckGoTemplate(line.value));
      settings.template_text = line.value;
      break;
    case Command::kSystem:
      settings.system = line.value;
      break;
    case Command::kLicense:
      settings.licenses.push_back(line.value);
      break;
    case Command::kRenderer:
      settings.renderer = line.value;
      break;
    case Command::kParser:
      settings.parser = line.value;
      break;
    case Command::kRequires: {
      SMELT_ASSIGN_OR_RETURN(settings.least_ollama, Version(line.value));
      break;
    }
    case Command::kParameter:
      SMELT_RETURN_IF_ERROR(parameters.Add(line.key, line.value));
      settings.parameters.emplace_back(line.key, line.value);
      break;
    case Command::kMessage:
      settings.messages.push_back({line.key, line.value});
      break;
  }
  return absl::OkStatus();
}

void Remove(std::string_view media_type, std::vector<Layer>& layers) {
  std::erase_if(layers, [&](const Layer& layer) { return layer.media_type == media_type; });
}

absl::StatusOr<Parameters> Inherited(const std::vector<Layer>& layers, const std::string& store) {
  Parameters parameters;
  for (const Layer& layer : layers) {
    if (layer.media_type != kParamsLayer) continue;
    const std::string path = BlobFile(store, layer.digest);
    SMELT_ASSIGN_OR_RETURN(const std::string json, ReadTextFile(path, kMostParameterBytes));
    SMELT_ASSIGN_OR_RETURN(const Parameters later, Parameters::Read(json, path));
    parameters.Merge(later);
  }
  return parameters;
}

}  // namespace

absl::StatusOr<ModelSettings> ModelSettings::Of(std::span<const ModelfileLine> lines,
                                                std::string_view file) {
  ModelSettings settings;
  Parameters parameters;
  for (const ModelfileLine& line : lines) {
    if (const absl::Status status = Set(line, settings, parameters); !status.ok()) {
      return Prefixed(Cat(Escape(file), ", line ", line.line, ": "), status);
    }
  }
  return settings;
}

absl::StatusOr<std::vector<Layer>> AddSettings(const ModelSettings& settings,
                                               std::vector<Layer> inherited, StoreWriter& writer,
                                               std::vector<AddedBlob>& added) {
  std::vector<Layer>& layers = inherited;
  const auto append = [&](std::string_view media_type, std::string_view content) {
    absl::StatusOr<AddedBlob> blob = writer.AddText(content);
    if (!blob.ok()) return blob.status();
    layers.push_back({std::string(media_type), blob->digest, blob->size, ""});
    added.push_back(*std::move(blob));
    return absl::OkStatus();
  };
  SMELT_ASSIGN_OR_RETURN(Parameters parameters, Inherited(layers, writer.store()));
  for (const auto& [name, value] : settings.parameters) {
    SMELT_RETURN_IF_ERROR(parameters.Add(name, value));
  }
  if (!settings.template_text.empty()) {
    Remove(kTemplateLayer, layers);
    Remove(kPromptLayer, layers);
    SMELT_RETURN_IF_ERROR(append(kTemplateLayer, settings.template_text));
  }
  if (!settings.system.empty()) {
    Remove(kSystemLayer, layers);
    SMELT_RETURN_IF_ERROR(append(kSystemLayer, settings.system));
  }
  for (const std::string& license : settings.licenses) {
    SMELT_RETURN_IF_ERROR(append(kLicenseLayer, license));
  }
  Remove(kParamsLayer, layers);
  if (!parameters.empty()) SMELT_RETURN_IF_ERROR(append(kParamsLayer, parameters.Json()));
  if (!settings.messages.empty()) {
    Remove(kMessagesLayer, layers);
    SMELT_RETURN_IF_ERROR(append(kMessagesLayer, MessagesJson(settings.messages)));
  }
  return inherited;
}

}  // namespace smelt::ollama
