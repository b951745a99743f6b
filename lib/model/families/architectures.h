// The architectures that the engine knows, each defined in its family's file.
#pragma once

#include "lib/model/architecture.h"

namespace smelt {

extern const Architecture kLlamaArchitecture;

}  // namespace smelt
