// Members of a component of tokenizer.json, read and written by one list of names.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/spec/base64.h"
#include "lib/text/spec/component_json.h"

namespace smelt::member_io {

// Whether a member may be absent, or null as well.
enum class Need { kRequired, kMayLack, kMayBeNull };

// ---- the kinds of values

template <typename T>
struct Word {
  std::string_view name;
  T value;
};
inline constexpr Word<SplitBehavior> kBehaviors[] = {
    {"Removed", SplitBehavior::kRemoved},
    {"Isolated", SplitBehavior::kIsolated},
    {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
    {"MergedWithNext", SplitBehavior::kMergedWithNext},
    {"Contiguous", SplitBehavior::kContiguous}};
inline constexpr Word<PrependScheme> kSchemes[] = {{"always", PrependScheme::kAlways},
                                                   {"never", PrependScheme::kNever},
                                                   {"first", PrependScheme::kFirst}};
inline std::span<const Word<SplitBehavior>> WordsOf(SplitBehavior) { return kBehaviors; }
inline std::span<const Word<PrependScheme>> WordsOf(PrependScheme) { return kSchemes; }

// Members that are not just their type.
struct Character {
  std::string& text;
};
struct Base64 {
  std::string& bytes;
};

// Take: false where the value is of another type. Wanted: what it should be.
inline bool Take(const JsonValue& value, bool& out) {
  if (const bool* flag = value.as_bool()) return out = *flag, true;
  return false;
}
inline std::string Wanted(bool) { return "true or false"; }

inline bool Take(const JsonValue& value, std::string& out) {
  if (const std::string* text = value.as_string()) return out = *text, true;
  return false;
}
inline std::string Wanted(const std::string&) { return "a text"; }

inline bool Take(const JsonValue& value, Character out) {
  const std::string* text = value.as_string();
  if (text == nullptr || text->empty() || DecodeUtf8(*text).length != text->size()) return false;
  out.text = *text;
  return true;
}
inline std::string Wanted(Character) { return "a text of one character"; }

inline bool Take(const JsonValue& value, Base64 out) {
  if (!value.is_string()) return false;
  absl::StatusOr<std::string> bytes = DecodeBase64(*value.as_string());
  if (bytes.ok()) out.bytes = *std::move(bytes);
  return bytes.ok();
}
inline std::string Wanted(Base64) { return "a text in base64"; }

inline bool Take(const JsonValue& value, size_t& out) {
  const std::optional<int64_t> number = value.as_int();
  if (!number || *number < 0) return false;
  out = static_cast<size_t>(*number);
  return true;
}
inline std::string Wanted(size_t) { return "a whole number that is not negative"; }

inline bool Take(const JsonValue& value, double& out) {
  if (const std::optional<double> number = value.as_double()) return out = *number, true;
  return false;
}
inline std::string Wanted(double) { return "a number"; }

template <typename T>
requires std::is_enum_v<T>
bool Take(const JsonValue& value, T& out) {
  if (!value.is_string()) return false;
  for (const Word<T>& word : WordsOf(T())) {
    if (word.name == *value.as_string()) return out = word.value, true;
  }
  return false;
}
template <typename T>
requires std::is_enum_v<T> std::string Wanted(T) {
  std::string out = "one of";
  for (const Word<T>& word : WordsOf(T())) out += Cat(" ", word.name);
  return out;
}

inline bool Take(const JsonValue& value, Pattern& out) {
  const JsonValue* regex = value.FindNonNull("Regex");
  const JsonValue* text = value.FindNonNull("String");
  const JsonValue* held = text != nullptr ? text : regex;
  if (held == nullptr || !held->is_string()) return false;
  out = {.text = *held->as_string(), .is_regex = text == nullptr};
  return true;
}
inline std::string Wanted(const Pattern&) { return "an object with a String or a Regex"; }

template <typename T>
bool Take(const JsonValue& value, std::optional<T>& out) {
  return Take(value, out.emplace());
}
template <typename T>
std::string Wanted(const std::optional<T>&) {
  return Wanted(T());
}

inline void Put(std::string& out, bool value) { out += value ? "true" : "false"; }
inline void Put(std::string& out, size_t value) { out += std::to_string(value); }
inline void Put(std::string& out, const std::string& value) { out += JsonQuote(value); }
inline void Put(std::string& out, Character value) { out += JsonQuote(value.text); }
inline void Put(std::string& out, Base64 value) { out += JsonQuote(EncodeBase64(value.bytes)); }
template <typename T>
requires std::is_enum_v<T>
void Put(std::string& out, T value) {
  for (const Word<T>& word : WordsOf(value)) {
    if (word.value == value) out += JsonQuote(word.name);
  }
}
inline void Put(std::string& out, const Pattern& value) {
  out += Cat(value.is_regex ? R"({"Regex":)" : R"({"String":)", JsonQuote(value.text), "}");
}
template <typename T>
void Put(std::string& out, const std::optional<T>& value) {
  if (value) {
    Put(out, *value);
  } else {
    out += "null";
  }
}

// ---- members, visited for reading and for writing

class MemberReader {
 public:
  static constexpr bool kReads = true;
  MemberReader(const JsonValue& component, std::string where, Members members)
      : component_(component), where_(std::move(where)), members_(members) {}

  template <typename T>
  void operator()(std::string_view name, T&& field, Need need = Need::kRequired) {
    if (!status_.ok()) return;
    const JsonValue* value = component_.Find(name);
    if (value == nullptr) {
      if (need == Need::kRequired && members_ == Members::kAll)
        status_ =
            Error(ErrorCode::kInvalidInput, where_, " has no \"", name, "\", ", Wanted(field));
      return;
    }
    if (value->is_null() && need == Need::kMayBeNull) return;
    if (!Take(*value, std::forward<T>(field)))
      status_ = Error(ErrorCode::kInvalidInput, where_, ": \"", name, "\" is ",
                      Escape(value->ToText(), 40), ", not ", Wanted(field));
  }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const std::string& where() const { return where_; }
  const absl::Status& status() const { return status_; }

 private:
  const JsonValue& component_;
  std::string where_;
  Members members_;
  absl::Status status_;
};

class MemberWriter {
 public:
  static constexpr bool kReads = false;
  explicit MemberWriter(std::string_view type) : out_(Cat(R"({"type":)", JsonQuote(type))) {}
  template <typename T>
  void operator()(std::string_view name, const T& field, Need = Need::kRequired) {
    out_ += Cat(",", JsonQuote(name), ":");
    Put(out_, field);
  }
  std::string Take() { return std::move(out_) + "}"; }

 private:
  std::string out_;
};

}  // namespace smelt::member_io
