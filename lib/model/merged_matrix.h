// A published weight with what adapters do to it.
#pragma once

#include "absl/status/status.h"
#include "formats/container.h"
#include "lib/model/merged_rows.h"

namespace smelt {

/// Makes `base` one that is computed: its own values with the change of one more adapter. Rows run
/// over all dimensions but the last. kInvalidInput where the shapes do not fit.
absl::Status MergeInto(TensorChange change, RawTensor& base);

}  // namespace smelt
