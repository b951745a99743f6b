// What the files of a model hold, by the names that a family's table uses.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/model/family.h"

namespace smelt {

class PublishedTensors {
 public:
  PublishedTensors() = default;
  /// Names become the table's: without "language_model." and the family's outer prefix, with the
  /// body's. `container` must outlive the result.
  static absl::StatusOr<PublishedTensors> Make(const Family& family, const Container& container);

  /// The first of "a|b" that is there, with layer ('*') and expert ('#') filled in; nullptr when
  /// none is. What was found counts as used.
  const RawTensor* Find(std::string_view sources, uint64_t layer = 0, uint64_t expert = 0);
  /// Another name of a tensor.
  void AddName(std::string name, const RawTensor& tensor) {
    index_.emplace(std::move(name), &tensor);
  }

  /// An error names a tensor that nobody used although it may matter; parts of other modalities are
  /// noted in the context.
  absl::Status CheckAllUsed(FamilyContext& context) const;

 private:
  std::unordered_map<std::string, const RawTensor*> index_;
  std::unordered_set<const RawTensor*> used_;
};

/// The first name of "a|b" with layer and expert filled in.
std::string FilledName(std::string_view sources, uint64_t layer, uint64_t expert = 0);

/// True for the names of the family's output matrix.
bool IsHead(const Family& family, std::string_view name);

}  // namespace smelt
