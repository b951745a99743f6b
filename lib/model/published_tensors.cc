#include "lib/model/published_tensors.h"

#include <algorithm>
#include <charconv>

#include "formats/quantized/stored_matrix.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"
#include "lib/model/alternatives.h"
#include "lib/model/left_out.h"
#include "smelt/nearest.h"

namespace smelt {
namespace {

// Without influence on any model: buffers that old checkpoints carry along.
constexpr std::string_view kBuffers[] = {".rotary_emb.inv_freq", ".attention.masked_bias",
                                         ".attention.bias",      ".attn.masked_bias",
                                         ".attn.bias",           ".attention.rotary_emb.inv_freq"};
constexpr std::string_view kOtherParts[] = {"vision_tower.",
                                            "embed_vision.",
                                            "embed_audio.",
                                            "multi_modal_projector.",
                                            "vision_model.",
                                            "audio_tower.",
                                            "visual.",
                                            "vision_encoder.",
                                            "vision_language_adapter.",
                                            "patch_merger.",
                                            "pre_mm_projector_norm."};
// Heads that give a text a value: of policies trained beside them, of reward models.
constexpr std::string_view kValueHeads[] = {
    "v_head.",  "value_head.", "score.",   "reward_head.", "regression_head.", "critic_head.",
    "rm_head.", "v_head1.",    "v_head2.", "scalar_head.", "value_model_head."};
// Matrices of adapters that were not merged into the weights.
constexpr std::string_view kAdapters[] = {".lora_", ".ia3_", ".vera_", ".hada_", ".lokr_", ".oft_"};

std::string Filled(std::string_view pattern, char mark, uint64_t number) {
  const size_t at = pattern.find(mark);
  if (at == std::string_view::npos) return std::string(pattern);
  return Cat(pattern.substr(0, at), number, pattern.substr(at + 1));
}

/// A tensor of a draft head that is left out: one that is kept must be known.
bool IsOfDraft(const FamilyContext& context, std::string_view bare) {
  if (context.hyper.Has(Param::kDraft)) return false;
  if (bare.starts_with("mtp.") || bare.starts_with("mtp_")) return true;
  constexpr std::string_view kLayers = "layers.";
  if (!bare.starts_with(kLayers)) return false;
  uint64_t layer = 0;
  const std::string_view rest = bare.substr(kLayers.size());
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  const uint64_t layers = context.hyper(Param::kLayers);
  return error == std::errc() && end != rest.data() && layer >= layers &&
         layer - layers < context.draft_blocks;
}

bool IsDropped(const FamilyContext& context, const RawTensor& tensor, std::string_view bare) {
  const std::string name = Cat(".", tensor.name);
  const auto ends = [&name](std::string_view ending) { return name.ends_with(ending); };
  if (std::ranges::any_of(kBuffers, ends)) return true;
  if (std::ranges::any_of(context.family.dropped, ends)) return true;
  return context.hyper.flag(Param::kTied) &&
         IsHead(context.family, bare);  // the embedding's values
}

bool HasComponent(std::string_view name, std::span<const std::string_view> components) {
  return std::ranges::any_of(components, [&](std::string_view component) {
    return name.starts_with(component) || name.find(Cat(".", component)) != std::string_view::npos;
  });
}

bool StartsAs(std::string_view name, std::span<const std::string_view> components) {
  return std::ranges::any_of(
      components, [&](std::string_view component) { return name.starts_with(component); });
}

absl::Status NoPlaceForDraft(const FamilyContext& context) {
  return Error(ErrorCode::kUnsupported, "a GGUF of ", context.family.architecture.name,
               " has no place for the draft head of ", context.family.names[0],
               ": leave it out (--mtp drop)");
}

absl::Status RefuseAdapter(const RawTensor& tensor) {
  return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name),
               " is a matrix of an adapter (LoRA or a relative) that was not merged into the "
               "weights: merge it (peft: model.merge_and_unload()), save, and convert the result");
}

absl::Status RefuseTwice(const RawTensor& a, const RawTensor& b, std::string_view bare) {
  return Error(ErrorCode::kInvalidInput, "tensors ", Escape(std::min(a.name, b.name)), " and ",
               Escape(std::max(a.name, b.name)), " are both ", Escape(bare),
               " under different prefixes: which one counts is not clear");
}

/// A bias that adds nothing, as quantizers write for layers that have none.
bool IsZeroBias(const RawTensor& tensor) {
  constexpr uint64_t kLongest = 1 << 22;
  if (!tensor.name.ends_with(".bias") || tensor.shape.size() != 1) return false;
  const auto values = ReadAllFloats(tensor, kLongest);
  return values.ok() && std::ranges::all_of(*values, [](float value) { return value == 0; });
}

}  // namespace

bool IsOfOtherPart(std::string_view name) { return HasComponent(name, kOtherParts); }

std::string FilledName(std::string_view sources, uint64_t layer, uint64_t expert) {
  return Filled(Filled(Alternatives(sources)[0], '*', layer), '#', expert);
}

bool IsHead(const Family& family, std::string_view name) {
  return IsAlternative(family.head, name);
}

absl::StatusOr<PublishedTensors> PublishedTensors::Make(const Family& family,
                                                        const Container& container,
                                                        std::vector<std::string>& notes) {
  PublishedTensors published(family, container);
  SMELT_RETURN_IF_ERROR(published.Index(notes));
  return published;
}

absl::Status PublishedTensors::Index(std::vector<std::string>& notes) {
  std::vector<std::string_view> all;
  for (const RawTensor& tensor : container_->tensors) all.push_back(tensor.name);
  outermost_ = names_.OutermostWrappers(all);
  struct Found {
    const RawTensor* tensor;
    BareName bare;
  };
  TextMap<std::string, Found> found;
  std::vector<Found> replaced;
  std::string saved;
  for (const RawTensor& tensor : container_->tensors) {
    if (std::ranges::any_of(kAdapters, [&](std::string_view part) {
          return tensor.name.find(part) != std::string::npos;
        }))
      return RefuseAdapter(tensor);
    BareName bare = names_.Bare(tensor.name, outermost_);
    if (!names_.IsWanted(bare.text)) continue;
    if (bare.replaced) {
      replaced.push_back({&tensor, std::move(bare)});
      continue;
    }
    if (!bare.adapter.empty() && (saved.empty() || tensor.name < saved)) saved = tensor.name;
    const auto [it, added] = found.try_emplace(bare.text, Found{&tensor, bare});
    if (!added) return RefuseTwice(*it->second.tensor, tensor, bare.text);
  }
  for (const Found& old : replaced) {
    const auto it = found.find(old.bare.text);
    if (it == found.end()) continue;  // what replaces it is not here: unknown, not used
    if (it->second.bare.adapter.empty())
      return RefuseTwice(*it->second.tensor, *old.tensor, old.bare.text);
    used_.insert(old.tensor);
  }
  if (!saved.empty()) {
    notes.push_back(Cat(Escape(saved), " (PEFT's trained copy of a module) is read in place of ",
                        "the module's original values"));
  }
  for (auto& [bare, entry] : found) index_.emplace(bare, entry.tensor);
  return absl::OkStatus();
}

PublishedTensors PublishedTensors::Imagined(const Family& family, const Container& container,
                                            const TextSet<std::string>& asked) {
  PublishedTensors published(family, container);
  published.asked_ = asked;
  for (const std::string& bare :
       asked) {  // rules are asked for by layer, whichever expert is meant
    for (const TensorRule& rule : family.tensors) {
      if (rule.source.find('#') == std::string_view::npos) continue;
      const auto place = published.names_.PlaceIn(rule.source, bare);
      if (place) published.asked_->insert(published.NameOfAny(rule.source, place->layer));
    }
  }
  return published;
}

std::string PublishedTensors::NameOfAny(std::string_view source, uint64_t layer) const {
  return names_.Bare(Filled(Alternatives(source)[0], '*', layer)).text;
}

bool PublishedTensors::Has(std::string_view sources, uint64_t layer) const {
  return std::ranges::any_of(Alternatives(sources), [&](std::string_view source) {
    return imagined() ? asked_->contains(NameOfAny(source, layer))
                      : index_.contains(names_.Bare(FilledName(source, layer)).text);
  });
}

const RawTensor* PublishedTensors::Imagine(std::string_view sources, uint64_t layer,
                                           uint64_t expert) {
  const std::vector<std::string_view> all = Alternatives(sources);
  const auto it = std::ranges::find_if(all, [&](std::string_view one) { return Has(one, layer); });
  std::string bare = names_.Bare(FilledName(it == all.end() ? all[0] : *it, layer, expert)).text;
  const auto [place, added] = index_.try_emplace(std::move(bare), nullptr);
  if (added) {
    RawTensor& tensor = made_up_.emplace_back();
    tensor.name = place->first;
    place->second = &tensor;
  }
  return place->second;
}

void PublishedTensors::Expect(const RawTensor& tensor, const std::vector<uint64_t>& shape) {
  if (!imagined() || !tensor.shape.empty()) return;
  auto& own = const_cast<RawTensor&>(tensor);  // one of made_up_
  own.shape = shape;
  own.strides = ContiguousStrides(shape);
}

const RawTensor* PublishedTensors::Find(std::string_view sources, uint64_t layer, uint64_t expert) {
  if (imagined()) return Imagine(sources, layer, expert);
  for (const std::string_view source : Alternatives(sources)) {
    const auto it = index_.find(names_.Bare(FilledName(source, layer, expert)).text);
    if (it == index_.end()) continue;
    used_.insert(it->second);
    return it->second;
  }
  return nullptr;
}

std::string PublishedTensors::Nearest(std::string_view name) const {
  std::unordered_set<const RawTensor*> known;
  for (const auto& [bare, tensor] : index_) known.insert(tensor);
  std::vector<std::string_view> unknown, all;
  for (const RawTensor& tensor : container_->tensors) {
    all.push_back(tensor.name);
    if (!known.contains(&tensor)) unknown.push_back(tensor.name);
  }
  const std::vector<std::string_view> nearest =
      NearestNames(name, unknown.empty() ? all : unknown, 1);
  return nearest.empty() ? "" : std::string(nearest[0]);
}

absl::Status PublishedTensors::CheckAllUsed(FamilyContext& context) const {
  LeftOut draft, other_parts, value_heads;
  const std::string* unknown = nullptr;  // the first in alphabetical order
  for (const RawTensor& tensor : container_->tensors) {
    const std::string bare = names_.Bare(tensor.name, outermost_).text;
    if (used_.contains(&tensor) || tensor.elements() == 0 || IsDropped(context, tensor, bare) ||
        IsZeroBias(tensor))
      continue;
    if (IsOfDraft(context, bare)) {
      draft.Add(tensor);
    } else if (IsOfOtherPart(tensor.name)) {
      other_parts.Add(tensor);
    } else if (StartsAs(bare, kValueHeads)) {
      value_heads.Add(tensor);
    } else if (unknown == nullptr || tensor.name < *unknown) {
      unknown = &tensor.name;
    }
  }
  if (unknown != nullptr) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(*unknown), " is not known to ",
                 context.family.names[0], " with ", context.hyper(Param::kLayers), " layers (",
                 context.config.name(), "): leaving it out would change the model");
  }
  if (draft.any() && context.wants_draft) return NoPlaceForDraft(context);
  for (const auto& [part, what] :
       {std::pair(&value_heads, "a head that gives texts a value has no part in writing them"),
        std::pair(&draft, "the draft head (multi-token prediction) has no part in ordinary text"),
        std::pair(&other_parts,
                  "only the text part of this model is used, not its vision or "
                  "audio")}) {
    if (part->any()) context.notes.push_back(Cat(what, ": left out are ", part->ToText()));
  }
  return absl::OkStatus();
}

}  // namespace smelt
