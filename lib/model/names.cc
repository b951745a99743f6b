#include "lib/model/names.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <set>
#include <vector>

#include "lib/base/ascii.h"
#include "lib/base/cat.h"

namespace smelt {
namespace {

bool IsAlpha(char c) { return IsLowerAscii(c) || IsUpperAscii(c); }

/// Digits at the front of `text`, removed; false when there are none.
bool TakeDigits(std::string_view& text) {
  const size_t n = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(n);
  return n > 0;
}

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// N(.N)*
bool IsDottedNumber(std::string_view text) {
  if (!TakeDigits(text)) return false;
  while (TakePrefix(text, ".")) {
    if (!TakeDigits(text)) return false;
  }
  return text.empty();
}

/// (v|iter)?N(.N)*; `text` in lower case.
bool IsVersion(std::string_view text) {
  if (!TakePrefix(text, "v")) TakePrefix(text, "iter");
  return IsDottedNumber(text);
}

/// i?q N (_x)* or b?fp?16, b?fp?32; `text` in lower case.
bool IsType(std::string_view text) {
  std::string_view quantized = text;
  TakePrefix(quantized, "i");
  if (TakePrefix(quantized, "q") && !quantized.empty() && IsDigit(quantized[0])) {
    quantized.remove_prefix(1);
    while (quantized.size() >= 2 && quantized[0] == '_' &&
           (std::isalnum(static_cast<unsigned char>(quantized[1])) || quantized[1] == '_')) {
      quantized.remove_prefix(2);
    }
    if (quantized.empty()) return true;
  }
  TakePrefix(text, "b");
  if (!TakePrefix(text, "f")) return false;
  TakePrefix(text, "p");
  return text == "16" || text == "32";
}

bool IsSizeWord(std::string_view text) {
  return text == "small" || text == "mini" || text == "medium" || text == "large" || text == "xl" ||
         text == "xxl";
}

/// (A | Nx)? number letter digit?; `text` in lower case.
bool IsSizeNumber(std::string_view text) {
  if (!TakePrefix(text, "a")) {
    std::string_view rest = text;
    if (TakeDigits(rest) && TakePrefix(rest, "x")) text = rest;
  }
  if (!TakeDigits(text)) return false;
  if (!text.empty() && (text[0] == '.' || text[0] == '_')) {
    text.remove_prefix(1);
    if (!TakeDigits(text)) return false;
  }
  if (text.empty() || std::string_view("kmbt").find(text[0]) == std::string_view::npos)
    return false;
  text.remove_prefix(1);
  return text.empty() || (text.size() == 1 && IsDigit(text[0]));
}

/// '.' for '_', 7b1 as 7.1B, the letter in capitals.
std::string NormalSize(std::string part) {
  std::replace(part.begin(), part.end(), '_', '.');
  if (part.size() > 2 && IsDigit(part.back()) && IsAlpha(part[part.size() - 2])) {
    const char letter = part[part.size() - 2];
    part = Cat(part.substr(0, part.size() - 2), ".", part.substr(part.size() - 1), letter);
  }
  part.back() = UpperAscii(part.back());
  return part;
}

/// Parameters that a plain label ("7B") means, negative for others ("8x7B").
double LabelParameters(std::string_view label) {
  std::string_view number = label.substr(0, label.size() - 1);
  if (!IsDottedNumber(number)) return -1;
  return std::stod(std::string(number.substr(0, 18))) *
         std::pow(1000.0, std::string_view(" KMBT").find(label.back()));
}

struct Part {
  std::string text;
  bool version = false, type = false, size = false, finetune = false, basename = false;
  bool marked() const { return version || type || size || finetune; }
};

void MarkPart(Part& part, bool first, uint64_t parameters) {
  const std::string lower = LowerAscii(part.text);
  if (IsVersion(lower)) {
    part.version = true;
  } else if (IsType(lower)) {
    part.type = true;
    part.text = UpperAscii(part.text);
  } else if (!first && IsSizeWord(lower)) {
    part.size = true;
  } else if (!first && IsSizeNumber(lower)) {
    part.text = NormalSize(part.text);
    const double label = LabelParameters(part.text);
    const double limit =
        static_cast<double>(7 * (parameters / 8) + 7 * (parameters % 8) / 8);  // floor(7 P / 8)
    if (parameters != 0 && label >= 0 &&
        std::abs(label - static_cast<double>(parameters)) > limit) {
      part.finetune = true;
      part.text.back() = LowerAscii(part.text.back());
    } else {
      part.size = true;
    }
  } else if (!first &&
             (lower == "chat" || lower == "instruct" || lower == "vision" || lower == "lora")) {
    part.finetune = true;
  }
}

void MarkBasename(std::vector<Part>& parts) {
  const auto has_digit = [](const Part& p) {
    return std::any_of(p.text.begin(), p.text.end(), IsDigit);
  };
  const bool digits = std::any_of(parts.begin(), parts.end(),
                                  [&](const Part& p) { return p.size && has_digit(p); });
  for (Part& part : parts) {
    if (digits && part.size && std::all_of(part.text.begin(), part.text.end(), IsAlpha))
      part.size = false;
  }
  bool at_start = true;
  for (Part& part : parts) {
    if (at_start && ((!part.marked() && IsAlpha(part.text[0])) || part.version)) {
      part.basename = true;
    } else {
      at_start = false;
      if (!part.marked()) part.finetune = true;
    }
  }
  for (auto part = parts.rbegin(); part != parts.rend() && part->basename && part->version; ++part)
    part->basename = false;
}

template <typename Wanted>
std::string Join(const std::vector<Part>& parts, const Wanted& wanted) {
  std::string text;
  for (const Part& part : parts) {
    if (wanted(part)) text += Cat(text.empty() ? "" : "-", part.text);
  }
  return text;
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Python's str.title of a word without capitals.
std::string TitleWord(std::string_view word) {
  const bool lower = std::any_of(word.begin(), word.end(), IsLowerAscii) &&
                     std::none_of(word.begin(), word.end(), IsUpperAscii);
  if (!lower || (word[0] == 'v' && IsDottedNumber(word.substr(1))) || IsDigit(word[0]))
    return std::string(word);
  std::string title(word);
  bool after_letter = false;
  for (char& c : title) {
    if (!after_letter) c = UpperAscii(c);
    after_letter = IsAlpha(c) || static_cast<unsigned char>(c) >= 0x80;
  }
  return title;
}

}  // namespace

NameParts ParseModelId(std::string_view id, uint64_t parameters) {
  NameParts names;
  if (id.find(' ') != std::string_view::npos) {
    names.full_name = Trimmed(id);
    return names;
  }
  const size_t slash = id.find('/');
  if (slash != std::string_view::npos) {
    const std::string_view organization = id.substr(0, slash);
    if (!organization.starts_with('.')) names.organization = organization;
    id.remove_prefix(slash + 1);
  }
  names.full_name = id;
  std::vector<Part> parts;
  for (size_t begin = 0; begin <= id.size();) {
    const size_t end = std::min(id.find('-', begin), id.size());
    if (end > begin) parts.push_back(Part{std::string(id.substr(begin, end - begin))});
    begin = end + 1;
  }
  for (size_t i = 0; i < parts.size(); ++i) MarkPart(parts[i], i == 0, parameters);
  MarkBasename(parts);
  names.basename = Join(parts, [](const Part& p) { return p.basename; });
  names.finetune = Join(parts, [](const Part& p) { return p.finetune; });
  names.version = Join(parts, [](const Part& p) { return p.version && !p.basename; });
  std::set<std::string> seen;
  names.size_label =
      Join(parts, [&seen](const Part& p) { return p.size && seen.insert(p.text).second; });
  if (names.size_label.empty() && names.finetune.empty() && names.version.empty())
    names.basename.clear();
  return names;
}

std::string TitleOf(std::string_view id) {
  std::string spaced(Trimmed(id));
  std::replace(spaced.begin(), spaced.end(), '-', ' ');
  std::string title;
  for (size_t begin = 0; begin < spaced.size();) {
    const size_t end = std::min(spaced.find(' ', begin), spaced.size());
    if (end > begin)
      title += Cat(title.empty() ? "" : " ",
                   TitleWord(std::string_view(spaced).substr(begin, end - begin)));
    begin = end + 1;
  }
  return title;
}

SizeCounts CountSizes(std::span<const RecipeTensor> tensors) {
  SizeCounts counts;
  uint64_t expert_elements = 0, expert_sum = 0, expert_tensors = 0;
  for (const RecipeTensor& tensor : tensors) {
    const uint64_t n = tensor.shape.elements();
    counts.total += n;
    if (tensor.shape.dims == 3 && tensor.name.find("_exps.") != std::string::npos) {
      expert_elements += n / tensor.shape.ne[2];
      expert_sum += tensor.shape.ne[2];
      ++expert_tensors;
    } else {
      counts.shared += n;
    }
  }
  if (expert_tensors != 0) {
    counts.experts = expert_sum / expert_tensors;
    counts.per_expert = expert_elements;
  }
  return counts;
}

namespace {

std::string Rounded(uint64_t count) {
  struct Unit {
    double above, size;
    const char* name;
  };
  static constexpr Unit kUnits[] = {
      {1e12, 1e12, "T"}, {1e9, 1e9, "B"}, {1e6, 1e6, "M"}, {-1, 1e3, "K"}};
  const double n = static_cast<double>(count);
  for (const Unit& unit : kUnits) {
    if (n <= unit.above) continue;
    const double value = n / unit.size;
    const double whole = std::nearbyint(value);  // ties to even, as Python rounds
    const int digits = whole == 0 ? 0 : static_cast<int>(Cat(static_cast<uint64_t>(whole)).size());
    char text[64];
    std::snprintf(text, sizeof text, "%.*f%s", std::max(0, 2 - digits), value, unit.name);
    return text;
  }
  return "0K";
}

}  // namespace

std::string SizeLabel(const SizeCounts& counts) {
  if (counts.experts == 0) return Rounded(counts.total);
  return Cat(counts.experts, "x", Rounded(counts.shared + counts.per_expert));
}

}  // namespace smelt
