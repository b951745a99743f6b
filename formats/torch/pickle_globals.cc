#include "formats/torch/pickle_globals.h"

#include <iterator>

namespace smelt {
namespace {

using enum GlobalRole;

/// Exact names only: a submodule of an allowed module is another name.
constexpr PickleGlobal kGlobals[] = {
    {"collections", "OrderedDict", kDictType, {}},
    {"collections", "Counter", kDictType, {}},
    {"collections", "defaultdict", kDefaultDict, {}},
    {"builtins", "dict", kDictType, {}},
    {"builtins", "set", kSetType, {}},
    {"builtins", "frozenset", kSetType, {}},
    {"builtins", "bytes", kBytesType, {}},
    {"builtins", "bytearray", kBytesType, {}},
    {"builtins", "complex", kComplex, {}},
    {"builtins", "bool", kPlainType, {}},
    {"builtins", "float", kPlainType, {}},
    {"builtins", "int", kPlainType, {}},
    {"builtins", "list", kPlainType, {}},
    {"builtins", "str", kPlainType, {}},
    {"builtins", "tuple", kPlainType, {}},
    {"_codecs", "encode", kEncode, {}},

    {"torch", "Size", kSize, {}},
    {"torch", "device", kDevice, {}},
    {"torch.serialization", "_get_layout", kLayout, {}},
    {"torch", "Tensor", kTensorType, {}},
    {"torch._tensor", "Tensor", kTensorType, {}},
    {"torch.nn.parameter", "Parameter", kTensorType, {}},
    {"torch.nn", "Parameter", kTensorType, {}},
    {"torch._utils", "_rebuild_parameter", kParameter, {}},
    {"torch._utils", "_rebuild_parameter_with_state", kParameter, {}},
    {"torch._utils", "_rebuild_tensor", kTensorV1, {}},
    {"torch._utils", "_rebuild_tensor_v2", kTensorV2, {}},
    {"torch._utils", "_rebuild_tensor_v3", kTensorV3, {}},
    {"torch._tensor", "_rebuild_from_type_v2", kFromType, {}},

    {"torch", "float64", kDtype, RawType::kF64},
    {"torch", "float32", kDtype, RawType::kF32},
    {"torch", "float16", kDtype, RawType::kF16},
    {"torch", "bfloat16", kDtype, RawType::kBF16},
    {"torch", "float8_e4m3fn", kDtype, RawType::kF8_E4M3},
    {"torch", "float8_e5m2", kDtype, RawType::kF8_E5M2},
    {"torch", "float8_e8m0fnu", kDtype, RawType::kF8_E8M0},
    {"torch", "float8_e4m3fnuz", kDtype, {}},
    {"torch", "float8_e5m2fnuz", kDtype, {}},
    {"torch", "int64", kDtype, RawType::kI64},
    {"torch", "int32", kDtype, RawType::kI32},
    {"torch", "int16", kDtype, RawType::kI16},
    {"torch", "int8", kDtype, RawType::kI8},
    {"torch", "uint64", kDtype, RawType::kU64},
    {"torch", "uint32", kDtype, RawType::kU32},
    {"torch", "uint16", kDtype, RawType::kU16},
    {"torch", "uint8", kDtype, RawType::kU8},
    {"torch", "bool", kDtype, RawType::kBool},
    {"torch", "complex64", kDtype, RawType::kC64},
    {"torch", "complex32", kDtype, {}},
    {"torch", "complex128", kDtype, {}},
    {"torch", "quint8", kDtype, {}},
    {"torch", "qint8", kDtype, {}},
    {"torch", "qint32", kDtype, {}},

    {"torch", "DoubleStorage", kStorageType, RawType::kF64},
    {"torch", "FloatStorage", kStorageType, RawType::kF32},
    {"torch", "HalfStorage", kStorageType, RawType::kF16},
    {"torch", "BFloat16Storage", kStorageType, RawType::kBF16},
    {"torch", "LongStorage", kStorageType, RawType::kI64},
    {"torch", "IntStorage", kStorageType, RawType::kI32},
    {"torch", "ShortStorage", kStorageType, RawType::kI16},
    {"torch", "CharStorage", kStorageType, RawType::kI8},
    {"torch", "ByteStorage", kStorageType, RawType::kU8},
    {"torch", "BoolStorage", kStorageType, RawType::kBool},
    {"torch", "ComplexFloatStorage", kStorageType, RawType::kC64},
    {"torch", "ComplexDoubleStorage", kStorageType, {}},
    {"torch", "QInt8Storage", kStorageType, {}},
    {"torch", "QInt32Storage", kStorageType, {}},
    {"torch", "QUInt8Storage", kStorageType, {}},
    {"torch", "UntypedStorage", kUntypedStorage, {}},
    {"torch.storage", "UntypedStorage", kUntypedStorage, {}},
    {"torch.cuda", "DoubleStorage", kStorageType, RawType::kF64},
    {"torch.cuda", "FloatStorage", kStorageType, RawType::kF32},
    {"torch.cuda", "HalfStorage", kStorageType, RawType::kF16},
    {"torch.cuda", "BFloat16Storage", kStorageType, RawType::kBF16},
    {"torch.cuda", "LongStorage", kStorageType, RawType::kI64},
    {"torch.cuda", "IntStorage", kStorageType, RawType::kI32},
    {"torch.cuda", "ShortStorage", kStorageType, RawType::kI16},
    {"torch.cuda", "CharStorage", kStorageType, RawType::kI8},
    {"torch.cuda", "ByteStorage", kStorageType, RawType::kU8},
    {"torch.cuda", "BoolStorage", kStorageType, RawType::kBool},

    {"numpy", "dtype", kNumpyDtype, {}},
    {"numpy.core.multiarray", "scalar", kNumpyScalar, {}},
    {"numpy._core.multiarray", "scalar", kNumpyScalar, {}},
};

}  // namespace

std::optional<uint32_t> FindPickleGlobal(std::string_view module, std::string_view name) {
  if (module == "__builtin__") module = "builtins";  // protocols before 3 write Python 2's name
  for (uint32_t i = 0; i < std::size(kGlobals); ++i) {
    if (kGlobals[i].name == name && kGlobals[i].module == module) return i;
  }
  return std::nullopt;
}

const PickleGlobal& PickleGlobalAt(uint32_t index) { return kGlobals[index]; }

}  // namespace smelt
