#include "lib/model/quantized.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>

#include "formats/quantized/join.h"
#include "lib/base/ascii.h"
#include "lib/base/json.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// Values of quant_method that say how weights were stored and leave the mathematics alone: beside
/// plain weights they are left-overs. BitNet's layers compute in another way, so it is not here.
struct KnownMethod {
  std::string_view name;
  bool read = true;  ///< what it stores
};
constexpr KnownMethod kMethods[] = {
    {"bitsandbytes"},   {"gptq"},        {"awq"},           {"hqq"},
    {"fbgemm_fp8"},     {"fp8"},         {"quark"},         {"auto-round"},
    {"autoround"},      {"mxfp4"},       {"nvfp4"},         {"intel/auto-round"},
    {"mxfp8"},          {"mlx"},         {"modelopt"},      {"compressed-tensors"},
    {"aqlm", false},    {"vptq", false}, {"quanto", false}, {"eetq", false},
    {"higgs", false},   {"spqr", false}, {"metal", false},  {"fp_quant", false},
    {"torchao", false}, {"sinq", false}, {"marlin", false}};
/// Of ModelOpt's quant_algo the beginnings of those that are read.
constexpr std::string_view kAlgorithms[] = {"FP8", "NVFP4", "MXFP4", "MXFP8", "MIXED"};

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

/// Files in which quantizers say it where config.json does not.
struct QuantizerFile {
  std::string_view name;
  std::string_view member;  ///< that says it; empty: the whole file does
  std::string_view method;  ///< where it names none
};
constexpr QuantizerFile kQuantizerFiles[] = {
    {"quantize_config.json", "", "gptq"},            // AutoGPTQ, GPTQModel
    {"quant_config.json", "", "awq"},                // AutoAWQ
    {"quantization_config.json", "", "auto-round"},  // auto-round
    {"hf_quant_config.json", "quantization", "modelopt"}};

/// The method's name in small letters; empty where the dictionary is empty, `usual` where it names
/// none.
std::string Method(const JsonValue& dictionary, std::string_view key, std::string_view usual) {
  const JsonValue* method = dictionary.FindNonNull("quant_method");
  if (method != nullptr && method->as_string() != nullptr) return LowerAscii(*method->as_string());
  if (method != nullptr) return method->ToText();
  const JsonValue::Object* members = dictionary.as_object();
  if (members != nullptr && members->empty()) return "";
  if (!usual.empty()) return std::string(usual);
  if (dictionary.FindNonNull("quant_algo") != nullptr) return "modelopt";
  for (std::string_view name : {"load_in_4bit", "load_in_8bit"}) {
    if (dictionary.FindNonNull(name) != nullptr) return "bitsandbytes";
  }
  const bool grouped =
      dictionary.FindNonNull("group_size") != nullptr && dictionary.FindNonNull("bits") != nullptr;
  if (grouped) return "mlx";
  return key == "compression_config" ? "compressed-tensors" : dictionary.ToText();
}

/// Formats that a method's name, or another setting of one, means; what else is found is said.
struct SettingFormat {
  std::string_view setting;  ///< empty: the method
  std::string_view value, format;
  std::string_view of = "";  ///< of these formats alone
};
constexpr SettingFormat kFormats[] = {
    {"", "gptq", "GPTQ"},
    {"", "awq", "AWQ"},
    {"", "bitsandbytes", "bitsandbytes"},
    {"", "hqq", "HQQ"},
    {"", "mxfp4", "MXFP4"},
    {"", "fp8", "FP8"},
    {"", "mlx", "MLX"},
    {"", "nvfp4", "NVFP4"},
    {"", "fbgemm_fp8", "FP8"},
    {"", "compressed-tensors", "compressed-tensors"},
    {"", "compressed-tensors", "FP8"},
    {"", "compressed-tensors", "8-bit integers"},
    {"", "compressed-tensors", "NVFP4"},
    {"", "compressed-tensors", "MXFP4"},
    {"", "modelopt", "FP8"},
    {"", "modelopt", "NVFP4"},
    {"bnb_4bit_quant_type", "nf4", "bitsandbytes NF4", "bitsandbytes "},
    {"bnb_4bit_quant_type", "fp4", "bitsandbytes FP4", "bitsandbytes "},
    {"load_in_4bit", "true", "bitsandbytes ", "bitsandbytes"},
    {"load_in_8bit", "true", "bitsandbytes, 8 bits", "bitsandbytes"},
    {"fmt", "e4m3", "FP8,", "FP8"},
    {"fmt", "e5m2", "FP8 E5M2", "FP8"}};

std::string ValueOf(const QuantizationConfig& config, std::string_view setting) {
  if (setting.empty()) return config.method;
  if (const auto flag = config.Flag(setting)) return *flag ? "true" : "false";
  return LowerAscii(config.Text(setting).value_or(""));
}

/// " (quantization_config)".
std::string KeyText(const QuantizationConfig& config) {
  return config.key.empty() ? std::string() : Cat(" (", config.key, ")");
}

/// The settings that mean other formats than those that were found: "gptq", "bnb_4bit_quant_type
/// nf4".
std::vector<std::string> OtherwiseSaid(const QuantizationConfig& config,
                                       const std::vector<QuantizedCount>& counts) {
  const auto found = [&](std::string_view format) {
    return std::ranges::any_of(counts, [&](const QuantizedCount& count) {
      return std::string_view(count.format).starts_with(format);
    });
  };
  std::map<std::string_view, bool> fits;  // of each setting that says something
  for (const SettingFormat& row : kFormats) {
    if (ValueOf(config, row.setting) == row.value && found(row.of))
      fits[row.setting] |= found(row.format);
  }
  std::vector<std::string> said;
  for (const auto& [setting, any] : fits) {
    const std::string value = ValueOf(config, setting);
    if (!any) said.push_back(setting.empty() ? value : Cat(setting, " ", value));
  }
  return said;
}

/// Whether modules of MLX have settings of their own, under their names.
bool HasMlxModules(const QuantizationConfig& config) {
  const JsonValue::Object* members =
      config.method == "mlx" ? config.dictionary->as_object() : nullptr;
  return members != nullptr && std::ranges::any_of(*members, [](const auto& member) {
           return member.second.is_object();
         });
}

/// "the weights are quantized: GPTQ, 4 bits (7 of 9 matrices)".
std::string FoundNote(const QuantizationConfig& config, const std::vector<QuantizedCount>& counts) {
  std::string note = "the weights are quantized, and read as the values that they mean: ";
  for (size_t i = 0; i < counts.size(); ++i)
    note += Cat(i == 0 ? "" : "; ", counts[i].format, " (", counts[i].weights, " of them)");
  const std::vector<std::string> others = OtherwiseSaid(config, counts);
  for (const std::string& said : others)
    note += Cat("; ", config.file, " says ", said, KeyText(config));
  const bool other = !others.empty();
  // Formats that have settings of single modules say them; what all of the block says otherwise is
  // a left-over.
  const std::optional<int64_t> bits = config.Number("bits");
  const bool own = config.Has("extra_config") || config.Has("dynamic") || HasMlxModules(config);
  const bool otherwise =
      bits && !other && !own && std::ranges::any_of(counts, [&](const QuantizedCount& count) {
        return count.bits != 0 && count.bits != static_cast<uint64_t>(*bits);
      });
  if (otherwise) note += Cat("; ", config.file, " says ", *bits, " bits", KeyText(config));
  return note;
}

/// The setting that has activations quantized too, while the model runs; empty: none has.
std::string_view ActivationSetting(const QuantizationConfig& config) {
  if (config.Has("activation_scheme")) return "activation_scheme";
  const JsonValue* groups =
      config.Has("config_groups") ? config.dictionary->FindNonNull("config_groups") : nullptr;
  const JsonValue::Object* members = groups == nullptr ? nullptr : groups->as_object();
  const bool any = members != nullptr && std::ranges::any_of(*members, [](const auto& member) {
                     return member.second.FindNonNull("input_activations") != nullptr;
                   });
  return any ? "input_activations" : "";
}

/// What the configuration calls a format that is not read; empty: it says nothing of that kind.
std::string NotRead(const QuantizationConfig& config) {
  const auto known = std::ranges::find(kMethods, config.method, &KnownMethod::name);
  if (known == std::end(kMethods)) return config.Has("quant_method") ? config.method : "";
  if (!known->read) return config.method;
  const std::string algorithm = config.Text("quant_algo").value_or("");
  const bool read = algorithm.empty() || std::ranges::any_of(kAlgorithms, [&](auto beginning) {
                      return algorithm.starts_with(beginning);
                    });
  return read ? "" : Cat(config.method, " ", algorithm);
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
  if (std::ranges::find(kMethods, method, &KnownMethod::name) == std::end(kMethods)) {
    return Error(ErrorCode::kUnsupported, config.file, config.key.empty() ? "" : ": ", config.key,
                 " says ", Escape(method, 60),
                 ", a quantization that is not known here: whether it changes what plain weights "
                 "compute is not clear; use the unquantized model");
  }
  notes.push_back(Cat(config.file, config.key.empty() ? "" : ": ", config.key, " says ", method,
                      ", but the weights are plain; they are read as they are"));
  return absl::OkStatus();
}

/// Fills in what the quantizer's own file says where config.json says nothing; `value` keeps what
/// `said` points into. The error of a file that is no JSON.
absl::Status AskQuantizersFiles(const SideFileReader& side_file, QuantizationConfig& said,
                                JsonValue& value) {
  for (const QuantizerFile& file : kQuantizerFiles) {
    if (said.dictionary != nullptr) break;
    const std::optional<std::string> text = side_file(file.name);
    if (!text) continue;
    SMELT_ASSIGN_OR_RETURN(value, ParseJsonValue(*text, file.name));
    const JsonValue* all = file.member.empty() ? &value : value.FindNonNull(file.member);
    if (all == nullptr || !all->is_object()) continue;
    said.file = file.name;
    said.key = file.member;
    said.dictionary = all;
    said.method = Method(*all, said.key, file.method);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadQuantized(const Config& config, const SideFileReader& side_file,
                           Container& container, std::vector<std::string>& notes) {
  QuantizationConfig said;
  said.file = config.name();
  said.dictionary = Dictionary(config, said.key);
  if (said.dictionary != nullptr) said.method = Method(*said.dictionary, said.key, "");
  JsonValue beside;
  const absl::Status asked = AskQuantizersFiles(side_file, said, beside);
  std::vector<QuantizedCount> counts;
  const absl::Status joined = JoinQuantized(said, container, counts, notes);
  if (!joined.ok() || !counts.empty()) SMELT_RETURN_IF_ERROR(asked);  // plain weights need it not
  if (!joined.ok()) {  // or the parts are another format's
    if (const std::string name = NotRead(said); !name.empty()) {
      return Error(ErrorCode::kUnsupported, said.file,
                   ": the weights are quantized: ", Escape(name, 60), KeyText(said),
                   ", which is not read; use the unquantized model");
    }
  }
  SMELT_RETURN_IF_ERROR(joined);
  if (counts.empty()) return CheckPlain(said, container, notes);
  notes.push_back(FoundNote(said, counts));
  const std::string_view activations = ActivationSetting(said);
  if (!activations.empty()) {
    notes.push_back(
        Cat(said.file, ": ", activations, " has no effect: activations are not quantized here"));
  }
  return absl::OkStatus();
}

}  // namespace smelt
