// The weights of one format in a folder: a whole file, shards under an index, numbered parts; which
// of them is the model when several lie there.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "formats/weight_index.h"
#include "formats/weight_sets.h"

namespace smelt {

/// How files of a format are called.
struct WeightNames {
  std::string_view single;                    ///< "model.safetensors"
  std::span<const std::string_view> endings;  ///< of all other files, in lower case
  std::string_view only = "", but = "";       ///< beginnings that names must have, must not have
};

struct WeightFiles {
  std::string single;           ///< the whole file of the usual name; empty: not there
  std::string index;            ///< the usual index, or else the only one; empty: none
  std::vector<WeightSet> sets;  ///< all other files

  bool empty() const { return single.empty() && index.empty() && sets.empty(); }
  /// What stands for them in a message, escaped.
  std::string Describe() const;
};

/// `names`: of a folder, sorted.
WeightFiles FindWeightFiles(const std::vector<std::string>& names, const WeightNames& rule);

/// kNotFound where parts are missing, kInvalidInput where nothing tells which file is meant; asked
/// of names alone.
absl::Status CheckDecidable(const std::string& directory, const WeightFiles& files,
                            std::string_view single);

/// Several files that nothing in their names joins: made one set where each can be read and no
/// tensor is in two of them. Reads their headers.
void JoinByContent(const std::string& directory, const ShardFormat& format, WeightFiles& files);

/// The model of these files (one of them, not empty). A single file wins over shards of the same
/// tensors, and whichever holds more over a part of it; an index whose shards are absent gives way
/// to complete parts of the same tensors. Whatever contradicts itself otherwise is refused with the
/// names of the files.
absl::StatusOr<Container> OpenWeightFiles(const std::string& directory, const WeightFiles& files,
                                          const ShardFormat& format);

/// The names in a folder, sorted, but for those of folders in it.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& directory);

}  // namespace smelt
