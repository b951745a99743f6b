// Llama, Mistral, Mixtral: GGUF architecture "llama".
#include "lib/model/families/architectures.h"

namespace smelt {

const Architecture kLlamaArchitecture = {
    .name = "llama",
    .rope = RopeStyle::kInterleaved,
};

}  // namespace smelt
