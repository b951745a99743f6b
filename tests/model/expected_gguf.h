// Comparison with expected_gguf.json of a fixture folder.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "lib/base/metadata.h"
#include "lib/model/model_source.h"

namespace smelt::testing {

/// Folder of a fixture model: of testdata, else of the shared ground truth; empty when neither has
/// it.
std::string ModelPath(const std::string& name);

/// Every tensor's name, shape and SHA-256 of its f32 values; computed ones by value where the file
/// says so.
void CompareTensors(const ModelSource& source, const std::string& folder);

/// Every expected key that begins with `prefix`, with type, value and order. More keys may be there
/// where llama.cpp's converter leaves one out that its engine needs. `other`: keys that are not
/// compared.
void CompareKeys(const Metadata& metadata, const std::string& folder, std::string_view prefix = "",
                 const std::set<std::string>& other = {});

}  // namespace smelt::testing
