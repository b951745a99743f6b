#include "lib/model/choose_family.h"

#include <algorithm>
#include <vector>

#include "lib/base/status.h"
#include "smelt/nearest.h"

namespace smelt {
namespace {

constexpr size_t kShown = 3;  // nearest names in a message

/// What a class is called before it says what it is for: "Qwen3VL" of
/// "Qwen3VLForConditionalGeneration".
std::string_view StemOf(std::string_view name) {
  for (std::string_view purpose : {"For", "LMHead", "Model"}) {
    if (const size_t at = name.find(purpose); at != 0 && at != std::string_view::npos)
      return name.substr(0, at);
  }
  return name;
}

/// `known`: one name of each family, in the order of KnownFamilies.
absl::Status Unknown(const Config& config, std::string_view what, std::string_view name,
                     std::span<const std::string_view> known) {
  std::vector<std::string_view> stems;
  for (std::string_view one : known) stems.push_back(StemOf(one));
  std::string nearest;
  for (std::string_view stem : NearestNames(StemOf(name), stems, kShown)) {
    const auto at = std::ranges::find(stems, stem) - stems.begin();
    const std::string_view one = known[static_cast<size_t>(at)];
    if (nearest.find(one) == std::string::npos) nearest += Cat(nearest.empty() ? "" : ", ", one);
  }
  return Error(ErrorCode::kUnsupported, config.name(), ": ", what, " ", Escape(name, 80),
               " is not supported; the nearest that are: ", nearest,
               "; `smelt families` lists all");
}

absl::StatusOr<const Family*> ByModelType(const Config& config) {
  SMELT_ASSIGN_OR_RETURN(const auto type, config.Text("model_type"));
  if (!type) {
    return config.Bad("architectures",
                      "is missing, and so is model_type: nothing says what this model is; add its "
                      "class, as `smelt families` lists them");
  }
  std::vector<std::string_view> known;
  for (const Family* family : KnownFamilies()) {
    if (family->model_type == *type) return family;
    known.push_back(family->model_type);
  }
  return Unknown(config, "model_type", *type, known);
}

}  // namespace

absl::StatusOr<const Family*> ChooseFamily(const Config& config) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> names, config.Texts("architectures"));
  if (names.empty()) return ByModelType(config);
  for (const std::string& name : names) {
    if (const Family* family = FindFamily(name)) return family;
  }
  std::vector<std::string_view> known;
  for (const Family* family : KnownFamilies()) known.push_back(family->names[0]);
  return Unknown(config, "architecture", names[0], known);
}

}  // namespace smelt
