#include "lib/model/published_tensors.h"

#include <algorithm>
#include <charconv>

#include "formats/quantized/stored_matrix.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"
#include "lib/model/alternatives.h"
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
  if (!context.family.draft.prefix.empty()) return bare.starts_with(context.family.draft.prefix);
  constexpr std::string_view kLayers = "layers.";
  if (!bare.starts_with(kLayers)) return false;
  uint64_t layer = 0;
  for (size_t i = kLayers.size(); i < bare.size() && bare[i] >= '0' && bare[i] <= '9'; ++i)
    layer = std::min<uint64_t>(layer * 10 + static_cast<uint64_t>(bare[i] - '0'), 1 << 24);
  return layer >= context.hyper(Param::kLayers);
}

bool IsDropped(const FamilyContext& context, const RawTensor& tensor, std::string_view bare) {
  const std::string name = Cat(".", tensor.name);
  const auto ends = [&name](std::string_view ending) { return name.ends_with(ending); };
  if (std::ranges::any_of(kBuffers, ends)) return true;
  if (std::ranges::any_of(context.family.dropped, ends)) return true;
  if (context.family.draft.mark != "" && IsOfDraft(context, bare)) return true;
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

/// Whether a tensor is of a draft head: "layers.N." with N behind the last layer, or "mtp.".
bool IsDraft(const FamilyContext& context, std::string_view bare) {
  constexpr std::string_view kLayers = "layers.";
  if (bare.starts_with("mtp.")) return true;
  if (!bare.starts_with(kLayers)) return false;
  uint64_t layer = 0;
  const std::string_view rest = bare.substr(kLayers.size());
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  return error == std::errc() && end != rest.data() && layer >= context.hyper(Param::kLayers);
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

const RawTensor* PublishedTensors::Find(std::string_view sources, uint64_t layer, uint64_t expert) {
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
  bool other_parts = false, draft_layers = false;
  const std::string* unknown = nullptr;  // the first in alphabetical order
  const std::string* value_head = nullptr;
  for (const RawTensor& tensor : container_->tensors) {
    const std::string bare = names_.Bare(tensor.name, outermost_).text;
    if (used_.contains(&tensor) || tensor.elements() == 0 || IsDropped(context, tensor, bare) ||
        IsZeroBias(tensor))
      continue;
    const std::string** const first = StartsAs(bare, kValueHeads) ? &value_head : &unknown;
    if (context.family.drops_draft_layers && IsDraft(context, bare)) {
      draft_layers = true;
    } else if (HasComponent(tensor.name, kOtherParts)) {
      other_parts = true;
    } else if (*first == nullptr || tensor.name < **first) {
      *first = &tensor.name;
    }
  }
  if (unknown != nullptr) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(*unknown), " is not known to ",
                 context.family.names[0], " with ", context.hyper(Param::kLayers), " layers (",
                 context.config.name(), "): leaving it out would change the model");
  }
  if (value_head != nullptr) {
    context.notes.push_back(Cat(Escape(*value_head),
                                " belongs to a head that gives texts a value; it is left out, "
                                "since it has no part in writing them"));
  }
  if (draft_layers) {
    context.notes.push_back(
        "the layers behind the last one draft several tokens at once (multi-token prediction); "
        "they are left out, since they have no part in ordinary text");
  }
  if (other_parts) {
    context.notes.push_back(
        "only the text part of this model is used; its vision or audio tensors are left out");
  }
  return absl::OkStatus();
}

}  // namespace smelt
