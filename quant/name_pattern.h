// Patterns that choose tensors by name (--tensor-type).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace smelt {

/// An ECMAScript regular expression searched in a name. PCRE2 runs it with limits: no pattern, on
/// no name, crashes or runs on without end.
class NamePattern {
 public:
  /// kUsage for what is no expression, is nested too deeply or is longer than 4096 bytes.
  static absl::StatusOr<NamePattern> Compile(std::string_view pattern);
  NamePattern(NamePattern&&) noexcept;
  NamePattern& operator=(NamePattern&&) noexcept;
  ~NamePattern();

  /// Whether a part of `name` matches; kUsage when finding that out takes too many steps.
  absl::StatusOr<bool> In(std::string_view name) const;

 private:
  struct Code;
  NamePattern();
  std::string pattern_;
  std::unique_ptr<Code> code_;
};

}  // namespace smelt
