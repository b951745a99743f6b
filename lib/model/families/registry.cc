// Every family and architecture by name. Adding one adds a line here.
#include <algorithm>

#include "lib/model/alternatives.h"
#include "lib/model/choose_family.h"
#include "lib/model/families/families.h"

namespace smelt {
namespace {

constexpr const Architecture* kArchitectures[] = {
    &kGemma4Architecture,        &kQwen35Architecture,    &kQwen35MoeArchitecture,
    &kQwen3NextArchitecture,     &kLlamaArchitecture,     &kQwen2Architecture,
    &kQwen2MoeArchitecture,      &kQwen3Architecture,     &kQwen3MoeArchitecture,
    &kGemmaArchitecture,         &kGemma2Architecture,    &kGemma3Architecture,
    &kPhi3Architecture,          &kGpt2Architecture,      &kGptNeoxArchitecture,
    &kStarcoder2Architecture,    &kOlmo2Architecture,     &kGptOssArchitecture,
    &kMambaArchitecture,         &kMamba2Architecture,    &kJambaArchitecture,
    &kSmolLm3Architecture,       &kGraniteArchitecture,   &kCommandRArchitecture,
    &kCohere2Architecture,       &kSeedOssArchitecture,   &kErnie45Architecture,
    &kExaone4Architecture,       &kArceeArchitecture,     &kNemotronArchitecture,
    &kStableLmArchitecture,      &kPhi2Architecture,      &kHunyuanDenseArchitecture,
    &kOlmoArchitecture,          &kOlmoeArchitecture,     &kMistral3Architecture,
    &kQwen2VlArchitecture,       &kQwen3VlArchitecture,   &kQwen3VlMoeArchitecture,
    &kLfm2Architecture,          &kLfm2MoeArchitecture,   &kGraniteMoeArchitecture,
    &kGraniteHybridArchitecture, &kNemotronHArchitecture, &kNemotronHMoeArchitecture,
    &kFalconH1Architecture,      &kDeepseek2Architecture, &kMistral4Architecture,
    &kGlm4Architecture,          &kGlm4MoeArchitecture,   &kMiniMaxM2Architecture,
    &kErnie45MoeArchitecture,    &kDots1Architecture,     &kApertusArchitecture,
    &kStarCoderArchitecture,     &kPhiMoeArchitecture,    &kInternLm2Architecture,
    &kExaoneArchitecture,
};

constexpr const Family* kFamilies[] = {
    &kGemma4Conditional,
    &kGemma4Text,
    &kQwen35,
    &kQwen35Text,
    &kQwen35Moe,
    &kQwen35MoeText,
    &kQwen3Next,
    &kLlama,
    &kMistral,
    &kMinistral,
    &kMixtral,
    &kQwen2,
    &kQwen2Moe,
    &kQwen3,
    &kQwen3Moe,
    &kGemma,
    &kGemma2,
    &kGemma3,
    &kGemma3Conditional,
    &kPhi3,
    &kGpt2,
    &kGptNeox,
    &kStarcoder2,
    &kOlmo2,
    &kGptOss,
    &kMamba,
    &kMamba2,
    &kJamba,
    &kOlmo3,
    &kOlmo,
    &kOlmoe,
    &kSmolLm3,
    &kGranite,
    &kCohere,
    &kCohere2,
    &kSeedOss,
    &kErnie45,
    &kExaone4,
    &kArcee,
    &kNemotron,
    &kStableLm,
    &kPhi,
    &kHunyuanDense,
    &kMistralSmall3,
    &kMinistral3,
    &kMinistral3Text,
    &kQwen2Vl,
    &kQwen25Vl,
    &kQwen3Vl,
    &kQwen3VlMoe,
    &kLfm2,
    &kLfm2Moe,
    &kGraniteMoe,
    &kGraniteMoeShared,
    &kGraniteMoeHybrid,
    &kGraniteHybridMoe,
    &kGraniteHybridDense,
    &kBamba,
    &kNemotronH,
    &kNemotronHMoe,
    &kFalconH1,
    &kFalconMamba,
    &kDeepseekV2,
    &kDeepseekV3,
    &kGlm4MoeLite,
    &kMistral4,
    &kMistral4Conditional,
    &kGlm4,
    &kGlm4Moe,
    &kMiniMaxM2,
    &kErnie45Moe,
    &kDots1,
    &kApertus,
    &kInternLm2,
    &kInternLm3,
    &kGptBigCode,
    &kPhiMoe,
    &kExaone,
};

}  // namespace

const Architecture* FindArchitecture(std::string_view name) {
  for (const Architecture* architecture : kArchitectures) {
    if (architecture->name == name) return architecture;
  }
  return nullptr;
}

std::span<const Family* const> KnownFamilies() { return kFamilies; }

bool HasPartOf(const Family& family, const Config& config) {
  if (family.meant != nullptr && !family.meant(config)) return false;
  if (family.part_type.empty()) return true;
  const JsonValue* part = config.Find(family.part);
  const JsonValue* type = part == nullptr ? nullptr : part->Find("model_type");
  if (part == nullptr || !part->is_object()) return false;
  const bool named = type != nullptr && type->is_string();
  return IsAlternative(family.part_type, named ? std::string_view(*type->as_string()) : "");
}

const Family* FindFamily(std::string_view architecture_name, const Config& config) {
  for (const Family* family : kFamilies) {
    if (std::ranges::find(family->names, architecture_name) != family->names.end() &&
        HasPartOf(*family, config))
      return family;
  }
  return nullptr;
}

bool IsWrittenAsIn2025(const Family& family) {
  constexpr std::string_view kTypes[] = {
      "",           "llama",       "mistral", "ministral", "mixtral",  "qwen2",
      "qwen2_moe",  "qwen3",       "gemma",   "qwen3_moe", "gemma2",   "gemma3",
      "phi3",       "gemma3_text", "gpt2",    "mamba",     "gpt_neox", "olmo2",
      "starcoder2", "jamba",       "gpt_oss", "mamba2"};
  return std::ranges::find(kTypes, family.model_type) != std::end(kTypes);
}

}  // namespace smelt
