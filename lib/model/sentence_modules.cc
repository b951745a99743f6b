#include "lib/model/sentence_modules.h"

#include <algorithm>
#include <filesystem>

#include "lib/base/json.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// Modes of sentence-transformers' Pooling, the flags of its older configurations, and the values
/// of llama.cpp's enum llama_pooling_type (-1: it has none).
struct Mode {
  std::string_view name, flag;
  int type;
};
constexpr Mode kModes[] = {
    {"mean", "pooling_mode_mean_tokens", 1},
    {"cls", "pooling_mode_cls_token", 2},
    {"lasttoken", "pooling_mode_lasttoken", 3},
    {"max", "pooling_mode_max_tokens", -1},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", -1},
    {"weightedmean", "pooling_mode_weightedmean_tokens", -1},
};

/// Modules that need no key: the model itself, the normalization that every reader of embeddings
/// does, and dropout, which is of training.
constexpr std::string_view kPlain[] = {"Transformer", "Normalize", "Dropout"};

std::string Member(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.FindNonNull(key);
  return value == nullptr || value->as_string() == nullptr ? "" : *value->as_string();
}

/// A relative path without a step out of the folder.
bool StaysInside(const std::string& path) {
  const std::filesystem::path parts(path);
  return !parts.is_absolute() &&
         std::ranges::none_of(parts, [](const auto& part) { return part == ".."; });
}

/// Names of the modes that a Pooling's configuration chooses.
std::vector<std::string> ModesOf(const JsonValue& config) {
  std::vector<std::string> modes;
  if (const JsonValue* mode = config.FindNonNull("pooling_mode")) {
    if (mode->as_string() != nullptr) modes.push_back(*mode->as_string());
    if (mode->as_array() != nullptr) {
      for (const JsonValue& one : *mode->as_array())
        if (one.as_string() != nullptr) modes.push_back(*one.as_string());
    }
    return modes;
  }
  bool any = false;
  for (const Mode& mode : kModes) {
    const JsonValue* flag = config.FindNonNull(mode.flag);
    any |= flag != nullptr;
    if (flag != nullptr && flag->as_bool() != nullptr && *flag->as_bool())
      modes.emplace_back(mode.name);
  }
  if (!any) modes.emplace_back("mean");  // the class's default
  return modes;
}

}  // namespace

SentenceModules ReadSentenceModules(
    const std::function<std::optional<std::string>(const std::string&)>& read) {
  SentenceModules out;
  const std::optional<std::string> text = read("modules.json");
  if (!text) return out;
  const absl::StatusOr<JsonValue> modules = ParseJsonValue(*text, "modules.json");
  if (!modules.ok() || modules->as_array() == nullptr) {
    out.notes.push_back(
        Cat("modules.json is left out: ", modules.ok() ? std::string("no list of modules")
                                                       : std::string(modules.status().message())));
    return out;
  }
  for (const JsonValue& module : *modules->as_array()) {
    const std::string type = Member(module, "type"), path = Member(module, "path");
    const std::string kind = type.substr(type.rfind('.') + 1);  // npos + 1 is 0
    if (std::ranges::find(kPlain, kind) != std::end(kPlain)) continue;
    const std::string shown = Cat(Escape(kind, 40), " (", Escape(path, 60), ")");
    if (kind != "Pooling" || out.pooling_type) {
      out.notes.push_back(Cat("the module ", shown,
                              " of modules.json is left out, for which this GGUF has no place: "
                              "sentence-transformers' embeddings are others"));
      continue;
    }
    const std::optional<std::string> config =
        StaysInside(path) ? read(path.empty() ? "config.json" : Cat(path, "/config.json"))
                          : std::nullopt;
    const absl::StatusOr<JsonValue> parsed = ParseJsonValue(config.value_or(""), path);
    const std::vector<std::string> modes =
        config && parsed.ok() ? ModesOf(*parsed) : std::vector<std::string>();
    const Mode* const mode =
        modes.size() == 1 ? std::ranges::find(kModes, std::string_view(modes[0]), &Mode::name)
                          : std::end(kModes);
    if (mode != std::end(kModes) && mode->type >= 0) {
      out.pooling_type = static_cast<uint32_t>(mode->type);
      continue;
    }
    std::string names;
    for (const std::string& name : modes)
      names += Cat(names.empty() ? "" : " and ", Escape(name, 40));
    out.notes.push_back(Cat("the pooling of modules.json, ", shown, ", ",
                            modes.empty() ? std::string("cannot be read")
                                          : Cat("is ", names, ", which a GGUF cannot say"),
                            ": no pooling_type is written"));
  }
  return out;
}

}  // namespace smelt
