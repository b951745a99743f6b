#include "lib/model/lora_asked.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <vector>

#include "lib/base/status.h"

namespace smelt {
namespace {

/// Parameters of a class of experts in the order in which it makes them, in which PEFT wraps them:
/// the first innermost.
constexpr std::string_view kExpertParameters[] = {"gate_up_proj", "gate_up_proj_bias", "down_proj",
                                                  "down_proj_bias"};
constexpr std::string_view kWrapped = ".base_layer";

auto Order(std::string_view parameter) {
  return std::ranges::find(kExpertParameters, parameter) - std::begin(kExpertParameters);
}

absl::Status NoPlace(const LoraAdapter& adapter, const std::string& tensor) {
  return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor, 120), " of the adapter ",
               Escape(adapter.path, 80),
               " has no place in the base: leaving it out would change the model");
}

}  // namespace

TextSet<std::string> AskedTensors::Names() const {
  TextSet<std::string> names;
  for (const auto& entry : modules) names.insert(entry.first);
  for (const auto& entry : whole) names.insert(entry.first);
  for (const auto& entry : biases) names.insert(entry.first);
  return names;
}

absl::StatusOr<std::string> LoraParameter(const LoraConfig& config, const std::string& path,
                                          const std::string& module) {
  std::string inner = module;
  size_t depth = 0;
  for (; inner.ends_with(kWrapped); ++depth) inner.resize(inner.size() - kWrapped.size());
  std::vector<std::string> own;
  for (const std::string& target : config.TargetParameters()) {
    const size_t at = target.rfind('.');
    const std::string owner = at == target.npos ? "" : target.substr(0, at);
    if (owner.empty() || inner == owner || inner.ends_with(Cat(".", owner)))
      own.push_back(at == target.npos ? target : target.substr(at + 1));
  }
  std::ranges::sort(own, [](const auto& a, const auto& b) {
    return Order(a) != Order(b) ? Order(a) < Order(b) : a < b;
  });
  own.erase(std::unique(own.begin(), own.end()), own.end());
  if (own.empty()) return std::string();
  const bool known = own.size() == 1 || Order(own.back()) != std::ssize(kExpertParameters);
  if (depth < own.size() && known) return own[own.size() - 1 - depth];
  return Error(ErrorCode::kUnsupported, "the adapter ", Escape(path, 80), ": which of ", own.size(),
               " parameters (target_parameters) ", Escape(module, 120),
               " adapts is not clear; merge it with peft (merge_and_unload)");
}

std::string ParameterName(std::string_view module, std::string_view parameter) {
  while (module.ends_with(kWrapped)) module.remove_suffix(kWrapped.size());
  return Cat(module, ".", parameter);
}

absl::StatusOr<AskedTensors> AskedBy(const PublishedNames& names, const LoraAdapter& adapter,
                                     const LoraParts& parts) {
  AskedTensors asked;
  for (const RawTensor* tensor : parts.whole) {
    const BareName name = names.Bare(tensor->name);
    if (name.replaced) continue;
    if (!names.IsWanted(name.text)) return NoPlace(adapter, tensor->name);
    asked.whole.emplace(name.text, tensor);
  }
  for (const auto& [name, module] : parts.modules) {
    std::string bare = names.Bare(Cat(name, ".weight")).text, called = name;
    if (!names.IsWanted(bare)) {
      SMELT_ASSIGN_OR_RETURN(const std::string parameter,
                             LoraParameter(adapter.config, adapter.path, name));
      const RawTensor* any = module.a != nullptr ? module.a : module.tokens;
      called = ParameterName(name, parameter);
      bare = names.Bare(called).text;
      if (parameter.empty() || !names.IsWanted(bare)) return NoPlace(adapter, any->name);
    }
    if (module.bias != nullptr) asked.biases.emplace(BiasOf(bare), AskedModule{called, &module});
    asked.modules.emplace(std::move(bare), AskedModule{called, &module});
  }
  return asked;
}

}  // namespace smelt
