// Where every byte of a planned output lies: its files, their headers, offsets, tiles.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/metadata.h"
#include "lib/jobs/plan.h"

namespace smelt {

/// Fills in files, offsets, paddings and tile numbers of a plan whose tensors have their types; how
/// many files is what its options say. Errors: kUsage for an alignment that is none, and for more
/// parts than can be numbered; what SerializeGgufHeader refuses.
absl::Status LayOut(const Metadata& metadata, Plan& plan);

/// Names of an output's files: `path` itself, or PREFIX-00001-of-0000N.gguf for a `path`
/// PREFIX.gguf.
std::vector<std::string> FileNames(const std::string& path, uint64_t count);

}  // namespace smelt
