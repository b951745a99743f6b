#include "lib/jobs/chat_format.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "formats/ollama/chat_formats.h"
#include "formats/ollama/go_template.h"
#include "formats/ollama/modelfile.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/jobs/conversation.h"
#include "lib/jobs/plain_json.h"

namespace smelt {
namespace {

constexpr std::string_view kBos = "%BOS%", kEos = "%EOS%";
/// What stands for the system prompt of a conversation without one; for that of one with tools.
constexpr std::string_view kSystems[] = {"%SYSTEM%", "%TOOL_SYSTEM%"};
/// The first Ollama whose templates have a function for the date.
constexpr std::string_view kOllamaWithDates = "0.11.4";
constexpr size_t kNearest = 3;

/// Ways in which templates write the date, as strftime's letters, and what stands for each of them
/// in a system prompt that was found.
struct DateForm {
  std::string_view mark, letters;
};
constexpr DateForm kDates[] = {
    {"%DATE%", "Y-m-d"}, {"%D_B_Y%", "d b Y"}, {"%D_MONTH_Y%", "d B Y"}, {"%MONTH_D_Y%", "B d, Y"}};
constexpr std::string_view kMonths[] = {"January",   "February", "March",    "April",
                                        "May",       "June",     "July",     "August",
                                        "September", "October",  "November", "December"};
constexpr size_t kShortMonth = 3;

std::string Replaced(std::string_view text, std::string_view what, std::string_view by) {
  std::string out;
  for (size_t from = 0;;) {
    const size_t at = what.empty() ? text.npos : text.find(what, from);
    out += text.substr(from, at == text.npos ? at : at - from);
    if (at == text.npos) return out;
    out += by;
    from = at + what.size();
  }
}

/// `date`, 2025-01-15, in another form.
std::string Written(const DateForm& form, std::string_view date) {
  const size_t month = static_cast<size_t>((date[5] - '0') * 10 + (date[6] - '0')) - 1;
  std::string out;
  for (const char letter : form.letters) {
    switch (letter) {
      case 'Y':
        out += date.substr(0, 4);
        break;
      case 'm':
        out += date.substr(5, 2);
        break;
      case 'd':
        out += date.substr(8, 2);
        break;
      case 'b':
        out += kMonths[month].substr(0, kShortMonth);
        break;
      case 'B':
        out += kMonths[month];
        break;
      default:
        out += letter;
    }
  }
  return out;
}

/// Actions of a Go template that write the month's name.
std::string GoMonth(size_t longest) {
  std::string out = "{{ $month := slice currentDate 5 7 }}";
  for (size_t i = 0; i < std::size(kMonths); ++i) {
    out += Cat(i == 0 ? "{{ if" : "{{ else if", " eq $month \"", i < 9 ? "0" : "", i + 1, "\" }}",
               kMonths[i].substr(0, longest));
  }
  return out + "{{ end }}";
}

/// Actions of a Go template that write the day of the conversation.
std::string GoDate(const DateForm& form) {
  std::string out;
  for (const char letter : form.letters) {
    switch (letter) {
      case 'Y':
        out += "{{ slice currentDate 0 4 }}";
        break;
      case 'm':
        out += "{{ slice currentDate 5 7 }}";
        break;
      case 'd':
        out += "{{ slice currentDate 8 10 }}";
        break;
      case 'b':
        out += GoMonth(kShortMonth);
        break;
      case 'B':
        out += GoMonth(std::string_view::npos);
        break;
      default:
        out += letter;
    }
  }
  return out;
}

std::string WithMarks(std::string_view text, std::string_view date) {
  std::string out(text);
  for (const DateForm& form : kDates) out = Replaced(out, Written(form, date), form.mark);
  return out;
}

/// A system prompt with marks as text of a Go template.
std::string GoText(std::string_view system) {
  std::string out(system);
  for (const DateForm& form : kDates) out = Replaced(out, form.mark, GoDate(form));
  return out;
}

/// A probe conversation, and what the model's template makes of it: nothing where it refuses. With
/// tools only what is written counts, not the form of the JSON that it is written in.
struct Probe {
  std::string date;  ///< of its "now", as 2025-01-15
  std::optional<std::string> rendering;
  bool tools = false;
};

absl::StatusOr<std::vector<Probe>> RenderProbes(const JsonValue& conversations,
                                                const ChatTemplate& jinja, std::string_view bos,
                                                std::string_view eos) {
  std::vector<Probe> probes;
  for (const JsonValue& conversation : *conversations.as_array()) {
    SMELT_ASSIGN_OR_RETURN(ChatInputs inputs, ReadConversation(conversation.ToText()));
    inputs.bos_token = bos;
    inputs.eos_token = eos;
    absl::StatusOr<std::string> text = jinja.Render(inputs);
    Probe probe{.date = conversation.Find("now")->as_string()->substr(0, 10),
                .rendering = {},
                .tools = conversation.Find("tools") != nullptr};
    if (text.ok()) probe.rendering = probe.tools ? WithPlainJson(*text) : *std::move(text);
    probes.push_back(std::move(probe));
  }
  return probes;
}

/// One format beside the model.
class Comparison {
 public:
  Comparison(std::string_view bos, std::string_view eos) : bos_(bos), eos_(eos) {}

  /// True where the format's rendering (null: it refuses) is the model's.
  bool Agrees(const JsonValue& rendering, const Probe& probe) {
    const std::string* text = rendering.as_string();
    if (text == nullptr || !probe.rendering) return text == nullptr && !probe.rendering;
    const std::string own = WithTokens(probe.tools ? WithPlainJson(*text) : *text);
    return Fits(own, probe) || (!bos_.empty() && Fits(Cat(bos_, own), probe));
  }

  std::string WithTokens(std::string_view text) const {
    return Replaced(Replaced(text, kBos, bos_), kEos, eos_);
  }
  /// What was found in the place of kSystems[i], dates as marks.
  const std::optional<std::string>& system(size_t i) const { return systems_[i]; }

 private:
  bool Fits(std::string_view text, const Probe& probe) {
    const std::string_view whole = *probe.rendering;
    for (size_t i = 0; i < std::size(kSystems); ++i) {
      const size_t at = text.find(kSystems[i]);
      if (at == text.npos) continue;
      return FitsAround(text.substr(0, at), text.substr(at + kSystems[i].size()), probe,
                        systems_[i]);
    }
    return text == whole;
  }

  static bool FitsAround(std::string_view before, std::string_view after, const Probe& probe,
                         std::optional<std::string>& known) {
    const std::string_view whole = *probe.rendering;
    if (whole.size() < before.size() + after.size() || !whole.starts_with(before) ||
        !whole.ends_with(after)) {
      return false;
    }
    const std::string_view between =
        whole.substr(before.size(), whole.size() - before.size() - after.size());
    const std::string system = WithMarks(between, probe.date);
    if (!known) known = system;
    return *known == system;
  }

  std::string_view bos_, eos_;
  std::optional<std::string> systems_[std::size(kSystems)];
};

/// How many of the probes come out alike; `written`: those that are not refused by both.
struct Agreement {
  size_t all = 0, written = 0;
};
Agreement Compare(const JsonValue& renderings, const std::vector<Probe>& probes,
                  Comparison& comparison) {
  Agreement agreed;
  for (size_t i = 0; i < probes.size(); ++i) {
    if (!comparison.Agrees((*renderings.as_array())[i], probes[i])) continue;
    ++agreed.all;
    if (probes[i].rendering) ++agreed.written;
  }
  return agreed;
}

absl::StatusOr<ChatFormat> FormatFor(const ollama::ChatFormatText& format,
                                     const Comparison& comparison) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<ollama::ModelfileLine> lines,
                         ollama::ParseModelfile(format.modelfile, format.name));
  ChatFormat found{.name = std::string(format.name), .settings = {}, .has_tools = false};
  SMELT_ASSIGN_OR_RETURN(found.settings, ollama::ModelSettings::Of(lines, format.name));
  ollama::ModelSettings& settings = found.settings;
  settings.template_text = comparison.WithTokens(settings.template_text);
  for (size_t i = 0; i < std::size(kSystems); ++i) {
    const std::optional<std::string>& system = comparison.system(i);
    if (!system) continue;
    // One with tools was found where JSON has another form than the model's template gives it.
    if (system->find(i == 0 ? "{{" : "{") != system->npos) {
      return Error(ErrorCode::kUnsupported, "a system prompt with braces in it");
    }
    const std::string go = GoText(*system);
    if (go != *system) settings.least_ollama = kOllamaWithDates;
    settings.template_text = Replaced(settings.template_text, kSystems[i], go);
  }
  for (auto& [name, value] : settings.parameters) value = comparison.WithTokens(value);
  std::erase_if(settings.parameters,
                [](const auto& parameter) { return parameter.second.empty(); });
  SMELT_RETURN_IF_ERROR(ollama::CheckGoTemplate(settings.template_text));
  return found;
}

/// Whether the model's template writes of the tools that it is given.
bool WritesTools(const JsonValue& conversations, const std::vector<Probe>& probes) {
  const JsonValue& tool = conversations.as_array()->front().Find("tools")->as_array()->front();
  const std::string& name = *tool.Find("function")->Find("name")->as_string();
  const std::optional<std::string>& text = probes.front().rendering;
  return text && text->find(name) != text->npos;
}

}  // namespace

absl::StatusOr<ChatFormatMatch> RecogniseChatFormat(std::string_view jinja, std::string_view bos,
                                                    std::string_view eos) {
  SMELT_ASSIGN_OR_RETURN(const ChatTemplate own, ChatTemplate::Parse(jinja, "the chat template"));
  SMELT_ASSIGN_OR_RETURN(const JsonValue known,
                         ParseJsonValue(ollama::ChatFormatRenderings(), "renderings.json"));
  SMELT_ASSIGN_OR_RETURN(const std::vector<Probe> probes,
                         RenderProbes(*known.Find("probes"), own, bos, eos));
  ChatFormatMatch match{.format = {}, .nearest = {}, .probes = probes.size()};
  std::vector<Probe> tool_probes;           // rendered when a format is found but for them
  for (const bool tools : {true, false}) {  // those with tools first
    for (const ollama::ChatFormatText& format : ollama::ChatFormatTexts()) {
      const JsonValue* renderings = known.Find("renderings")->Find(format.name);
      const JsonValue* of_tools = known.Find("tool_renderings")->Find(format.name);
      if (renderings == nullptr || (of_tools != nullptr) != tools) continue;
      Comparison comparison(bos, eos);
      const Agreement agreed = Compare(*renderings, probes, comparison);
      if (agreed.written > 0 && !tools)
        match.nearest.push_back({std::string(format.name), agreed.all});
      if (agreed.all < probes.size()) continue;
      if (tool_probes.empty()) {
        SMELT_ASSIGN_OR_RETURN(tool_probes,
                               RenderProbes(*known.Find("tool_probes"), own, bos, eos));
        match.has_tools = WritesTools(*known.Find("tool_probes"), tool_probes);
      }
      if (tools && Compare(*of_tools, tool_probes, comparison).all < tool_probes.size()) continue;
      absl::StatusOr<ChatFormat> found = FormatFor(format, comparison);
      if (!found.ok()) continue;
      found->has_tools = tools;
      match.format = *std::move(found);
      match.nearest.clear();
      return match;
    }
  }
  std::ranges::stable_sort(match.nearest, std::greater(), &ChatFormatMatch::Near::agreed);
  if (match.nearest.size() > kNearest) match.nearest.resize(kNearest);
  return match;
}

}  // namespace smelt
