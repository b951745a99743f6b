#include "quant/presets.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>

#include "lib/base/status.h"
#include "quant/preset_rules.h"
#include "quant/type_options.h"

namespace smelt {
namespace {

using enum TensorType;

const std::vector<Preset>& Presets() {
  static const std::vector<Preset> presets = {
      {"F32", 0, kF32},          {"F16", 1, kF16},          {"BF16", 32, kBF16},
      {"Q8_0", 7, kQ8_0},        {"Q6_K", 18, kQ6_K},       {"Q5_K_M", 17, kQ5_K},
      {"Q5_K_S", 16, kQ5_K},     {"Q5_1", 9, kQ5_1},        {"Q5_0", 8, kQ5_0},
      {"Q4_K_M", 15, kQ4_K},     {"Q4_K_S", 14, kQ4_K},     {"Q4_1", 3, kQ4_1},
      {"Q4_0", 2, kQ4_0},        {"IQ4_NL", 25, kIQ4_NL},   {"IQ4_XS", 30, kIQ4_XS},
      {"NVFP4", 39, kNVFP4},     {"MXFP4_MOE", 38, kMXFP4}, {"Q3_K_L", 13, kQ3_K},
      {"Q3_K_M", 12, kQ3_K},     {"Q3_K_S", 11, kQ3_K},     {"IQ3_M", 27, kIQ3_S},
      {"IQ3_S", 26, kIQ3_S},     {"IQ3_XS", 22, kIQ3_S},    {"IQ3_XXS", 23, kIQ3_XXS},
      {"Q2_K", 10, kQ2_K},       {"Q2_K_S", 21, kQ2_K},     {"Q2_0", 41, kQ2_0},
      {"IQ2_M", 29, kIQ2_S},     {"IQ2_S", 28, kIQ2_XS},    {"IQ2_XS", 20, kIQ2_XS},
      {"IQ2_XXS", 19, kIQ2_XXS}, {"TQ2_0", 37, kTQ2_0},     {"TQ1_0", 36, kTQ1_0},
      {"IQ1_M", 31, kIQ1_M},     {"IQ1_S", 24, kIQ1_S},     {"Q1_0", 40, kQ1_0},
  };
  return presets;
}

char UpperChar(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
char LowerChar(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), LowerChar);
  return lower;
}

std::string LowerName(TensorType type) { return Lower(Info(type).name); }

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// N of "blk.N."; -1 for other names.
int64_t LayerOf(std::string_view name) {
  if (!name.starts_with("blk.")) return -1;
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return error == std::errc() && end != name.data() + name.size() && *end == '.' ? layer : -1;
}

/// llama-quantize's order: tensors outside of layers first, then by layer, then by name.
std::vector<size_t> SortedOrder(const ModelShape& shape) {
  std::vector<size_t> order(shape.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<int64_t> layers;
  layers.reserve(order.size());
  for (const ShapeTensor& tensor : shape.tensors) layers.push_back(LayerOf(tensor.name));
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tie(layers[a], shape.tensors[a].name) < std::tie(layers[b], shape.tensors[b].name);
  });
  return order;
}

bool HasRule(const ModelShape& shape, const ShapeTensor& tensor, ArchitectureRule::Effect effect) {
  return std::ranges::any_of(ArchitectureRules(), [&](const ArchitectureRule& rule) {
    return rule.effect == effect && rule.architecture == shape.architecture &&
           Contains(tensor.name, rule.part);
  });
}

/// Empty when the presets may change the tensor's type, else why they leave it.
std::string_view WhyKept(const ModelShape& shape, const ShapeTensor& tensor,
                         const PresetOptions& options) {
  int dims = 4;
  while (dims > 0 && tensor.ne[dims - 1] == 1) --dims;
  if (dims < 2) return "one-dimensional tensors keep their type";
  if (!tensor.name.ends_with("weight")) return "only weights change their type";
  for (std::string_view part : KeptNames()) {
    if (Contains(tensor.name, part)) return "tensors of this name keep their type";
  }
  if (tensor.name == "position_embd.weight" || tensor.name == "token_types.weight" ||
      HasRule(shape, tensor, ArchitectureRule::kKept)) {
    return "tensors of this name keep their type";
  }
  if (options.leave_output_tensor && tensor.name == "output.weight") return "output left as it is";
  return "";
}

/// Models that the reference takes for 70B ones; their attn_v gets Q5_K instead of 3 or 4 bits.
bool IsLarge(const ModelShape& shape) {
  const std::string& a = shape.architecture;
  if (shape.layers == 80) {
    return (a == "llama" && shape.heads != shape.kv_heads) || a == "qwen2" || a == "deci" ||
           a == "olmo";
  }
  return shape.layers == 68 && a == "jais2";
}

/// Decides the tensors of one model in the reference's order, counting the tensors of each role.
class Chooser {
 public:
  Chooser(const ModelShape& shape, const Preset& preset, const PresetOptions& options,
          const TypeOptions& named)
      : shape_(shape), preset_(preset), options_(options), named_(named) {
    preset_prefix_ = Lower(preset.name) + ": ";
    context_.layers = shape.layers;
    context_.experts = shape.experts;
    context_.gqa = shape.kv_heads == 0 ? 0 : shape.heads / shape.kv_heads;
    context_.falcon = shape.architecture == "falcon";
    context_.importance = options.with_importance;
    tied_ = true;
    for (const ShapeTensor& tensor : shape.tensors) {
      if (tensor.name == "output.weight") tied_ = false;
      if (RoleOf(tensor.name) == Role::kValue) ++context_.value_count;
    }
  }

  /// Of tensor number `i`.
  TypeChoice Choose(size_t i) {
    const ShapeTensor& tensor = shape_.tensors[i];
    if (const std::string_view kept = WhyKept(shape_, tensor, options_); !kept.empty()) {
      TypeChoice choice{tensor.type, std::string(kept)};
      choice.kept = true;
      return choice;
    }
    if (!Info(preset_.base).quantized) return {preset_.base, preset_prefix_ + "every weight"};
    const std::optional<TypeChoice> direct = DirectOption(i);
    TypeChoice choice = direct ? *direct : BeforeShape(i);
    if (tensor.ne[0] % Info(choice.type).block_elements != 0) Fit(tensor, choice);
    return choice;
  }

 private:
  /// The options that name tensor `i` itself; they win over everything, but for a pattern that
  /// means the table of per-layer embeddings.
  std::optional<TypeChoice> DirectOption(size_t i) const {
    const std::string& name = shape_.tensors[i].name;
    const Role role = RoleOf(name);
    if (role == Role::kOutput && named_.output) return ByOption(*named_.output);
    const bool meant = name == "per_layer_token_embd.weight" && named_.pattern[i];
    if (role == Role::kEmbedding && named_.embedding && !meant) return ByOption(*named_.embedding);
    return std::nullopt;
  }

  TypeChoice ByOption(size_t number) const {
    const TypeOption& option = named_.all[number];
    TypeChoice choice{option.type, option.reason};
    choice.option = option.text;
    return choice;
  }

  TypeChoice BeforeShape(size_t i) {
    const ShapeTensor& tensor = shape_.tensors[i];
    const std::optional<size_t> pattern = named_.pattern[i];
    if (options_.pure) return pattern ? ByOption(*pattern) : TypeChoice{preset_.base, "--pure"};
    Role role = RoleOf(tensor.name);
    const bool tied = role == Role::kEmbedding && tied_;
    if (tied) {
      role = Role::kOutput;
      if (named_.output) {
        TypeChoice choice = ByOption(*named_.output);
        choice.why += ", tied embeddings";
        return choice;
      }
    }
    if (pattern) return ByOption(*pattern);
    TypeChoice choice = ByRules(tensor, role);
    if (tied) choice.why += ", tied embeddings";
    return choice;
  }

  TypeChoice ByRules(const ShapeTensor& tensor, Role role) {
    if (HasRule(shape_, tensor, ArchitectureRule::kAtLeastQ8))
      return {kQ8_0, preset_prefix_ + "no tensor of this name has fewer bits"};
    SetIndex(tensor, role);
    // In this architecture the matrices of latent attention are stacked, too.
    const bool expert = role == Role::kUp || role == Role::kGate || role == Role::kDown;
    context_.stacked = tensor.ne[2] > 1 && (shape_.architecture != "bailingmoe3" || expert);
    context_.whole_base_blocks = tensor.ne[0] % Info(preset_.base).block_elements == 0;
    const uint64_t bit = uint64_t{1} << preset_.file_type;
    const bool moe = static_cast<FileType>(preset_.file_type) == FileType::kMXFP4_MOE;
    const bool ends = role == Role::kOutput || role == Role::kEmbedding;
    if (moe && !ends) role = Role::kOther;
    TypeChoice choice{preset_.base, preset_prefix_ + "base type"};
    for (const PresetRule& rule : PresetRules()) {
      if ((rule.presets & bit) == 0 || rule.role != role || !rule.when(context_)) continue;
      choice = {rule.type, preset_prefix_ + std::string(rule.why)};
      break;
    }
    const bool narrow = choice.type == kQ3_K || choice.type == kQ4_K;
    if (role == Role::kValue && !IsLowPreset() && narrow && IsLarge(shape_)) {
      choice = {kQ5_K, preset_prefix_ + "attn_v of a 70B model"};
    }
    return choice;
  }

  bool IsLowPreset() const {
    return preset_.base == kIQ1_S || preset_.base == kIQ1_M || preset_.base == kIQ2_XXS ||
           preset_.base == kIQ2_XS || preset_.base == kIQ2_S;
  }

  /// Counts the tensor in its role and sets what the rules ask about its place.
  void SetIndex(const ShapeTensor& tensor, Role role) {
    const int64_t running = counts_[role]++;
    context_.index = running;
    if (role == Role::kValue) context_.value_index = running;
    const bool layered = role == Role::kDown || role == Role::kGate || role == Role::kUp;
    if (layered && shape_.experts > 1 && !IsLowPreset()) context_.index = LayerOf(tensor.name);
  }

  /// Puts another type in the place of one whose blocks do not divide the rows. The reference
  /// aborts where an option gave that one.
  static void Fit(const ShapeTensor& tensor, TypeChoice& choice) {
    choice.misfit = choice.type;
    TensorType instead = kF16;
    for (const ShapeFallback& fallback : ShapeFallbacks()) {
      if (fallback.chosen != choice.type) continue;
      if (tensor.ne[0] % Info(fallback.instead).block_elements == 0) instead = fallback.instead;
    }
    choice.why = Cat("columns ", tensor.ne[0], " are no multiple of ",
                     Info(choice.type).block_elements, ": ", LowerName(instead), " instead of ",
                     LowerName(choice.type), " (", choice.why, ")");
    choice.type = instead;
  }

  const ModelShape& shape_;
  const Preset& preset_;
  const PresetOptions& options_;
  const TypeOptions& named_;
  std::string preset_prefix_;
  RuleContext context_;
  std::map<Role, int64_t> counts_;
  bool tied_ = false;
};

}  // namespace

const std::vector<Preset>& AllPresets() { return Presets(); }

const Preset* FindPreset(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(), UpperChar);
  if (upper == "Q3_K" || upper == "Q4_K" || upper == "Q5_K") upper += "_M";
  uint32_t number = 0;
  const char* end = upper.data() + upper.size();
  const auto [stop, error] = std::from_chars(upper.data(), end, number);
  const bool is_number = !upper.empty() && error == std::errc() && stop == end;
  for (const Preset& preset : Presets()) {
    if (is_number ? preset.file_type == number : preset.name == upper) return &preset;
  }
  return nullptr;
}

absl::StatusOr<std::vector<TypeChoice>> ChooseTypes(const ModelShape& shape, const Preset& preset,
                                                    const PresetOptions& options,
                                                    std::vector<std::string>* warnings) {
  SMELT_ASSIGN_OR_RETURN(const TypeOptions named, MatchTypeOptions(shape, options));
  Chooser chooser(shape, preset, options, named);
  std::vector<TypeChoice> choices(shape.tensors.size());
  for (const size_t i : SortedOrder(shape)) choices[i] = chooser.Choose(i);
  if (warnings != nullptr) *warnings = TypeOptionWarnings(shape, named, choices);
  return choices;
}

absl::Status ChangeNamed(const ModelShape& shape, const PresetOptions& options,
                         std::vector<TypeChoice>& choices, std::vector<std::string>& warnings) {
  SMELT_ASSIGN_OR_RETURN(const TypeOptions named, MatchTypeOptions(shape, options));
  for (size_t i = 0; i < choices.size(); ++i) {
    if (!named.pattern[i]) continue;
    const ShapeTensor& tensor = shape.tensors[i];
    const TypeOption& option = named.all[*named.pattern[i]];
    choices[i].kept = !WhyKept(shape, tensor, options).empty();
    if (choices[i].kept) continue;
    choices[i].option = option.text;
    if (tensor.ne[0] % Info(option.type).block_elements != 0) {
      choices[i].misfit = option.type;
      continue;
    }
    choices[i].type = option.type;
    choices[i].why = option.reason;
  }
  for (std::string& warning : TypeOptionWarnings(shape, named, choices))
    warnings.push_back(std::move(warning));
  return absl::OkStatus();
}

}  // namespace smelt
