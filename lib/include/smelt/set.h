// Metadata surgery on a GGUF file: chat template, special tokens, names.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/metadata_edits.h"
#include "smelt/observer.h"

namespace smelt {

struct SetOptions {
  std::string file;  ///< a GGUF; of a split one the part whose keys are meant, usually the first
  MetadataEdits edits;
  bool dry_run = false;  ///< check and decide, write nothing
};

struct SetResult {
  std::string file;               ///< what links lead to
  std::string how;                ///< "in place", "copy", "unchanged"
  std::vector<std::string> keys;  ///< that were set, changed or removed
};

/// Applies the edits in their order. Where the new header takes the place of the old one it is
/// written in place, with a journal beside the file from which an interrupted change is finished by
/// the next call (also one without edits); else the file is written anew and renamed. A file with
/// several hard links is written anew, so that the others keep their bytes. Edits after which the
/// tokenizer or the model could not be read any more are refused; tensors stay as they are.
SMELT_EXPORT absl::StatusOr<SetResult> SetMetadata(const SetOptions& options,
                                                   const Observer& observer = {});

}  // namespace smelt
