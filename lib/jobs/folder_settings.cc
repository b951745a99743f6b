#include "lib/jobs/folder_settings.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/ascii.h"
#include "lib/base/folder.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

constexpr uint64_t kMostBytes = 1 << 20;

/// Members of generation_config.json and the store's parameters that mean the same.
constexpr std::pair<std::string_view, std::string_view> kSampling[] = {
    {"temperature", "temperature"},
    {"top_k", "top_k"},
    {"top_p", "top_p"},
    {"min_p", "min_p"},
};
constexpr std::pair<std::string_view, std::string_view> kPenalty = {"repetition_penalty",
                                                                    "repeat_penalty"};

bool IsLicense(std::string_view name) {
  const std::string lower = LowerAscii(name);
  for (const std::string_view stem : {"license", "licence", "copying"}) {
    if (lower == stem || lower == Cat(stem, ".txt") || lower == Cat(stem, ".md")) return true;
  }
  return false;
}

void AddLicenses(const std::string& folder, const Observer& observer,
                 std::vector<std::string>& licenses) {
  absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  if (!names.ok()) return;
  std::ranges::sort(*names);
  for (const std::string& name : *names) {
    if (!IsLicense(name)) continue;
    absl::StatusOr<std::string> text = ReadTextFile(Cat(folder, "/", name), kMostBytes);
    if (!text.ok()) {
      observer.Warn(
          Cat(std::string(text.status().message()), "; the model gets no licence from it"));
    } else if (!text->empty() && IsValidUtf8(*text)) {
      licenses.push_back(*std::move(text));
    }
  }
}

void AddSampling(const std::string& folder, const Observer& observer,
                 ollama::ModelSettings& settings) {
  const std::string path = Cat(folder, "/generation_config.json");
  if (!Exists(path)) return;
  const absl::StatusOr<std::string> text = ReadTextFile(path, kMostBytes);
  const absl::StatusOr<JsonValue> config =
      text.ok() ? ParseJsonValue(*text, path) : absl::StatusOr<JsonValue>(text.status());
  if (!config.ok()) {
    observer.Warn(
        Cat(std::string(config.status().message()), "; the model gets no parameters from it"));
    return;
  }
  std::vector<std::pair<std::string, std::string>> found;
  const auto take = [&](const std::pair<std::string_view, std::string_view>& names) {
    const JsonValue* value = config->FindNonNull(names.first);
    if (value == nullptr) return;
    ollama::Parameters check;
    if (check.Add(names.second, value->ToText()).ok()) {
      found.emplace_back(names.second, value->ToText());
    } else {
      observer.Warn(Cat(Escape(path), ": ", names.first, " ", Escape(value->ToText(), 40),
                        " is left out: Ollama takes no such value"));
    }
  };
  // Without it transformers takes the likeliest token, whatever the others say.
  const JsonValue* sample = config->Find("do_sample");
  if (sample != nullptr && sample->as_bool() != nullptr && *sample->as_bool()) {
    for (const auto& names : kSampling) take(names);
  }
  take(kPenalty);
  settings.parameters.insert(settings.parameters.begin(), found.begin(), found.end());
}

}  // namespace

void AddFolderSettings(const std::string& folder, const Observer& observer,
                       ollama::ModelSettings& settings) {
  if (settings.licenses.empty()) AddLicenses(folder, observer, settings.licenses);
  AddSampling(folder, observer, settings);
}

}  // namespace smelt
