#include "lib/text/gguf/space_prefix.h"

#include <string>
#include <utility>

namespace smelt {
namespace {

constexpr std::pair<SpacePrefix, std::string_view> kNames[] = {
    {SpacePrefix::kNone, "none"},
    {SpacePrefix::kNormalizer, "normalizer"},
    {SpacePrefix::kAlways, "always"},
    {SpacePrefix::kUnlessPresent, "unless_present"},
    {SpacePrefix::kFirst, "first"}};

}  // namespace

std::string_view NameOf(SpacePrefix prefix) { return kNames[static_cast<size_t>(prefix)].second; }

std::optional<SpacePrefix> SpacePrefixOf(std::string_view name) {
  for (const auto& [prefix, known] : kNames) {
    if (known == name) return prefix;
  }
  return std::nullopt;
}

void AddSpaceSteps(SpacePrefix prefix, bool split, PipelineSpec& spec) {
  const std::string space(kMetaspace);
  if (prefix == SpacePrefix::kAlways) {
    spec.normalizers.emplace_back(Prepend{space});
    spec.normalizers.emplace_back(ReplaceLiteral(" ", space));
  } else if (prefix != SpacePrefix::kNormalizer) {
    const PrependScheme scheme = prefix == SpacePrefix::kNone    ? PrependScheme::kNever
                                 : prefix == SpacePrefix::kFirst ? PrependScheme::kFirst
                                                                 : PrependScheme::kAlways;
    spec.pre_tokenizers = {Metaspace{.scheme = scheme, .split = split}};
  }
  spec.decoders = {ReplaceLiteral(space, " "), ByteFallback(), Fuse()};
  if (prefix != SpacePrefix::kNone) spec.decoders.emplace_back(StripDecoder{" ", 1, 0});
}

}  // namespace smelt
