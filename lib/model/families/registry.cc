// Every family and architecture by name. Adding one adds a line here.
#include "lib/model/choose_family.h"
#include "lib/model/families/families.h"

namespace smelt {
namespace {

constexpr const Architecture* kArchitectures[] = {
    &kLlamaArchitecture,   &kQwen2Architecture,        &kQwen2MoeArchitecture,
    &kQwen3Architecture,   &kQwen3MoeArchitecture,     &kGemmaArchitecture,
    &kGemma2Architecture,  &kGemma3Architecture,       &kPhi3Architecture,
    &kGpt2Architecture,    &kGptNeoxArchitecture,      &kStarcoder2Architecture,
    &kOlmo2Architecture,   &kGptOssArchitecture,       &kMambaArchitecture,
    &kMamba2Architecture,  &kJambaArchitecture,        &kSmolLm3Architecture,
    &kGraniteArchitecture, &kCommandRArchitecture,     &kCohere2Architecture,
    &kSeedOssArchitecture, &kErnie45Architecture,      &kExaone4Architecture,
    &kArceeArchitecture,   &kNemotronArchitecture,     &kStableLmArchitecture,
    &kPhi2Architecture,    &kHunyuanDenseArchitecture, &kOlmoeArchitecture,
};

constexpr const Family* kFamilies[] = {
    &kLlama,   &kMistral,  &kMinistral, &kMixtral,    &kQwen2,        &kQwen2Moe,
    &kQwen3,   &kQwen3Moe, &kGemma,     &kGemma2,     &kGemma3,       &kGemma3Conditional,
    &kPhi3,    &kGpt2,     &kGptNeox,   &kStarcoder2, &kOlmo2,        &kGptOss,
    &kMamba,   &kMamba2,   &kJamba,     &kOlmo3,      &kOlmoe,        &kSmolLm3,
    &kGranite, &kCohere,   &kCohere2,   &kSeedOss,    &kErnie45,      &kExaone4,
    &kArcee,   &kNemotron, &kStableLm,  &kPhi,        &kHunyuanDense,
};

}  // namespace

const Architecture* FindArchitecture(std::string_view name) {
  for (const Architecture* architecture : kArchitectures) {
    if (architecture->name == name) return architecture;
  }
  return nullptr;
}

std::span<const Family* const> KnownFamilies() { return kFamilies; }

const Family* FindFamily(std::string_view architecture_name) {
  for (const Family* family : kFamilies) {
    for (std::string_view name : family->names) {
      if (name == architecture_name) return family;
    }
  }
  return nullptr;
}

}  // namespace smelt
