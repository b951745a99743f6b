// Every family and architecture by name. Adding one adds a line here.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {
namespace {

constexpr const Architecture* kArchitectures[] = {
    &kLlamaArchitecture,
};

constexpr const Family* kFamilies[] = {
    &kLlama,
    &kMistral,
    &kMixtral,
};

}  // namespace

const Architecture* FindArchitecture(std::string_view name) {
  for (const Architecture* architecture : kArchitectures) {
    if (architecture->name == name) return architecture;
  }
  return nullptr;
}

const Family* FindFamily(std::string_view architecture_name) {
  for (const Family* family : kFamilies) {
    for (std::string_view name : family->names) {
      if (name == architecture_name) return family;
    }
  }
  return nullptr;
}

absl::Status ReadWindowOfAllLayers(FamilyContext& context, uint64_t absent) {
  SMELT_ASSIGN_OR_RETURN(const auto window, context.config.Count("sliding_window", 0, 1u << 30));
  const bool is_null = context.config.value().Find("sliding_window") != nullptr && !window;
  const uint64_t size = is_null ? 0 : window.value_or(absent);
  if (size == 0) return absl::OkStatus();
  context.hyper.Set("window", static_cast<double>(size));
  context.windowed.assign(context.hyper("layers"), true);
  return absl::OkStatus();
}

}  // namespace smelt
