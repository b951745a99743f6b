// Every family and architecture by name. Adding one adds a line here.
#include "lib/model/families/architectures.h"

namespace smelt {
namespace {

constexpr const Architecture* kArchitectures[] = {
    &kLlamaArchitecture,
};

}  // namespace

const Architecture* FindArchitecture(std::string_view name) {
  for (const Architecture* architecture : kArchitectures) {
    if (architecture->name == name) return architecture;
  }
  return nullptr;
}

}  // namespace smelt
