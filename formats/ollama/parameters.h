// Parameters of a model in an Ollama store (num_ctx, temperature, stop, ...): their names and
// types, and the texts of the layers that hold them, byte for byte as Go's encoder writes them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace smelt::ollama {

/// `double`: a number of an inherited layer, whatever its parameter's type.
using ParameterValue = std::variant<int64_t, float, double, bool, std::vector<std::string>>;

class Parameters {
 public:
  /// The content of a params layer. Unknown names are kept as they are.
  static absl::StatusOr<Parameters> Read(std::string_view json, std::string_view file);

  /// A parameter as a Modelfile has it. A list (`stop`) grows, everything else is replaced; what
  /// Read gave is replaced as a whole the first time. Errors: kInvalidInput for an unknown name and
  /// a value that is not of its type.
  absl::Status Add(std::string_view name, std::string_view value);

  /// Takes over what `later` has.
  void Merge(const Parameters& later);

  bool empty() const { return values_.empty(); }
  const std::map<std::string, ParameterValue>& values() const { return values_; }
  /// One line with a line feed.
  std::string Json() const;

 private:
  std::map<std::string, ParameterValue> values_;
  std::map<std::string, bool> added_;  ///< names that Add has set
};

/// Its values as a Modelfile has them, one for each line.
std::vector<std::string> ParameterTexts(const ParameterValue& value);

/// True for names that old Modelfiles have and every Ollama accepts and drops.
bool IsDroppedParameter(std::string_view name);
/// True for names that Ollama dropped in 0.7.0 and later.
bool IsOldParameter(std::string_view name);

struct Message {
  std::string role, content;
};
/// The content of a messages layer, and from it.
absl::StatusOr<std::vector<Message>> ReadMessages(std::string_view json, std::string_view file);
std::string MessagesJson(const std::vector<Message>& messages);

}  // namespace smelt::ollama
