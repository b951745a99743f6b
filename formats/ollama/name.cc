#include "formats/ollama/name.h"

#include <algorithm>
#include <cstdio>

#include "lib/base/ascii.h"
#include "lib/base/status.h"

namespace smelt::ollama {
namespace {

constexpr std::string_view kDefaultHost = "registry.ollama.ai";
constexpr std::string_view kDefaultSpace = "library";
constexpr std::string_view kDefaultTag = "latest";
/// Stands for the empty part beside a separator. It makes the name invalid: parts begin with a
/// letter, a digit or '_'.
constexpr std::string_view kMissing = "!MISSING!";

/// Cuts `text` at the last `separator`: right of it goes to `right`, what is left of it stays.
/// False without a separator.
bool CutLast(std::string_view& text, char separator, std::string& right) {
  const size_t at = text.rfind(separator);
  if (at == std::string_view::npos) return false;
  right = text.substr(at + 1);
  text = text.substr(0, at);
  if (right.empty()) right = kMissing;
  if (text.empty()) text = kMissing;
  return true;
}

enum class Part { kHost, kNamespace, kModel, kTag };

constexpr size_t MostLetters(Part part) { return part == Part::kHost ? 350 : 80; }

bool ValidPart(Part part, std::string_view text) {
  if (text.empty() || text.size() > MostLetters(part)) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i], lower = LowerAscii(c);
    if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_') continue;
    if (i == 0) return false;
    if (c == '-' || (c == '.' && part != Part::kNamespace)) continue;
    if (c == ':' && part == Part::kHost) continue;
    return false;
  }
  return true;
}

std::string Decimal(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

}  // namespace

Name SplitName(std::string_view text) {
  Name name;
  const size_t colon = text.rfind(':'), slash = text.rfind('/');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    CutLast(text, ':', name.tag);
  }
  if (!CutLast(text, '/', name.model)) {
    name.model = text;
  } else if (!CutLast(text, '/', name.space)) {
    name.space = text;
  } else {
    const size_t scheme = text.find("://");
    name.host = scheme == std::string_view::npos ? text : text.substr(scheme + 3);
  }
  return name;
}

Name Name::WithDefaults() const {
  Name full = *this;
  if (full.host.empty()) full.host = kDefaultHost;
  if (full.space.empty()) full.space = kDefaultSpace;
  if (full.tag.empty()) full.tag = kDefaultTag;
  return full;
}

bool Name::valid() const {
  return ValidPart(Part::kHost, host) && ValidPart(Part::kNamespace, space) &&
         ValidPart(Part::kModel, model) && ValidPart(Part::kTag, tag);
}

std::string Name::Short() const {
  std::string out;
  const bool show_host = !SameWithoutCase(host, kDefaultHost);
  if (show_host) out = Cat(host, "/");
  if (show_host || !SameWithoutCase(space, kDefaultSpace)) out += Cat(space, "/");
  return Cat(out, model, ":", tag);
}

std::string Name::ManifestPath() const { return Cat(host, "/", space, "/", model, "/", tag); }

absl::StatusOr<Name> ParseName(std::string_view text) {
  Name name = SplitName(text).WithDefaults();
  if (name.valid()) return name;
  const struct {
    Part part;
    std::string_view what, text;
  } parts[] = {{Part::kHost, "host", name.host},
               {Part::kNamespace, "namespace", name.space},
               {Part::kModel, "model", name.model},
               {Part::kTag, "tag", name.tag}};
  for (const auto& [part, what, part_text] : parts) {
    if (part_text.size() <= MostLetters(part)) continue;
    return Error(ErrorCode::kUsage, "\"", Escape(text, 60),
                 "\" is too long for the name of an Ollama model: its ", what, " part has ",
                 part_text.size(), " letters, at most ", MostLetters(part), " are allowed");
  }
  return Error(ErrorCode::kUsage, "\"", Escape(text),
               "\" is no name for an Ollama model; expected ",
               "[host/][namespace/]model[:tag] of letters, digits, '_', '-' and '.'");
}

Name NameOfManifest(std::string_view path) {
  Name name;
  std::string* const parts[] = {&name.host, &name.space, &name.model, &name.tag};
  size_t count = 0;
  for (;; ++count) {
    if (count == 4) return Name();
    const size_t slash = path.find('/');
    *parts[count] = path.substr(0, slash);
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return count == 3 ? name : Name();
}

std::string ParameterText(uint64_t parameters) {
  constexpr uint64_t kThousand = 1000, kMillion = 1000000, kBillion = 1000000000;
  const double value = static_cast<double>(parameters);
  if (parameters >= kBillion) {
    return Decimal(parameters % kBillion == 0 ? "%.0fB" : "%.1fB", value / 1e9);
  }
  if (parameters >= kMillion) {
    return Decimal(parameters % kMillion == 0 ? "%.0fM" : "%.2fM", value / 1e6);
  }
  if (parameters >= kThousand) return Decimal("%.0fK", value / 1e3);
  return Cat(parameters);
}

}  // namespace smelt::ollama
