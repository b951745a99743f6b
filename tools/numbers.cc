#include "tools/numbers.h"

#include "tools/format.h"

namespace smelt::tools {

std::string NotAllowed(std::string_view text, std::string_view what) {
  return "\"" + OneLine(text, 40) + "\" is no " + std::string(what);
}

}  // namespace smelt::tools
