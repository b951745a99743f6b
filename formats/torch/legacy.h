// The checkpoint format of PyTorch before 1.6: pickles one after the other (magic number, protocol,
// system information, the object, the storages' keys), then each storage: its element count as i64,
// its bytes. Source: torch/serialization.py, _legacy_save.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "formats/torch/pickle.h"
#include "lib/base/storage.h"

namespace smelt {

/// Whether the file begins with a pickle (of protocol 2 or newer).
bool LooksLikePickle(std::string_view start);

/// `refused`: see ReadPickle.
absl::StatusOr<Container> ReadTorchLegacy(std::shared_ptr<Storage> file,
                                          std::vector<PickleRefusal>* refused = nullptr);

}  // namespace smelt
