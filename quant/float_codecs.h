// F32, F16 and BF16 as codecs: blocks of one element without scales.
#pragma once

#include "quant/codec.h"
#include "quant/encoder.h"

namespace smelt {

/// nullptr for any other type.
const Codec* FindFloatCodec(TensorType type);
const Encoder* FindFloatEncoder(TensorType type);

}  // namespace smelt
