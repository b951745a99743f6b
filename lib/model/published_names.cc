#include "lib/model/published_names.h"

#include <algorithm>
#include <charconv>

#include "lib/base/cat.h"
#include "lib/model/alternatives.h"

namespace smelt {
namespace {

// Components of a path that say who holds a module, not which it is.
constexpr std::string_view kWrappers[] = {
    "_orig_mod",                   // torch.compile
    "_orig_module",                // torch.compile of a single module, Intel's extension
    "module",                      // DataParallel, DistributedDataParallel, DeepSpeed
    "_fsdp_wrapped_module",        // FullyShardedDataParallel
    "_checkpoint_wrapped_module",  // activation checkpointing
    "_forward_module",             // Lightning's Fabric
    "base_model",                  // PEFT
    "base_layer",                  // a layer that PEFT has given an adapter
    "token_adapter",               // an embedding of which PEFT has trained some rows
    "pretrained_model",            // TRL
    "language_model",              // the text part of a multimodal model
    "model",                       // most classes; doubled by whoever wraps one
};

constexpr std::string_view kSaved = "modules_to_save", kOriginal = "original_module";

std::vector<std::string_view> Components(std::string_view name) { return SplitAt(name, '.'); }

bool IsNumber(std::string_view component) {
  return !component.empty() && component.find_first_not_of("0123456789") == std::string_view::npos;
}

/// Layers and experts, numbers or marks, as '*'.
std::string WithoutNumbers(std::string_view bare) {
  std::string text;
  for (std::string_view component : Components(bare)) {
    const bool number = component == "#" || IsNumber(component);
    text += Cat(text.empty() ? "" : ".", number ? "*" : component);
  }
  return text;
}

}  // namespace

std::string BiasOf(std::string_view name) {
  return Cat(name.substr(0, name.rfind(".weight")), ".bias");
}

std::string BiasesOf(std::string_view sources) {
  std::string biases;
  for (const std::string_view source : Alternatives(sources))
    biases += Cat(biases.empty() ? "" : "|", BiasOf(source));
  return biases;
}

std::string DraftName(const DraftHead& draft, std::string_view sources,
                      std::optional<uint64_t> number) {
  constexpr std::string_view kBody = "model.";
  std::string names;
  for (std::string_view name : Alternatives(sources)) {
    std::string own(name);
    if (!draft.prefix.empty() && name.starts_with("model.layers."))
      own = Cat(draft.prefix, name.substr(kBody.size()));
    const size_t mark = own.find('*');
    if (number && mark != std::string::npos) own.replace(mark, 1, Cat(*number));
    names += Cat(names.empty() ? "" : "|", own);
  }
  return names;
}

PublishedNames::PublishedNames(const Family& family) {
  for (std::string_view prefix : {family.body, family.outer}) {
    for (std::string_view component : Components(prefix)) {
      if (!component.empty()) own_.push_back(component);
    }
  }
  for (const TensorRule& rule : family.tensors) WantRule(rule, nullptr);
  const DraftHead& draft = family.draft;
  for (const TensorRule& rule : draft.tensors) WantRule(rule, nullptr);
  if (!draft.mark.empty()) Want(draft.mark);
  if (!draft.prefix.empty())
    for (const TensorRule& rule : family.tensors) WantRule(rule, &draft);
  Want(family.head);
}

void PublishedNames::WantRule(const TensorRule& rule, const DraftHead* draft) {
  const auto name_of = [draft](std::string_view sources) {
    return draft == nullptr ? std::string(sources) : DraftName(*draft, sources);
  };
  Want(name_of(rule.source));
  for (const std::string_view other : {rule.fused, rule.mlx}) {
    if (!other.empty()) Want(name_of(other));
  }
  if (rule.bias == Param::kNone) return;
  for (const std::string_view weights : {rule.source, rule.mlx}) {
    if (!weights.empty()) Want(BiasesOf(name_of(weights)));
  }
}

void PublishedNames::Want(std::string_view sources) {
  for (const std::string_view name : Alternatives(sources))
    wanted_.insert(WithoutNumbers(Bare(name).text));
}

bool PublishedNames::IsWrapper(std::string_view component) const {
  return std::ranges::find(kWrappers, component) != std::end(kWrappers) ||
         std::ranges::find(own_, component) != own_.end();
}

BareName PublishedNames::Bare(std::string_view name, size_t outermost) const {
  BareName bare;
  const std::vector<std::string_view> components = Components(name);
  for (size_t i = outermost; i < components.size(); ++i) {
    if (components[i] == kSaved && i + 2 < components.size()) {
      bare.adapter = components[++i];
    } else if (components[i] == kSaved) {  // saved without the adapter's name
      bare.adapter = kSaved;
    } else if (components[i] == kOriginal) {
      bare.replaced = true;
    } else if (!IsWrapper(components[i])) {
      bare.text += Cat(bare.text.empty() ? "" : ".", components[i]);
    }
  }
  return bare;
}

std::optional<TensorPlace> PublishedNames::PlaceIn(std::string_view sources,
                                                   std::string_view bare) const {
  const std::vector<std::string_view> name = Components(bare);
  for (const std::string_view source : Alternatives(sources)) {
    const std::string pattern = Bare(source).text;
    const std::vector<std::string_view> wanted = Components(pattern);
    if (wanted.size() != name.size()) continue;
    TensorPlace place;
    const auto fits = [&](size_t i) {
      if (wanted[i] != "*" && wanted[i] != "#") return wanted[i] == name[i];
      uint64_t& number = wanted[i] == "*" ? place.layer : place.expert;
      const auto [end, error] =
          std::from_chars(name[i].data(), name[i].data() + name[i].size(), number);
      return error == std::errc() && end == name[i].data() + name[i].size();
    };
    size_t i = 0;
    while (i < name.size() && fits(i)) ++i;
    if (i == name.size()) return place;
  }
  return std::nullopt;
}

bool PublishedNames::IsWanted(std::string_view bare) const {
  return wanted_.contains(WithoutNumbers(bare));
}

size_t PublishedNames::OutermostWrappers(const std::vector<std::string_view>& names) const {
  if (names.empty()) return 0;
  const std::vector<std::string_view> first = Components(names[0]);
  size_t common = first.size() - 1;
  for (std::string_view name : names) {
    if (IsWanted(Bare(name).text)) return 0;
    const std::vector<std::string_view> other = Components(name);
    const auto end = first.begin() + static_cast<std::ptrdiff_t>(common);
    common = static_cast<size_t>(
        std::mismatch(first.begin(), end, other.begin(), other.end()).first - first.begin());
  }
  for (size_t outermost = 1; outermost <= common; ++outermost) {
    const bool any = std::ranges::any_of(
        names, [&](std::string_view name) { return IsWanted(Bare(name, outermost).text); });
    if (any) return outermost;
  }
  return 0;
}

}  // namespace smelt
