// A published configuration (config.json, params.json): read strictly, remembering what was read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/json.h"
#include "lib/base/text_hash.h"

namespace smelt {

/// Several names of one thing are written "num_hidden_layers|n_layer": the first that is there (and
/// not null) counts. Errors name the file and the key.
class Config {
 public:
  /// `name`: what messages call the file. Parses and checks that the whole is an object.
  static absl::StatusOr<Config> Parse(std::string_view text, std::string name);
  /// An object inside (text_config). It stands for itself; the members named in `of_whole` are this
  /// configuration's, whatever the object says of them.
  absl::StatusOr<Config> Nested(std::string_view key,
                                std::span<const std::string_view> of_whole = {}) const;
  /// What a nested configuration is inside of; nullptr of a whole one.
  const Config* Outer() const { return parent_.get(); }
  /// A value that is an object already.
  Config(JsonValue value, std::string name);
  /// The same with another value of the first of `names` that is there, or of the first.
  Config With(std::string_view names, JsonValue value) const;

  const std::string& name() const { return name_; }
  bool Has(std::string_view names) const { return Find(names) != nullptr; }
  /// One of `names` is there, as null, and none with a value.
  bool IsNull(std::string_view names) const;
  /// The key under which a value is found; the first name when none is.
  std::string KeyOf(std::string_view names) const;
  /// nullptr when absent or null. Marks every one of `names` as read.
  const JsonValue* Find(std::string_view names) const;

  // nullopt when absent or null.
  absl::StatusOr<std::optional<uint64_t>> Count(std::string_view names, uint64_t low = 0,
                                                uint64_t high = 1u << 31) const;
  absl::StatusOr<std::optional<double>> Real(std::string_view names) const;  ///< finite
  absl::StatusOr<std::optional<bool>> Flag(std::string_view names) const;
  absl::StatusOr<std::optional<std::string>> Text(std::string_view names) const;
  absl::StatusOr<std::vector<double>> Reals(std::string_view names) const;  ///< empty when absent
  absl::StatusOr<std::vector<std::string>> Texts(std::string_view names) const;

  /// "config.json: KEY " followed by `what`.
  absl::Status Bad(std::string_view names, std::string_view what) const;

  /// Members that nobody asked for.
  std::vector<std::string> Unread() const;
  /// All members, as text: for messages and identity.
  const JsonValue& value() const { return value_; }

 private:
  JsonValue value_;
  std::string name_;
  std::shared_ptr<const Config> parent_;
  std::shared_ptr<TextSet<std::string>> read_ = std::make_shared<TextSet<std::string>>();
};

}  // namespace smelt
