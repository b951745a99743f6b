#include "formats/quantized/join.h"

#include <algorithm>
#include <iterator>
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

/// Codes of bitsandbytes by what config.json says, whatever of their parts is there.
bool IsBitsAndBytes(const QuantizedModule& module, RawType type) {
  return module.codes.dtype == type && module.config.method == "bitsandbytes";
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
    {".weight", ".weight", ReadQuark,
     [](const QuantizedModule& m) {
       return m.config.method == "quark" && BitsOf(m.codes.dtype) != 16 &&
              m.codes.dtype != RawType::kF32 && m.Has(".weight_scale");
     }},
    {".qweight", ".weight", ReadGptqOrAwq},
    {".weight_packed", ".weight", ReadNvfp4,
     [](const QuantizedModule& m) { return m.codes.dtype == RawType::kU8; }},
    {".weight_packed", ".weight", ReadCompressedInts},
    {".weight_blocks", ".weight", ReadMxfp4},
    {"_blocks", "_blocks", ReadMxfp4, [](const QuantizedModule& m) { return m.Has("_scales"); }},
    {".W_q", ".weight", ReadHqq},
    {".weight", ".weight", ReadBitsAndBytes4,
     [](const QuantizedModule& m) {
       return m.Has(".weight.absmax") || IsBitsAndBytes(m, RawType::kU8);
     }},
    {".weight", ".weight", ReadBitsAndBytes8,
     [](const QuantizedModule& m) {
       return Is(m, RawType::kI8, ".SCB") || IsBitsAndBytes(m, RawType::kI8);
     }},
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
    {".codebooks", "AQLM"},
    {".weight._data", "quanto"},
    {".centroids", "VPTQ"},
    {"centroids.weight", "VPTQ"},
    {".q_weight", "EXL2"},
    {".trellis", "EXL3"},
    {".trellis_shape", "EXL3"},
    {".B", "Marlin"},
    {".B_24", "Marlin (2:4)"},
    {".scale_packed", "Marlin (2:4)"},
    {".bitmask", "compressed-tensors' sparse matrices"},
    {".weight_bitmask", "compressed-tensors' sparse matrices"},
    {".dense_weights", "SpQR"},
    {".weight_quantized", "EETQ"},
    {"_weight_qdata", "torchao"},
    {".weight:qdata", "torchao"},
    {".weight:tensor_impl:packed_weight", "torchao"},
    {".weight:tensor_impl:data", "torchao"},
    {".forward_hadamard_matrix", "FP-Quant"},
    {".hadamard_matrix", "auto-round with turned weights"},
    {".pre_quant_scale", "ModelOpt with scaled inputs (AWQ, SmoothQuant)"},
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
    const std::vector<Found> found = FindCodes();
    for (size_t row = 0; row < std::size(kLayouts); ++row) {  // in order: scales of one are FP8 too
      for (const Found& codes : found) {
        if (codes.layout != row || parts_.IsUsed(*codes.tensor)) continue;
        const Layout& layout = kLayouts[row];
        const QuantizedModule module(parts_, config_, *codes.tensor, Stem(*codes.tensor, layout));
        SMELT_ASSIGN_OR_RETURN(QuantizedWeight weight,
                               IsCast(module) ? ReadCast(module) : layout.read(module));
        Count(*weight.matrix);
        parts_.Use(*codes.tensor);
        joined.push_back(Joined(*codes.tensor, Cat(module.stem, layout.weight), std::move(weight)));
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
  /// A tensor, and the first row of kLayouts that applies to it.
  struct Found {
    const RawTensor* tensor;
    size_t layout;
  };

  static std::string_view Stem(const RawTensor& tensor, const Layout& layout) {
    return std::string_view(tensor.name).substr(0, tensor.name.size() - layout.ending.size());
  }

  std::vector<Found> FindCodes() {
    std::vector<Found> found;
    for (const RawTensor& tensor : container_.tensors) {
      for (size_t row = 0; row < std::size(kLayouts); ++row) {
        const Layout& layout = kLayouts[row];
        if (!tensor.name.ends_with(layout.ending)) continue;
        const QuantizedModule module(parts_, config_, tensor, Stem(tensor, layout));
        if (layout.applies != nullptr && !layout.applies(module)) continue;
        found.push_back({&tensor, row});
        break;
      }
    }
    return found;
  }

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
  for (const char* name : {"transform_config", "rotation_config"}) {
    const JsonValue* turned =
        config.dictionary == nullptr ? nullptr : config.dictionary->FindNonNull(name);
    const JsonValue::Object* members = turned == nullptr ? nullptr : turned->as_object();
    if (turned == nullptr || (members != nullptr && members->empty())) continue;
    return Error(ErrorCode::kUnsupported, config.file, ": ", config.key, " has a ", name,
                 ": weights and inputs are turned (SpinQuant, QuIP), which is not read; use the "
                 "unquantized model");
  }
  return Joiner(config, container, counts).Run(notes);
}

}  // namespace smelt
