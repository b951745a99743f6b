// Where a fixture's recorded results are, and reading them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/container.h"
#include "lib/base/json.h"
#include "tests/testing/testing.h"

namespace smelt::testing {

/// The folder with golden.json for a model's folder: another one where golden_ref.json says that
/// it holds the same model.
inline std::string GoldenFolder(const std::string& folder) {
  const std::string reference = folder + "/golden_ref.json";
  if (!std::filesystem::exists(reference)) return folder;
  const auto value = ParseJsonValue(ReadFile(reference), "golden_ref.json");
  const JsonValue* other = value.ok() ? value->Find("same_as") : nullptr;
  return other == nullptr || other->as_string() == nullptr ? folder
                                                           : folder + "/" + *other->as_string();
}

/// A list of token ids.
inline std::vector<int32_t> Ids(const JsonValue& list) {
  std::vector<int32_t> ids;
  for (const JsonValue& id : *list.as_array()) ids.push_back(static_cast<int32_t>(*id.as_int()));
  return ids;
}

/// All values of a tensor that is stored as T, in order.
template <typename T>
std::vector<T> Values(const RawTensor& tensor) {
  std::vector<T> values(tensor.elements());
  EXPECT_TRUE(
      tensor.storage->ReadAt(tensor.offset, std::as_writable_bytes(std::span(values))).ok());
  return values;
}

}  // namespace smelt::testing
