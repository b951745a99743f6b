// JSON from files: one strict parser (duplicate keys, depth, UTF-8, numbers out of range), as
// events or as a small tree.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/copy_variant.h"

namespace smelt {

/// Events of a document. Returning an error stops the parse with that error. Defaults ignore.
class JsonHandler {
 public:
  virtual ~JsonHandler() = default;
  virtual absl::Status Null() { return absl::OkStatus(); }
  virtual absl::Status Bool(bool value) { return absl::OkStatus(); }
  virtual absl::Status Int(int64_t value) { return absl::OkStatus(); }
  virtual absl::Status Uint(uint64_t value) { return absl::OkStatus(); }  ///< only above INT64_MAX
  virtual absl::Status Double(double value, std::string_view text) { return absl::OkStatus(); }
  virtual absl::Status String(std::string&& value) { return absl::OkStatus(); }
  virtual absl::Status StartObject() { return absl::OkStatus(); }
  virtual absl::Status Key(std::string&& key) { return absl::OkStatus(); }
  virtual absl::Status EndObject() { return absl::OkStatus(); }
  virtual absl::Status StartArray() { return absl::OkStatus(); }
  virtual absl::Status EndArray() { return absl::OkStatus(); }
};

struct JsonOptions {
  int max_depth = 64;
  bool allow_nan =
      false;  ///< also NaN, Infinity, -Infinity as Python writes them (config.json of transformers)
};

/// `name` is the file's name for messages.
absl::Status ParseJson(std::string_view text, std::string_view name, JsonHandler& handler,
                       const JsonOptions& options = {});

/// A parsed value. Objects keep their order.
class JsonValue {
 public:
  using Array = std::vector<JsonValue>;
  using Object = std::vector<std::pair<std::string, JsonValue>>;

  JsonValue() = default;
  JsonValue(const JsonValue& other) : value_(CopyVariant(other.value_)) {}
  JsonValue(JsonValue&&) noexcept = default;
  JsonValue& operator=(const JsonValue& other) { return *this = JsonValue(other); }
  JsonValue& operator=(JsonValue&&) noexcept = default;
  template <typename T>
  requires(!std::is_same_v<std::remove_cvref_t<T>, JsonValue>) explicit JsonValue(T&& value)
      : value_(std::forward<T>(value)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const {
    return std::holds_alternative<int64_t>(value_) || std::holds_alternative<uint64_t>(value_);
  }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  const bool* as_bool() const { return std::get_if<bool>(&value_); }
  std::optional<int64_t> as_int() const;    ///< an integer literal that fits
  std::optional<double> as_double() const;  ///< any number
  const std::string* as_string() const { return std::get_if<std::string>(&value_); }
  const Array* as_array() const { return std::get_if<Array>(&value_); }
  const Object* as_object() const { return std::get_if<Object>(&value_); }

  /// Member of an object; nullptr when absent or when this is no object.
  const JsonValue* Find(std::string_view key) const;
  /// The same, and nullptr for null too.
  const JsonValue* FindNonNull(std::string_view key) const;
  /// "null", "boolean", "integer", "number", "string", "array", "object"
  std::string_view KindName() const;
  /// Compact text (for messages and for keeping values as they were).
  std::string ToText() const;

 private:
  std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, Array, Object> value_;
};

absl::StatusOr<JsonValue> ParseJsonValue(std::string_view text, std::string_view name,
                                         const JsonOptions& options = {});

/// Text for a JSON string literal, with quotes.
std::string JsonQuote(std::string_view text);

}  // namespace smelt
