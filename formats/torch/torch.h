// PyTorch checkpoints, read as data: no Python, nothing executed. Zip archives of torch.save (1.6
// and newer) and the stream of pickles before it; tensors are read where they lie.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "formats/torch/pickle.h"
#include "lib/base/storage.h"

namespace smelt {

/// The state dict of one file (see ReadStateDict for where it may be nested). Tensors may be
/// strided and may share storages. Refused by name: everything that would call something,
/// TorchScript programs, big-endian files, the tar format before PyTorch 0.1.10, plain pickles.
absl::StatusOr<Container> OpenTorch(const std::string& path);
absl::StatusOr<Container> ReadTorch(std::shared_ptr<Storage> file);

/// What can be shown of a file, whether it is refused or not.
struct TorchListing {
  absl::Status status;  ///< of ReadTorch
  Container container;  ///< its tensors; of a refused file those that are plain data, to show only
  std::vector<PickleRefusal> refused;  ///< every name that it wanted, at most kMaxRefusals
};
TorchListing ListTorch(const std::shared_ptr<Storage>& file);

}  // namespace smelt
