#include "lib/model/published_tensors.h"

#include <algorithm>
#include <ranges>

#include "lib/base/status.h"

namespace smelt {
namespace {

// Without influence on any model: buffers that old checkpoints carry along.
constexpr std::string_view kBuffers[] = {".rotary_emb.inv_freq", ".attention.masked_bias",
                                         ".attention.bias",      ".attn.masked_bias",
                                         ".attn.bias",           ".attention.rotary_emb.inv_freq"};
constexpr std::string_view kOtherParts[] = {
    "vision_tower.",   "multi_modal_projector.",   "vision_model.", "audio_tower.",
    "vision_encoder.", "vision_language_adapter.", "patch_merger.", "pre_mm_projector_norm."};

std::string Filled(std::string_view pattern, char mark, uint64_t number) {
  const size_t at = pattern.find(mark);
  if (at == std::string_view::npos) return std::string(pattern);
  return Cat(pattern.substr(0, at), number, pattern.substr(at + 1));
}

bool IsDropped(const FamilyContext& context, const std::string& name) {
  const auto ends = [&name](std::string_view ending) { return name.ends_with(ending); };
  if (std::ranges::any_of(kBuffers, ends)) return true;
  if (std::ranges::any_of(context.family.dropped, ends)) return true;
  return context.hyper.flag("tied") && IsHead(context.family, name);  // the embedding's values
}

bool IsOfOtherPart(const std::string& name) {
  return std::ranges::any_of(kOtherParts, [&](std::string_view part) {
    return name.starts_with(part) || name.find(Cat(".", part)) != std::string::npos;
  });
}

}  // namespace

std::string FilledName(std::string_view sources, uint64_t layer, uint64_t expert) {
  return Filled(Filled(sources.substr(0, sources.find('|')), '*', layer), '#', expert);
}

bool IsHead(const Family& family, std::string_view name) {
  return std::ranges::any_of(std::views::split(family.head, '|'), [name](auto part) {
    return name == std::string_view(part.begin(), part.end());
  });
}

absl::StatusOr<PublishedTensors> PublishedTensors::Make(const Family& family,
                                                        const Container& container) {
  bool has_body = false;
  std::vector<std::string> names;
  for (const RawTensor& tensor : container.tensors) {
    std::string name = tensor.name;
    const size_t at = name.find("language_model.");
    if (at != std::string::npos && (at == 0 || name[at - 1] == '.'))
      name.erase(at, std::string_view("language_model.").size());
    if (!family.outer.empty() && name.starts_with(family.outer)) name.erase(0, family.outer.size());
    has_body |= name.starts_with(family.body);
    names.push_back(std::move(name));
  }
  PublishedTensors published;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!has_body && !IsHead(family, names[i])) names[i] = Cat(family.body, names[i]);
    if (!published.index_.emplace(names[i], &container.tensors[i]).second) {
      return Error(ErrorCode::kInvalidInput, "tensor ", Escape(names[i]),
                   " is there twice under different prefixes");
    }
  }
  return published;
}

const RawTensor* PublishedTensors::Find(std::string_view sources, uint64_t layer, uint64_t expert) {
  while (true) {
    const auto it = index_.find(FilledName(sources, layer, expert));
    if (it != index_.end()) {
      used_.insert(it->second);
      return it->second;
    }
    const size_t bar = sources.find('|');
    if (bar == std::string_view::npos) return nullptr;
    sources.remove_prefix(bar + 1);
  }
}

absl::Status PublishedTensors::CheckAllUsed(FamilyContext& context) const {
  bool other_parts = false;
  const std::string* unknown = nullptr;  // the first in alphabetical order
  for (const auto& [name, tensor] : index_) {
    if (used_.contains(tensor) || IsDropped(context, name)) continue;
    if (IsOfOtherPart(name)) {
      other_parts = true;
    } else if (unknown == nullptr || tensor->name < *unknown) {
      unknown = &tensor->name;
    }
  }
  if (unknown != nullptr) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(*unknown), " is not known to ",
                 context.family.names[0], " with ", context.hyper("layers"), " layers (",
                 context.config.name(), "): leaving it out would change the model");
  }
  if (other_parts) {
    context.notes.push_back(
        "only the text part of this model is used; its vision or audio tensors are left out");
  }
  return absl::OkStatus();
}

}  // namespace smelt
