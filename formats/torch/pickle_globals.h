// The names that a checkpoint's pickle may mention, and what each means as data.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "formats/container.h"

namespace smelt {

/// What becomes of a name: none of these calls anything.
enum class GlobalRole : uint8_t {
  kDictType,        ///< OrderedDict, Counter: reduced, a dict
  kDefaultDict,     ///< its factory is kept nowhere
  kSetType,         ///< set, frozenset: reduced, a set
  kBytesType,       ///< bytes, bytearray
  kComplex,         ///< reduced, the pair
  kPlainType,       ///< int, float, list ...: only as an argument
  kEncode,          ///< _codecs.encode(text, "latin1"): bytes under protocol 2
  kSize,            ///< torch.Size: the tuple
  kDevice,          ///< torch.device: its arguments
  kLayout,          ///< torch.serialization._get_layout("torch.strided")
  kDtype,           ///< torch.float16
  kStorageType,     ///< torch.HalfStorage, in a persistent id
  kUntypedStorage,  ///< counted in bytes
  kTensorType,      ///< torch.Tensor, Parameter as arguments
  kParameter,       ///< (data, requires_grad, hooks[, state]): the data
  kTensorV1,        ///< (storage, offset, size, stride)
  kTensorV2,        ///< (storage, offset, size, stride, requires_grad, hooks[, metadata])
  kTensorV3,        ///< (storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])
  kFromType,        ///< (function, class, arguments, state)
  kNumpyDtype,
  kNumpyScalar,  ///< (dtype, bytes): the number
};

struct PickleGlobal {
  std::string_view module, name;
  GlobalRole role;
  std::optional<RawType> dtype;  ///< of a storage class or dtype; absent: one that holds no weights
};

/// Index of an allowed name, for PickleGlobalAt.
std::optional<uint32_t> FindPickleGlobal(std::string_view module, std::string_view name);
const PickleGlobal& PickleGlobalAt(uint32_t index);

}  // namespace smelt
