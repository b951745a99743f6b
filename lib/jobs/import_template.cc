#include "lib/jobs/import_template.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "lib/base/ascii.h"
#include "lib/base/status.h"
#include "lib/jobs/chat_format.h"
#include "lib/jobs/conversation.h"

namespace smelt {
namespace {

/// Architectures whose conversations Ollama writes and reads by code of its own: the names that it
/// puts into their configurations.
struct BuiltIn {
  std::string_view architecture, renderer_and_parser, stop;
};
constexpr BuiltIn kBuiltIn[] = {
    {"gemma4", "gemma4", "<turn|>"},
    {"laguna", "laguna", ""},
    {"nemotron_h", "nemotron-3-nano", ""},
    {"nemotron_h_moe", "nemotron-3-nano", ""},
    {"nemotron_h_omni", "nemotron-3-nano", ""},
};

bool HasTemplate(const ImportSource& source) {
  return !source.settings.template_text.empty() || !source.settings.renderer.empty() ||
         std::ranges::any_of(source.inherited.layers, [](const ollama::Layer& layer) {
           return layer.media_type == ollama::kTemplateLayer ||
                  layer.media_type == ollama::kPromptLayer;
         });
}

constexpr std::string_view kWayOut = "; a Modelfile's TEMPLATE gives it one";

/// What the warning says of a template that is of no known format.
std::string Tried(const absl::StatusOr<ChatFormatMatch>& match) {
  if (!match.ok()) return Cat("its chat template is none: ", std::string(match.status().message()));
  std::string tried = "its chat template is of no known format";
  if (match->nearest.empty()) return Cat(tried, " (none writes any conversation as it does)");
  tried += " (of ";
  tried += Cat(match->probes, " conversations ");
  for (size_t i = 0; i < match->nearest.size(); ++i) {
    const ChatFormatMatch::Near& near = match->nearest[i];
    tried += Cat(i == 0 ? "" : ", ", near.name, i == 0 ? " writes " : " ", near.agreed,
                 i == 0 ? " as it does" : "");
  }
  return tried + ")";
}

/// Whether the version asked for ("0.6"; empty: any) is below the least one ("0.11.4"; empty: any).
bool IsOlder(std::string_view asked, std::string_view least) {
  if (asked.empty() || least.empty()) return false;
  const std::vector<std::string_view> a = SplitAt(asked, '.'), b = SplitAt(least, '.');
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const int ours = std::atoi(std::string(a[i]).c_str());
    const int theirs = std::atoi(std::string(b[i]).c_str());
    if (ours != theirs) return ours < theirs;
  }
  return false;
}

/// The first Ollamas that know what a Modelfile may have: a template with another function fails to
/// load in older ones, and so does the whole model.
constexpr std::string_view kOllamaWithRenderers = "0.12.0";
struct Newer {
  std::string_view function, since;
};
constexpr Newer kNewerFunctions[] = {
    {"currentDate", "0.11.4"}, {"toTypeScriptType", "0.11.4"}, {"yesterdayDate", "0.14.0"}};

}  // namespace

absl::Status CheckForOllama(const ollama::ModelSettings& settings, const std::string& version,
                            const Observer& observer) {
  if (IsOlder(version, settings.least_ollama)) {
    return Error(ErrorCode::kUnsupported, "the Modelfile's REQUIRES asks for Ollama ",
                 Escape(settings.least_ollama, 40), ", and --for-ollama for ", version);
  }
  for (const Newer& newer : kNewerFunctions) {
    if (!IsOlder(version, newer.since)) continue;
    if (settings.template_text.find(newer.function) == std::string::npos) continue;
    return Error(ErrorCode::kUnsupported, "the Modelfile's TEMPLATE uses ", newer.function,
                 ", which Ollama ", version, " does not know: it would load no such model");
  }
  const bool built_in = !settings.renderer.empty() || !settings.parser.empty();
  if (built_in && IsOlder(version, kOllamaWithRenderers)) {
    observer.Warn(Cat("Ollama ", version, " passes over the Modelfile's RENDERER and PARSER",
                      settings.template_text.empty() ? "; a TEMPLATE would give it one" : ""));
  }
  return absl::OkStatus();
}

absl::StatusOr<ImportedTemplate> TemplateFor(const Metadata& metadata, const std::string& name,
                                             const ImportSource& source,
                                             const ImportOptions& options,
                                             const Observer& observer) {
  const bool required = options.require_template;
  ImportedTemplate result;
  SMELT_ASSIGN_OR_RETURN(const std::string architecture, metadata.String("general.architecture"));
  const auto* built_in = std::ranges::find(kBuiltIn, architecture, &BuiltIn::architecture);
  if (built_in != std::end(kBuiltIn) && source.base.empty()) {
    result.settings.renderer = built_in->renderer_and_parser;
    result.settings.parser = built_in->renderer_and_parser;
    // The Modelfile's own names and stop words count, as for Ollama.
    const bool named = !source.settings.renderer.empty() && !source.settings.parser.empty();
    if (!built_in->stop.empty() && !named)
      result.settings.parameters.emplace_back("stop", built_in->stop);
    return result;
  }
  if (HasTemplate(source)) return result;
  if (metadata.Has(architecture + ".pooling_type")) return result;  // makes vectors, no text
  const MetadataValue* text = metadata.Find("tokenizer.chat_template");
  if (text == nullptr || text->AsString() == nullptr) {
    if (required) {
      return Error(ErrorCode::kNotFound, Escape(name), ": carries no chat template", kWayOut);
    }
    observer.Note(
        Cat(Escape(name), ": carries no chat template, Ollama only joins the turns", kWayOut));
    return result;
  }
  absl::StatusOr<ChatFormatMatch> match = RecogniseChatFormat(
      *text->AsString(), SpecialTokenText(metadata, "bos"), SpecialTokenText(metadata, "eos"));
  if (match.ok() && match->format &&
      IsOlder(options.for_ollama, match->format->settings.least_ollama)) {
    const std::string why =
        Cat(Escape(name), ": its chat template is of the format ", match->format->name,
            ", whose template for Ollama prints the date, which takes Ollama ",
            match->format->settings.least_ollama, ", not ", options.for_ollama);
    if (required) return Error(ErrorCode::kUnsupported, why, kWayOut);
    observer.Warn(Cat(why, ": it gets no template layer", kWayOut));
    return result;
  }
  if (match.ok() && match->format) {
    result.format = match->format->name;
    result.settings = std::move(match->format->settings);
    const std::string& least = result.settings.least_ollama;
    observer.Note(Cat(Escape(name), ": its chat template is of the format ", result.format,
                      ", which is written for Ollama",
                      least.empty() ? "" : Cat(" (from ", least, " on: it prints the date)"),
                      match->has_tools && !match->format->has_tools
                          ? ", but for tools: Ollama from 0.30 on renders those by the model's own"
                          : ""));
    return result;
  }
  if (required) {
    return Error(ErrorCode::kUnsupported, Escape(name), ": ", Tried(match), kWayOut);
  }
  observer.Warn(Cat(Escape(name), ": ", Tried(match),
                    ": it gets no template layer. Ollama from 0.30 on renders the model's own, "
                    "older ones only join the turns",
                    kWayOut));
  return result;
}

}  // namespace smelt
