#include "formats/quantized/join.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "lib/base/status.h"

namespace smelt {
namespace {

bool IsEightBits(const QuantizedModule& module) {
  const RawType type = module.codes.dtype;
  if (type == RawType::kI8) return module.Has(".weight_scale") || module.Has("_scale");
  return type == RawType::kF8_E4M3 || type == RawType::kF8_E5M2;
}
bool Is(const QuantizedModule& module, RawType type, std::string_view companion) {
  return module.codes.dtype == type && module.Has(companion);
}

/// How a weight is known: by the ending of a tensor's name and by what lies beside it. The first
/// row that applies.
struct Layout {
  std::string_view ending;
  std::string_view weight;  ///< ending of the weight's name
  absl::StatusOr<QuantizedWeight> (*read)(const QuantizedModule&);
  bool (*applies)(const QuantizedModule&) = nullptr;
};

constexpr Layout kLayouts[] = {
    {".qweight", ".weight", ReadGptqOrAwq},
    {".weight_packed", ".weight", ReadNvfp4,
     [](const QuantizedModule& m) { return m.codes.dtype == RawType::kU8; }},
    {".weight_packed", ".weight", ReadCompressedInts},
    {".weight_blocks", ".weight", ReadMxfp4},
    {"_blocks", "_blocks", ReadMxfp4, [](const QuantizedModule& m) { return m.Has("_scales"); }},
    {".W_q", ".weight", ReadHqq},
    {".weight", ".weight", ReadBitsAndBytes4,
     [](const QuantizedModule& m) { return m.Has(".weight.absmax"); }},
    {".weight", ".weight", ReadBitsAndBytes8,
     [](const QuantizedModule& m) { return Is(m, RawType::kI8, ".SCB"); }},
    {".weight", ".weight", ReadMlx,
     [](const QuantizedModule& m) { return Is(m, RawType::kU32, ".scales"); }},
    {".weight", ".weight", ReadNvfp4,
     [](const QuantizedModule& m) { return Is(m, RawType::kU8, ".weight_scale"); }},
    {".weight", ".weight", ReadEightBits, IsEightBits},
    {"", "", ReadEightBits, IsEightBits},
};

/// Formats that are known by name and not read.
struct Unread {
  std::string_view ending, format;
};
constexpr Unread kUnread[] = {
    {".codebooks", "AQLM"}, {".weight._data", "quanto"}, {".centroids", "VPTQ"},
    {".q_weight", "EXL2"},  {".trellis", "EXL3"},        {".trellis_shape", "EXL3"},
    {".B", "Marlin"},       {".dense_weights", "SpQR"},  {".weight_quantized", "EETQ"},
};

/// Parts of weights; one that belongs to none is no weight either.
constexpr Unread kParts[] = {
    {".weight_scale_inv", "FP8"},
    {".weight_scale", "FP8 or integers"},
    {".qscale_weight", "FP8"},
    {".weight_zero_point", "compressed-tensors"},
    {".weight_shape", "compressed-tensors"},
    {".weight_global_scale", "NVFP4"},
    {".weight_scale_2", "NVFP4"},
    {".qzeros", "GPTQ or AWQ"},
    {".g_idx", "GPTQ"},
    {".SCB", "bitsandbytes"},
    {".weight.absmax", "bitsandbytes"},
    {".weight.quant_map", "bitsandbytes"},
    {".biases", "MLX"},
    {".scales", "MLX, GPTQ or AWQ"},
    {"_proj_scales", "MXFP4"},
};

/// Scales of activations and of stored keys and values: they change no weight.
constexpr std::string_view kOfActivations[] = {".input_scale",       ".input_global_scale",
                                               ".input_scale_ub",    ".input_zero_point",
                                               "_input_scale",       ".qscale_act",
                                               ".act_scale",         ".output_scale",
                                               ".k_scale",           ".v_scale",
                                               ".q_scale",           ".prob_scale",
                                               ".output_zero_point", ".kv_scale",
                                               ".activation_scale",  "_activation_scale"};

class Joiner {
 public:
  Joiner(const QuantizationConfig& config, Container& container,
         std::vector<QuantizedCount>& counts)
      : config_(config), container_(container), parts_(container), counts_(counts) {}

  absl::Status Run(std::vector<std::string>& notes) {
    std::vector<RawTensor> joined;
    for (const Layout& layout : kLayouts) {  // one after the other: scales of one are FP8 too
      for (const RawTensor& tensor : container_.tensors) {
        if (parts_.IsUsed(tensor) || !tensor.name.ends_with(layout.ending)) continue;
        const QuantizedModule module(
            parts_, config_, tensor,
            std::string_view(tensor.name).substr(0, tensor.name.size() - layout.ending.size()));
        if (layout.applies != nullptr && !layout.applies(module)) continue;
        SMELT_ASSIGN_OR_RETURN(QuantizedWeight weight,
                               IsCast(module) ? ReadCast(module) : layout.read(module));
        Count(*weight.matrix);
        parts_.Use(tensor);
        joined.push_back(Joined(tensor, Cat(module.stem, layout.weight), std::move(weight)));
      }
    }
    SMELT_RETURN_IF_ERROR(CheckParts());
    if (joined.empty()) return absl::OkStatus();
    LeaveAside(notes);
    for (RawTensor& tensor : joined) {
      if (parts_.Find(tensor.name) != nullptr && !parts_.IsUsed(*parts_.Find(tensor.name))) {
        return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name),
                     " is there both quantized and plain");
      }
    }
    std::vector<RawTensor> kept;
    for (RawTensor& tensor : container_.tensors) {
      if (!parts_.IsUsed(tensor)) kept.push_back(std::move(tensor));
    }
    for (RawTensor& tensor : joined) kept.push_back(std::move(tensor));
    container_.tensors = std::move(kept);
    return absl::OkStatus();
  }

 private:
  /// Weights cast to 8 bits: there are no scales anywhere, and nothing says that there are.
  bool IsCast(const QuantizedModule& module) {
    const RawType type = module.codes.dtype;
    if (type != RawType::kF8_E4M3 && type != RawType::kF8_E5M2) return false;
    if (!config_.method.empty()) return false;
    if (!cast_) {
      cast_ = std::ranges::none_of(container_.tensors, [](const RawTensor& tensor) {
        return tensor.name.find("scale") != std::string::npos;
      });
    }
    return *cast_;
  }

  static RawTensor Joined(const RawTensor& codes, std::string name, QuantizedWeight weight) {
    RawTensor out = codes;
    out.name = std::move(name);
    out.dtype = RawType::kF32;
    out.shape = std::move(weight.shape);
    out.strides = ContiguousStrides(out.shape);
    out.computed = std::move(weight.matrix);
    return out;
  }

  void Count(const ComputedMatrix& matrix) {
    const auto it = std::ranges::find(counts_, matrix.format(), &QuantizedCount::format);
    if (it != counts_.end()) {
      ++it->weights;
    } else {
      counts_.push_back({matrix.format(), matrix.bits(), 1});
    }
  }

  absl::Status CheckParts() const {
    for (const RawTensor& tensor : container_.tensors) {
      if (parts_.IsUsed(tensor)) continue;
      for (const Unread& part : kParts) {
        if (!tensor.name.ends_with(part.ending)) continue;
        return Error(
            ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name),
            " is a part of quantized weights (", part.format,
            "), but the codes that it belongs to are not there; download the folder again");
      }
    }
    return absl::OkStatus();
  }

  void LeaveAside(std::vector<std::string>& notes) {
    uint64_t count = 0;
    std::string first;
    for (const RawTensor& tensor : container_.tensors) {
      if (parts_.IsUsed(tensor)) continue;
      if (std::ranges::none_of(kOfActivations, [&](std::string_view ending) {
            return tensor.name.ends_with(ending);
          }))
        continue;
      parts_.Use(tensor);
      if (count++ == 0) first = tensor.name;
    }
    if (count > 0) {
      notes.push_back(Cat(count, " scales of activations are left out (", Escape(first, 80),
                          count > 1 ? ", ..." : "", "): activations are not quantized here"));
    }
  }

  const QuantizationConfig& config_;
  Container& container_;
  QuantizedParts parts_;
  std::vector<QuantizedCount>& counts_;
  std::optional<bool> cast_;
};

}  // namespace

absl::Status JoinQuantized(const QuantizationConfig& config, Container& container,
                           std::vector<QuantizedCount>& counts, std::vector<std::string>& notes) {
  for (const RawTensor& tensor : container.tensors) {
    for (const Unread& unread : kUnread) {
      if (!tensor.name.ends_with(unread.ending)) continue;
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " (",
                   Name(tensor.dtype), ") is of ", unread.format,
                   ", a quantization that is not read; use the unquantized model");
    }
  }
  const JsonValue* transforms =
      config.dictionary == nullptr ? nullptr : config.dictionary->FindNonNull("transform_config");
  if (transforms != nullptr &&
      !(transforms->as_object() != nullptr && transforms->as_object()->empty())) {
    return Error(
        ErrorCode::kUnsupported, config.file, ": ", config.key,
        " has a transform_config: weights and inputs are turned (SpinQuant, QuIP), which is "
        "not read; use the unquantized model");
  }
  return Joiner(config, container, counts).Run(notes);
}

}  // namespace smelt
