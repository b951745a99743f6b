#include "lib/model/quantized.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "formats/quantized/join.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

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

/// Formats that a method's name means; what else is found is said.
struct MethodFormat {
  std::string_view method, format;
};
constexpr MethodFormat kFormats[] = {
    {"gptq", "GPTQ"}, {"awq", "AWQ"},     {"bitsandbytes", "bitsandbytes"},
    {"hqq", "HQQ"},   {"mxfp4", "MXFP4"}, {"fp8", "FP8"},
    {"mlx", "MLX"},   {"nvfp4", "NVFP4"}, {"fbgemm_fp8", "FP8"}};

/// "the weights are quantized: GPTQ, 4 bits (7 of 9 matrices)".
std::string FoundNote(const QuantizationConfig& config, const std::vector<QuantizedCount>& counts) {
  std::string note = "the weights are quantized, and read as the values that they mean: ";
  for (size_t i = 0; i < counts.size(); ++i)
    note += Cat(i == 0 ? "" : "; ", counts[i].format, " (", counts[i].weights, " of them)");
  const auto said = std::ranges::find(kFormats, config.method, &MethodFormat::method);
  const bool other =
      said != std::end(kFormats) && std::ranges::none_of(counts, [&](const QuantizedCount& count) {
        return std::string_view(count.format).starts_with(said->format);
      });
  if (other) note += Cat("; ", config.file, " says ", config.method, " (", config.key, ")");
  // Formats that have settings of single modules say them; what all of the block says otherwise is
  // a left-over.
  const std::optional<int64_t> bits = config.Number("bits");
  const bool own = config.Has("extra_config") || config.Has("dynamic") || config.method == "mlx";
  const bool otherwise =
      bits && !other && !own && std::ranges::any_of(counts, [&](const QuantizedCount& count) {
        return count.bits != 0 && count.bits != static_cast<uint64_t>(*bits);
      });
  if (otherwise) note += Cat("; ", config.file, " says ", *bits, " bits (", config.key, ")");
  return note;
}

absl::Status CheckPlain(const QuantizationConfig& config, const Container& container,
                        std::vector<std::string>& notes) {
  const std::string& method = config.method;
  if (method.empty()) return absl::OkStatus();
  if (const RawTensor* odd = NotFloat(container)) {
    return Error(ErrorCode::kUnsupported, config.file,
                 ": the weights are quantized: ", Escape(method, 40), " (", Escape(odd->name, 100),
                 " is ", Name(odd->dtype),
                 "), in a layout that is not read; use the unquantized model");
  }
  if (std::ranges::find(kMethods, method) == std::end(kMethods)) {
    return Error(ErrorCode::kUnsupported, config.file, ": ", config.key, " says ",
                 Escape(method, 60),
                 ", a quantization that is not known here: whether it changes what plain weights "
                 "compute is not clear; use the unquantized model");
  }
  notes.push_back(Cat(config.file, ": ", config.key, " says ", method,
                      ", but the weights are plain; they are read as they are"));
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadQuantized(const Config& config, Container& container,
                           std::vector<std::string>& notes) {
  QuantizationConfig said;
  said.file = config.name();
  said.dictionary = Dictionary(config, said.key);
  if (said.dictionary != nullptr) said.method = Method(*said.dictionary, said.key);
  std::vector<QuantizedCount> counts;
  SMELT_RETURN_IF_ERROR(JoinQuantized(said, container, counts, notes));
  if (counts.empty()) return CheckPlain(said, container, notes);
  notes.push_back(FoundNote(said, counts));
  return absl::OkStatus();
}

}  // namespace smelt
