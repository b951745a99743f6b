#include "smelt/version.h"

namespace smelt {

std::string_view Version() { return SMELT_VERSION; }

}  // namespace smelt
