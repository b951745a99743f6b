#include "lib/model/quantized.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

/// Endings of tensors that only a quantized module has.
struct Mark {
  std::string_view ending, format;
};
constexpr Mark kMarks[] = {
    {".g_idx", "GPTQ"},
    {".qweight", "GPTQ or AWQ"},
    {".bitsandbytes__nf4", "bitsandbytes NF4"},
    {".bitsandbytes__fp4", "bitsandbytes FP4"},
    {".weight.absmax", "bitsandbytes 4 bits"},
    {".SCB", "bitsandbytes 8 bits"},
    {".weight_packed", "compressed-tensors"},
    {".biases", "MLX"},
    {".weight_blocks", "MXFP4"},
    {"_proj_blocks", "MXFP4"},
    {".weight_scale_inv", "FP8"},
    {".weight_scale", "FP8"},
    {".W_q", "HQQ"},
    {".codebooks", "AQLM"},
    {".weight._data", "quanto"},
};

/// Values of quant_method that say how weights were stored and leave the mathematics alone: beside
/// plain weights they are left-overs. BitNet's layers compute in another way, so it is not here.
constexpr std::string_view kMethods[] = {"bitsandbytes",
                                         "gptq",
                                         "awq",
                                         "aqlm",
                                         "vptq",
                                         "quanto",
                                         "eetq",
                                         "higgs",
                                         "hqq",
                                         "fbgemm_fp8",
                                         "spqr",
                                         "fp8",
                                         "quark",
                                         "fp_quant",
                                         "auto-round",
                                         "mxfp4",
                                         "nvfp4",
                                         "mxfp8",
                                         "metal",
                                         "torchao",
                                         "compressed-tensors",
                                         "mlx",
                                         "marlin",
                                         "autoround",
                                         "intel/auto-round",
                                         "modelopt"};

bool IsFloat(RawType type) {
  return type == RawType::kF64 || type == RawType::kF32 || type == RawType::kF16 ||
         type == RawType::kBF16;
}

struct Evidence {
  std::string format;
  const RawTensor* tensor = nullptr;
};

/// What the names say; a matrix of MLX lies beside its scales.
std::optional<Evidence> ByNames(const Container& container) {
  TextSet<std::string_view> scales;
  std::optional<Evidence> best;
  const Mark* best_mark = std::end(kMarks);
  for (const RawTensor& tensor : container.tensors) {
    if (tensor.name.ends_with(".scales")) scales.insert(tensor.name);
    const Mark* const mark = std::ranges::find_if(
        kMarks, [&](const Mark& known) { return tensor.name.ends_with(known.ending); });
    if (mark < best_mark) {
      best_mark = mark;
      best = Evidence{std::string(mark->format), &tensor};
    }
  }
  if (best) return best;
  for (const RawTensor& tensor : container.tensors) {
    constexpr std::string_view kWeight = ".weight";
    if (tensor.dtype != RawType::kU32 || !tensor.name.ends_with(kWeight)) continue;
    const std::string stem = tensor.name.substr(0, tensor.name.size() - kWeight.size());
    if (scales.contains(Cat(stem, ".scales"))) return Evidence{"MLX", &tensor};
  }
  return std::nullopt;
}

/// What the element types say.
const RawTensor* NotFloat(const Container& container) {
  const auto it = std::ranges::find_if(container.tensors, [](const RawTensor& tensor) {
    return tensor.shape.size() >= 2 && tensor.name.ends_with(".weight") && !IsFloat(tensor.dtype);
  });
  return it == container.tensors.end() ? nullptr : &*it;
}

/// The dictionary of a configuration: transformers' key, or MLX's own.
const JsonValue* Dictionary(const Config& config, std::string& key) {
  for (std::string_view name : {"quantization_config", "quantization", "compression_config"}) {
    if (const JsonValue* value = config.Find(name)) {
      key = name;
      return value;
    }
  }
  return config.Outer() == nullptr ? nullptr : Dictionary(*config.Outer(), key);
}

/// The method's name; empty where the dictionary is empty.
std::string Method(const JsonValue& dictionary, std::string_view key) {
  const JsonValue* method = dictionary.FindNonNull("quant_method");
  if (method != nullptr && method->as_string() != nullptr) return *method->as_string();
  if (method != nullptr) return method->ToText();
  const JsonValue::Object* members = dictionary.as_object();
  if (members != nullptr && members->empty()) return "";
  for (std::string_view name : {"load_in_4bit", "load_in_8bit"}) {
    if (dictionary.FindNonNull(name) != nullptr) return "bitsandbytes";
  }
  const bool grouped =
      dictionary.FindNonNull("group_size") != nullptr && dictionary.FindNonNull("bits") != nullptr;
  if (grouped) return "mlx";
  return key == "compression_config" ? "compressed-tensors" : dictionary.ToText();
}

/// ", 4 bits in groups of 64", as far as the dictionary says.
std::string Sizes(const JsonValue* dictionary) {
  const auto number = [&](std::string_view name) -> std::optional<int64_t> {
    const JsonValue* value = dictionary == nullptr ? nullptr : dictionary->FindNonNull(name);
    return value == nullptr ? std::nullopt : value->as_int();
  };
  const auto bits = number("bits"), group = number("group_size");
  if (!bits) return "";
  return Cat(", ", *bits, " bits",
             group && *group > 0 ? Cat(" in groups of ", *group) : std::string());
}

}  // namespace

absl::Status CheckNotQuantized(const Config& config, const Container& container,
                               std::vector<std::string>& notes) {
  std::string key;
  const JsonValue* dictionary = Dictionary(config, key);
  const std::string method = dictionary == nullptr ? "" : Method(*dictionary, key);
  std::optional<Evidence> evidence = ByNames(container);
  if (const RawTensor* odd = NotFloat(container); !evidence && !method.empty() && odd != nullptr)
    evidence = Evidence{method == "mlx" ? "MLX" : method, odd};
  if (evidence) {
    const bool said = !method.empty() && method != "mlx" && method.front() != '{';
    return Error(ErrorCode::kUnsupported, config.name(),
                 ": the weights are quantized: ", said ? Escape(method, 40) : evidence->format,
                 Sizes(dictionary), " (", Escape(evidence->tensor->name, 100), " is ",
                 Name(evidence->tensor->dtype),
                 "); quantized sources are not supported; use the unquantized model");
  }
  if (method.empty()) return absl::OkStatus();
  if (std::ranges::find(kMethods, method) == std::end(kMethods)) {
    return Error(ErrorCode::kUnsupported, config.name(), ": ", key, " says ", Escape(method, 60),
                 ", a quantization that is not known here: whether it changes what plain weights "
                 "compute is not clear; use the unquantized model");
  }
  notes.push_back(Cat(config.name(), ": ", key, " says ", method,
                      ", but the weights are plain; they are read as they are"));
  return absl::OkStatus();
}

}  // namespace smelt
