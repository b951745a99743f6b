// Edits of metadata: text from a command line turned into typed GGUF values.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "smelt/metadata_edits.h"

namespace smelt {

/// The edits with what they name in its place: the content of @FILE, the id of a token's text in
/// the vocabulary of `source` (or the one that an edit before gives it). kNotFound names a file, a
/// token, or a key to be removed that is not there.
absl::StatusOr<MetadataEdits> ResolveEdits(const MetadataEdits& edits, const Metadata& source);

/// Whether a key holds the id of a special token.
bool NamesAnId(std::string_view key);

/// Sets or removes every KEY, of edits that are resolved. An existing key keeps its type; a new one
/// takes the type that VALUE names
/// ("u32:5", "str:1.0", "bool:true") or else looks like: true/false, an integer (u32, or i32 when
/// negative, 64 bits when it must), a number with a point or exponent (f32), a string. Arrays are
/// written as JSON lists. kUsage names the key and what fits.
absl::Status EditMetadata(const MetadataEdits& edits, Metadata& metadata);

}  // namespace smelt
