#include "formats/ollama/parameters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <system_error>

#include "absl/strings/charconv.h"
#include "formats/ollama/manifest.h"
#include "lib/base/ascii.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "smelt/nearest.h"

namespace smelt::ollama {
namespace {

enum class Type { kInteger, kFloat, kBool, kTexts };

struct Known {
  std::string_view name;
  Type type;
  bool old = false;
};

constexpr Known kKnown[] = {
    {"num_keep", Type::kInteger},
    {"seed", Type::kInteger},
    {"num_predict", Type::kInteger},
    {"top_k", Type::kInteger},
    {"repeat_last_n", Type::kInteger},
    {"num_ctx", Type::kInteger},
    {"num_batch", Type::kInteger},
    {"num_gpu", Type::kInteger},
    {"main_gpu", Type::kInteger},
    {"num_thread", Type::kInteger},
    {"draft_num_predict", Type::kInteger},
    {"top_p", Type::kFloat},
    {"min_p", Type::kFloat},
    {"typical_p", Type::kFloat},
    {"temperature", Type::kFloat},
    {"repeat_penalty", Type::kFloat},
    {"presence_penalty", Type::kFloat},
    {"frequency_penalty", Type::kFloat},
    {"use_mmap", Type::kBool},
    {"stop", Type::kTexts},
    {"mirostat", Type::kInteger, true},
    {"mirostat_tau", Type::kFloat, true},
    {"mirostat_eta", Type::kFloat, true},
    {"low_vram", Type::kBool, true},
    {"f16_kv", Type::kBool, true},
    {"logits_all", Type::kBool, true},
    {"vocab_only", Type::kBool, true},
    {"use_mlock", Type::kBool, true},
};

const Known* Find(std::string_view name) {
  const Known* known = std::ranges::find(kKnown, name, &Known::name);
  return known == std::end(kKnown) ? nullptr : known;
}

bool IsHexDigit(char c) { return IsDigit(c) || (LowerAscii(c) >= 'a' && LowerAscii(c) <= 'f'); }

/// `text` without underscores, which Go allows between digits (and after 0x); nothing where one
/// stands elsewhere.
std::optional<std::string> WithoutUnderscores(std::string_view text, bool hex) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto digit = [&](size_t at) {
      return at < text.size() && (hex ? IsHexDigit(text[at]) : IsDigit(text[at]));
    };
    const bool after = (i > 0 && digit(i - 1)) || (hex && i == 0);
    if (!after || !digit(i + 1)) return std::nullopt;
  }
  return out;
}

/// As Go's strconv.ParseFloat reads a number of 32 bits.
std::optional<float> ParseFloat(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const bool hex = text.size() > 1 && text[0] == '0' && LowerAscii(text[1]) == 'x';
  if (hex) text.remove_prefix(2);
  const std::optional<std::string> digits = WithoutUnderscores(text, hex);
  if (!digits || digits->empty()) return std::nullopt;
  const bool name = SameWithoutCase(*digits, "inf") || SameWithoutCase(*digits, "infinity") ||
                    SameWithoutCase(*digits, "nan");
  const bool number =
      IsDigit(digits->front()) || digits->front() == '.' || (hex && IsHexDigit(digits->front()));
  if (hex ? !number || digits->find_first_of("pP") == std::string::npos : !number && !name) {
    return std::nullopt;
  }
  float value = 0;
  const char* end = digits->data() + digits->size();
  const absl::from_chars_result result = absl::from_chars(
      digits->data(), end, value, hex ? absl::chars_format::hex : absl::chars_format::general);
  if (result.ptr != end || result.ec == std::errc::invalid_argument) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range && std::fabs(value) > 1) return std::nullopt;
  return negative ? -value : value;
}

std::optional<int64_t> ParseInteger(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<bool> ParseBool(std::string_view text) {
  constexpr std::string_view kTrue[] = {"1", "t", "T", "true", "TRUE", "True"};
  constexpr std::string_view kFalse[] = {"0", "f", "F", "false", "FALSE", "False"};
  if (std::ranges::find(kTrue, text) != std::end(kTrue)) return true;
  if (std::ranges::find(kFalse, text) != std::end(kFalse)) return false;
  return std::nullopt;
}

std::string Shown(std::string_view text) { return Cat("\"", Escape(text, 60), "\""); }

absl::Status Wrong(std::string_view name, std::string_view what, std::string_view value) {
  return Error(ErrorCode::kInvalidInput, "parameter ", name, " takes ", what, ", not ",
               Shown(value));
}

/// The shortest decimal that reads back as the same number; an exponent below 1e-6 and from 1e21.
template <class Real>
std::string GoNumber(Real value) {
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string out;
  if (text.starts_with('-')) {
    out = "-";
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  const std::string_view power = text.substr(e + (text[e + 1] == '+' ? 2 : 1));
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  if (value != 0 && (exponent < -6 || exponent >= 21)) {
    out += digits.substr(0, 1);
    if (digits.size() > 1) out += Cat(".", digits.substr(1));
    return Cat(out, "e", exponent < 0 ? "-" : "+", std::abs(exponent));
  }
  if (exponent < 0) {
    return Cat(out, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  }
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return Cat(out, digits, std::string(whole - digits.size(), '0'));
  return Cat(out, digits.substr(0, whole), ".", digits.substr(whole));
}

struct ToJson {
  std::string operator()(int64_t value) const { return Cat(value); }
  std::string operator()(float value) const { return GoNumber(value); }
  std::string operator()(double value) const { return GoNumber(value); }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(const std::vector<std::string>& texts) const {
    std::string out;
    for (const std::string& text : texts) out += Cat(out.empty() ? "" : ",", GoJsonString(text));
    return Cat("[", out, "]");
  }
};

}  // namespace

absl::StatusOr<Parameters> Parameters::Read(std::string_view json, std::string_view file) {
  SMELT_ASSIGN_OR_RETURN(const JsonValue root, ParseJsonValue(json, file));
  const auto bad = [&](std::string_view key) {
    return Error(ErrorCode::kInvalidInput, Escape(file), ": parameter ", Escape(key),
                 " is no number, truth value or list of texts");
  };
  if (!root.is_object()) {
    return Error(ErrorCode::kInvalidInput, Escape(file), ": the layer of parameters is no object");
  }
  Parameters parameters;
  for (const auto& [key, value] : *root.as_object()) {
    if (const auto number = value.as_double()) {
      parameters.values_[key] = *number;
    } else if (const auto truth = value.as_bool()) {
      parameters.values_[key] = *truth;
    } else if (const std::string* text = value.as_string()) {
      parameters.values_[key] = std::vector<std::string>{*text};
    } else if (const auto* list = value.as_array()) {
      std::vector<std::string> texts;
      for (const JsonValue& entry : *list) {
        if (entry.as_string() == nullptr) return bad(key);
        texts.push_back(*entry.as_string());
      }
      parameters.values_[key] = std::move(texts);
    } else {
      return bad(key);
    }
  }
  return parameters;
}

void Parameters::Merge(const Parameters& later) {
  for (const auto& [name, value] : later.values_) values_[name] = value;
}

absl::Status Parameters::Add(std::string_view name, std::string_view value) {
  if (IsDroppedParameter(name)) return absl::OkStatus();
  const Known* known = Find(name);
  if (known == nullptr) {
    std::vector<std::string_view> names;
    for (const Known& other : kKnown) {
      if (!other.old) names.push_back(other.name);
    }
    std::ranges::stable_sort(names, {}, [&](std::string_view other) {
      return name.empty() || !other.starts_with(name);
    });
    const bool begins = !name.empty() && names.front().starts_with(name);
    return Error(ErrorCode::kInvalidInput, "unknown parameter ", Shown(name),
                 "; the nearest known is ",
                 begins ? names.front() : NearestNames(name, names, 1).front());
  }
  std::string key(name);
  switch (known->type) {
    case Type::kInteger: {
      const std::optional<int64_t> number = ParseInteger(value);
      if (!number) return Wrong(name, "a whole number", value);
      values_[key] = *number;
      break;
    }
    case Type::kFloat: {
      const std::optional<float> number = ParseFloat(value);
      if (!number || !std::isfinite(*number)) return Wrong(name, "a finite number", value);
      values_[key] = *number;
      break;
    }
    case Type::kBool: {
      const std::optional<bool> truth = ParseBool(value);
      if (!truth) return Wrong(name, "true or false", value);
      values_[key] = *truth;
      break;
    }
    case Type::kTexts: {
      ParameterValue& list = values_[key];
      if (!added_.contains(key) || !std::holds_alternative<std::vector<std::string>>(list)) {
        list = std::vector<std::string>();
      }
      std::get<std::vector<std::string>>(list).emplace_back(value);
      break;
    }
  }
  added_[std::move(key)] = true;
  return absl::OkStatus();
}

std::string Parameters::Json() const {
  std::string out;
  for (const auto& [name, value] : values_) {
    out += Cat(out.empty() ? "" : ",", GoJsonString(name), ":", std::visit(ToJson(), value));
  }
  return Cat("{", out, "}\n");
}

std::vector<std::string> ParameterTexts(const ParameterValue& value) {
  if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) return *texts;
  return {std::visit(ToJson(), value)};
}

bool IsDroppedParameter(std::string_view name) { return name == "penalize_newline"; }

bool IsOldParameter(std::string_view name) {
  const Known* known = Find(name);
  return known != nullptr && known->old;
}

absl::StatusOr<std::vector<Message>> ReadMessages(std::string_view json, std::string_view file) {
  SMELT_ASSIGN_OR_RETURN(const JsonValue root, ParseJsonValue(json, file));
  std::vector<Message> messages;
  if (root.as_array() != nullptr) {
    for (const JsonValue& entry : *root.as_array()) {
      const JsonValue* role = entry.Find("role");
      const JsonValue* content = entry.Find("content");
      if (role == nullptr || role->as_string() == nullptr) break;
      const std::string* text = content == nullptr ? nullptr : content->as_string();
      messages.push_back({*role->as_string(), text == nullptr ? "" : *text});
    }
    if (messages.size() == root.as_array()->size()) return messages;
  }
  return Error(ErrorCode::kInvalidInput, Escape(file),
               ": the layer of messages is no list of roles and texts");
}

std::string MessagesJson(const std::vector<Message>& messages) {
  std::string out;
  for (const Message& message : messages) {
    out += Cat(out.empty() ? "" : ",", "{\"role\":", GoJsonString(message.role),
               ",\"content\":", GoJsonString(message.content), "}");
  }
  return Cat("[", out, "]\n");
}

}  // namespace smelt::ollama
