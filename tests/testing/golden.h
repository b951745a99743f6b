// Where a fixture's recorded results are.
#pragma once

#include <filesystem>
#include <string>

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

}  // namespace smelt::testing
