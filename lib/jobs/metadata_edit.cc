#include "lib/jobs/metadata_edit.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "lib/base/guard.h"
#include "lib/base/json.h"
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "smelt/nearest.h"

namespace smelt {
namespace {

struct TypeName {
  std::string_view name;
  ValueType type;
};
constexpr TypeName kTypeNames[] = {
    {"u8", ValueType::kU8},         {"i8", ValueType::kI8},     {"u16", ValueType::kU16},
    {"i16", ValueType::kI16},       {"u32", ValueType::kU32},   {"i32", ValueType::kI32},
    {"u64", ValueType::kU64},       {"i64", ValueType::kI64},   {"f32", ValueType::kF32},
    {"f64", ValueType::kF64},       {"bool", ValueType::kBool}, {"str", ValueType::kString},
    {"string", ValueType::kString},
};

template <typename T>
std::optional<T> ParseWhole(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return std::nullopt;
  }
  return value;
}

template <typename T>
std::optional<MetadataValue> Number(std::string_view text) {
  const std::optional<T> value = ParseWhole<T>(text);
  if (!value) return std::nullopt;
  return MetadataValue(*value);
}

std::optional<MetadataValue> Scalar(ValueType type, std::string_view text) {
  switch (type) {
    case ValueType::kU8:
      return Number<uint8_t>(text);
    case ValueType::kI8:
      return Number<int8_t>(text);
    case ValueType::kU16:
      return Number<uint16_t>(text);
    case ValueType::kI16:
      return Number<int16_t>(text);
    case ValueType::kU32:
      return Number<uint32_t>(text);
    case ValueType::kI32:
      return Number<int32_t>(text);
    case ValueType::kU64:
      return Number<uint64_t>(text);
    case ValueType::kI64:
      return Number<int64_t>(text);
    case ValueType::kF32:
      return Number<float>(text);
    case ValueType::kF64:
      return Number<double>(text);
    case ValueType::kBool:
      if (text == "true" || text == "1") return MetadataValue(true);
      if (text == "false" || text == "0") return MetadataValue(false);
      return std::nullopt;
    case ValueType::kString:
      return MetadataValue(std::string(text));
    case ValueType::kArray:
      break;
  }
  return std::nullopt;
}

// The type that a value of a new key looks like.
ValueType Guess(std::string_view text) {
  if (text == "true" || text == "false") return ValueType::kBool;
  if (ParseWhole<uint32_t>(text)) return ValueType::kU32;
  if (ParseWhole<int32_t>(text)) return ValueType::kI32;
  if (ParseWhole<uint64_t>(text)) return ValueType::kU64;
  if (ParseWhole<int64_t>(text)) return ValueType::kI64;
  if (ParseWhole<float>(text)) return ValueType::kF32;
  return ValueType::kString;
}

template <typename T>
std::optional<MetadataValue> NumberArray(const JsonValue::Array& items, ValueType element) {
  std::vector<T> values;
  for (const JsonValue& item : items) {
    const std::optional<MetadataValue> value = Scalar(element, item.ToText());
    if (!value || value->get_if<T>() == nullptr) return std::nullopt;
    values.push_back(*value->get_if<T>());
  }
  return MetadataValue(std::move(values));
}

std::optional<MetadataValue> ArrayOf(ValueType element, const JsonValue::Array& items) {
  switch (element) {
    case ValueType::kU32:
      return NumberArray<uint32_t>(items, element);
    case ValueType::kI32:
      return NumberArray<int32_t>(items, element);
    case ValueType::kU8:
      return NumberArray<uint8_t>(items, element);
    case ValueType::kF32:
      return NumberArray<float>(items, element);
    case ValueType::kF64:
      return NumberArray<double>(items, element);
    case ValueType::kString: {
      std::vector<std::string> values;
      for (const JsonValue& item : items) {
        if (!item.is_string()) return std::nullopt;
        values.push_back(*item.as_string());
      }
      return MetadataValue(std::move(values));
    }
    default:
      return std::nullopt;
  }
}

std::optional<MetadataValue> Array(const MetadataValue* old, std::string_view text) {
  const absl::StatusOr<JsonValue> json = ParseJsonValue(text, "the value");
  if (!json.ok() || !json->is_array()) return std::nullopt;
  const JsonValue::Array& items = *json->as_array();
  if (old != nullptr) return ArrayOf(old->element_type(), items);
  if (items.empty()) return std::nullopt;
  for (ValueType guess : {ValueType::kString, ValueType::kI32, ValueType::kF32}) {
    if (std::optional<MetadataValue> value = ArrayOf(guess, items)) return value;
  }
  return std::nullopt;
}

std::optional<MetadataValue> Parse(const MetadataValue* old, std::string_view text) {
  if (old != nullptr && old->is_array()) return Array(old, text);
  if (old != nullptr) {
    const bool named = old->type() == ValueType::kString &&
                       (text.starts_with("str:") || text.starts_with("string:"));
    // "u32:7" for a string key means the text; its own type and a number's are honoured below.
    if (!named) {
      if (std::optional<MetadataValue> value = Scalar(old->type(), text)) return value;
    }
  }
  for (const TypeName& t : kTypeNames) {
    if (text.size() > t.name.size() && text.starts_with(t.name) && text[t.name.size()] == ':') {
      if (old != nullptr && old->type() != t.type) return std::nullopt;
      return Scalar(t.type, text.substr(t.name.size() + 1));
    }
  }
  if (old != nullptr) return std::nullopt;
  if (text.starts_with("[")) {
    if (std::optional<MetadataValue> value = Array(nullptr, text)) return value;
  }
  return Scalar(Guess(text), text);
}

bool GoodKey(std::string_view key) {
  if (key.empty() || key.size() > 65535) return false;
  for (char c : key) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return false;
  }
  return true;
}

absl::Status CheckKey(std::string_view key) {
  if (GoodKey(key)) return absl::OkStatus();
  return Error(ErrorCode::kUsage, "\"", Escape(key, 60),
               "\": a key is text without spaces, such as general.name");
}

/// Files hold templates, texts and lists of tokens.
constexpr uint64_t kMostFileBytes = 256 << 20;

bool IsText(const MetadataValue* old) {
  return old == nullptr || old->type() == ValueType::kString;
}

/// The content of @FILE as a value of a key that is `old` now.
absl::StatusOr<std::string> FromFile(const std::string& file, const MetadataValue* old) {
  SMELT_ASSIGN_OR_RETURN(const std::string content, ReadTextFile(file, kMostFileBytes));
  if (IsText(old)) return Cat("str:", content);
  const size_t first = content.find_first_not_of(" \t\r\n");
  if (first == content.npos) return std::string();
  return content.substr(first, content.find_last_not_of(" \t\r\n") + 1 - first);
}

/// The id of the token with this text, where `text` is neither a number nor names a type.
absl::StatusOr<std::string> TokenId(const std::string& key, std::string_view text,
                                    const MetadataValue* tokens) {
  std::string_view token = text;
  if (text.starts_with("str:")) {
    token.remove_prefix(4);
  } else {
    const bool number = ParseWhole<int64_t>(text) || ParseWhole<uint64_t>(text);
    const bool typed = std::ranges::any_of(kTypeNames, [&](const TypeName& type) {
      return text.starts_with(Cat(type.name, ":")) &&
             ParseWhole<int64_t>(text.substr(type.name.size() + 1));
    });
    if (number || typed) return std::string(text);
  }
  const auto* texts = tokens == nullptr ? nullptr : tokens->get_if<std::vector<std::string>>();
  if (texts == nullptr) {
    return Error(ErrorCode::kNotFound, Escape(key, 60),
                 ": there is no vocabulary in which to look up \"", Escape(token, 60),
                 "\"; give the id");
  }
  const auto found = std::ranges::find(*texts, token);
  if (found == texts->end()) {
    return Error(ErrorCode::kNotFound, Escape(key, 60), ": no token of the vocabulary is \"",
                 Escape(token, 60), "\"");
  }
  return Cat(static_cast<uint64_t>(found - texts->begin()));
}

absl::Status NoSuchKey(const std::string& key, const Metadata& metadata) {
  std::vector<std::string_view> keys;
  for (const Metadata::Entry& entry : metadata.entries()) keys.push_back(entry.key);
  const std::vector<std::string_view> nearest = NearestNames(key, keys, 1);
  return Error(ErrorCode::kNotFound, "there is no key ", Escape(key, 60), " to remove",
               nearest.empty() ? "" : Cat("; the nearest is ", Escape(nearest[0], 60)));
}

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";

}  // namespace

bool NamesAnId(std::string_view key) {
  return key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id");
}

absl::StatusOr<MetadataEdit> ParseMetadataEdit(std::string_view text) try {
  const size_t equals = text.find('=');
  if (equals == text.npos ? text.size() < 2 || !text.ends_with('-') : equals == 0) {
    return Error(
        ErrorCode::kUsage, "\"", Escape(text, 60),
        "\": write KEY=VALUE, such as general.name=Mine, KEY=@FILE, or KEY- to remove a key");
  }
  MetadataEdit edit;
  if (equals == text.npos) {
    edit.first = text.substr(0, text.size() - 1);
  } else {
    edit = {std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
  }
  SMELT_RETURN_IF_ERROR(CheckKey(edit.first));
  return edit;
} catch (...) {
  return CaughtError();
}

absl::StatusOr<MetadataEdits> ResolveEdits(const MetadataEdits& edits, const Metadata& source) {
  Metadata set;  // by the edits before: the keys, and of the vocabulary the value
  MetadataEdits resolved;
  for (const auto& [key, value] : edits) {
    SMELT_RETURN_IF_ERROR(CheckKey(key));
    const MetadataValue* old = source.Find(key);
    if (!value) {
      if (old == nullptr && !set.Has(key)) return NoSuchKey(key, source);
      resolved.emplace_back(key, std::nullopt);
      continue;
    }
    std::string text = *value;
    if (text.starts_with('@')) {
      SMELT_ASSIGN_OR_RETURN(text, FromFile(text.substr(1), old));
    } else if (NamesAnId(key)) {
      const MetadataValue* tokens = set.Has(kTokens) ? set.Find(kTokens) : source.Find(kTokens);
      SMELT_ASSIGN_OR_RETURN(text, TokenId(key, text, tokens));
    }
    resolved.emplace_back(key, std::move(text));
    if (key == kTokens) {
      if (old != nullptr) set.Set(key, *old);
      SMELT_RETURN_IF_ERROR(EditMetadata({resolved.back()}, set));
    } else {
      set.Set(key, 0u);
    }
  }
  return resolved;
}

absl::Status EditMetadata(const MetadataEdits& edits, Metadata& metadata) {
  for (const auto& [key, value_text] : edits) {
    SMELT_RETURN_IF_ERROR(CheckKey(key));
    if (!value_text) {
      metadata.Erase(key);
      continue;
    }
    const std::string& text = *value_text;
    const MetadataValue* old = metadata.Find(key);
    const OwnKeyRow* row = FindOwnKey(key);
    const MetadataValue own = row == nullptr ? MetadataValue(0u) : EmptyOwnValue(*row);
    if (old == nullptr && row != nullptr) old = &own;
    std::optional<MetadataValue> value = Parse(old, text);
    if (!value) {
      const std::string wanted = old == nullptr ? text.substr(0, text.find(':'))  // as it says
                                 : old->is_array()
                                     ? Cat("a JSON list of ", Name(old->element_type()))
                                     : std::string(Name(old->type()));
      return Error(ErrorCode::kUsage, Escape(key, 60), ": \"", Escape(text, 60),
                   "\" does not fit; the value must be ", wanted);
    }
    metadata.Set(key, *std::move(value));
  }
  return absl::OkStatus();
}

}  // namespace smelt
