// Adapters as llama.cpp's convert_lora_to_gguf writes them: NAME.lora_a (rank, inputs) and
// NAME.lora_b (outputs, rank) for each tensor NAME of the model; of the embedding lora_a is (rows,
// rank).
#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "formats/computed_matrix.h"
#include "lib/base/status.h"
#include "lib/model/lora_gguf.h"
#include "quant/codec.h"

namespace smelt {
namespace {

constexpr std::string_view kA = ".lora_a", kB = ".lora_b", kEmbedding = "token_embd.weight";

std::string TextOf(const GgufFile& file, std::string_view key) {
  return file.metadata.StringOr(key, "").value_or("");
}

/// Rows of a block type.
class Blocks : public ComputedMatrix {
 public:
  Blocks(GgufTensor tensor, const Codec& codec)
      : ComputedMatrix(std::string(Info(tensor.type).name), 0),
        tensor_(std::move(tensor)),
        codec_(codec) {}

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    const uint64_t columns = tensor_.ne[0], bytes = *RowBytes(tensor_.type, columns);
    std::vector<std::byte> rows(count * bytes);
    SMELT_RETURN_IF_ERROR(tensor_.storage->ReadAt(tensor_.offset + first * bytes, rows));
    codec_.Decode(rows.data(), count * columns, out);
    return absl::OkStatus();
  }

 private:
  const GgufTensor tensor_;
  const Codec& codec_;
};

/// A tensor of a GGUF as published ones are described.
absl::StatusOr<RawTensor> AsRaw(const GgufTensor& tensor) {
  constexpr std::pair<TensorType, RawType> kPlain[] = {{TensorType::kF32, RawType::kF32},
                                                       {TensorType::kF16, RawType::kF16},
                                                       {TensorType::kBF16, RawType::kBF16}};
  RawTensor raw;
  raw.name = tensor.name;
  for (int i = tensor.dims; i-- > 0;) raw.shape.push_back(tensor.ne[static_cast<size_t>(i)]);
  raw.strides = ContiguousStrides(raw.shape);
  raw.storage = tensor.storage;
  raw.offset = tensor.offset;
  const auto* const plain =
      std::ranges::find(kPlain, tensor.type, &std::pair<TensorType, RawType>::first);
  if (plain != std::end(kPlain)) {
    raw.dtype = plain->second;
    return raw;
  }
  const Codec* const codec = FindCodec(tensor.type);
  if (codec == nullptr) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " has type ",
                 Info(tensor.type).name, ", which we cannot decode");
  }
  raw.computed = std::make_shared<Blocks>(tensor, *codec);
  return raw;
}

class FileReader {
 public:
  FileReader(const GgufFile& file, double strength, const ModelSource& base)
      : file_(file), name_(file.files.front()->name()), strength_(strength), base_(base) {}

  absl::StatusOr<GgufLora> Read() {
    SMELT_RETURN_IF_ERROR(CheckKind());
    SMELT_ASSIGN_OR_RETURN(alpha_, file_.metadata.FloatOr("adapter.lora.alpha", 0));
    if (!std::isfinite(alpha_) || alpha_ < 0) {
      return Error(ErrorCode::kInvalidInput, Escape(name_, 100), ": adapter.lora.alpha is ", alpha_,
                   ", expected a number that is not below 0");
    }
    for (const GgufTensor& tensor : file_.tensors) SMELT_RETURN_IF_ERROR(Take(tensor));
    for (const auto& [target, pair] : pairs_) SMELT_RETURN_IF_ERROR(Merge(target, pair));
    if (out_.changes.empty()) {
      return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(name_, 100),
                   " has no tensors: it was saved without its weights");
    }
    out_.identity = Cat(strength_);
    for (const auto& file : file_.files) out_.identity += Cat(file->identity(), ";");
    return std::move(out_);
  }

 private:
  struct Pair {
    std::optional<RawTensor> a, b;
  };

  absl::Status CheckKind() const {
    const std::string type = TextOf(file_, "adapter.type");
    if (!type.empty() && type != "lora") {
      return Error(ErrorCode::kUnsupported, Escape(name_, 100), ": adapter.type is ",
                   Escape(type, 40), ", and only lora is merged");
    }
    if (file_.metadata.Has("adapter.alora.invocation_tokens")) {
      return Error(ErrorCode::kUnsupported, Escape(name_, 100),
                   ": the adapter acts only behind certain tokens "
                   "(adapter.alora.invocation_tokens), which no merged model can");
    }
    const std::string own = TextOf(file_, "general.architecture"),
                      other = base_.metadata().StringOr("general.architecture", "").value_or("");
    if (!own.empty() && own != other) {
      return Error(ErrorCode::kUnsupported, Escape(name_, 100), ": the adapter is for ",
                   Escape(own, 40), " (general.architecture), and the base is ", Escape(other, 40));
    }
    return absl::OkStatus();
  }

  absl::Status Take(const GgufTensor& tensor) {
    SMELT_ASSIGN_OR_RETURN(RawTensor raw, AsRaw(tensor));
    const bool a = tensor.name.ends_with(kA), b = tensor.name.ends_with(kB);
    if (a || b) {
      Pair& pair = pairs_[tensor.name.substr(0, tensor.name.size() - kA.size())];
      (a ? pair.a : pair.b) = std::move(raw);
      return absl::OkStatus();
    }
    // Whole norms, as some extracted adapters have them.
    const int index = base_.Find(tensor.name);
    if (index < 0) return NotInBase(tensor.name, tensor.name);
    const Shape& shape = base_.tensors()[static_cast<size_t>(index)].shape;
    if (strength_ != 1) {
      return Error(ErrorCode::kUnsupported, "the adapter ", Escape(name_, 80), " cannot be merged ",
                   strength_, " times as strong: its ", Escape(tensor.name, 100),
                   " takes the place of the base's, which can only be done as it is");
    }
    SMELT_ASSIGN_OR_RETURN(RecipeMatrix whole, RecipeMatrix::Of(raw));
    if (shape.ne != tensor.ne) return DoesNotFit(raw, tensor.name, shape);
    ++out_.merged.whole;
    out_.changes[tensor.name].whole = std::move(whole);
    return absl::OkStatus();
  }

  absl::Status NotInBase(const std::string& tensor, const std::string& target) const {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor, 100), " of the adapter ",
                 Escape(name_, 80), ": the base has no ", Escape(target, 80),
                 ": is this the base that it was trained on?");
  }

  absl::Status DoesNotFit(const RawTensor& tensor, const std::string& target,
                          const Shape& shape) const {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name, 100), " of shape ",
                 ShapeText(tensor.shape), " does not fit ", Escape(target, 80), " of ",
                 shape.ToText(), ": is this the base that the adapter was trained on?");
  }

  absl::Status Merge(const std::string& target, const Pair& pair) {
    if (!pair.a || !pair.b) {
      return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(name_, 80), " has no ",
                   pair.a ? "lora_b" : "lora_a", " for ", Escape(target, 100));
    }
    const int index = base_.Find(target);
    if (index < 0) return NotInBase(pair.a->name, target);
    const Shape& shape = base_.tensors()[static_cast<size_t>(index)].shape;
    const bool embedding = target == kEmbedding, experts = shape.dims == 3;
    const std::vector<uint64_t>&a = pair.a->shape, &b = pair.b->shape;
    const size_t dims = experts ? 3 : 2;
    if (a.size() != dims || b.size() != dims) return DoesNotFit(*pair.a, target, shape);
    const uint64_t rank = b[dims - 1], inputs = shape.ne[0], outputs = shape.ne[1];
    const bool fits = embedding ? !experts && a[0] == outputs && a[1] == rank && b[0] == inputs
                                : a[dims - 1] == inputs && a[dims - 2] == rank &&
                                      b[dims - 2] == outputs &&
                                      (!experts || (a[0] == shape.ne[2] && b[0] == shape.ne[2]));
    if (!fits) return DoesNotFit(*pair.a, target, shape);
    TensorChange& change = out_.changes[target].change;
    for (uint64_t e = 0; e < (experts ? shape.ne[2] : 1); ++e) {
      LowRank product;
      if (embedding) {
        SMELT_ASSIGN_OR_RETURN(product.left, RecipeMatrix::Of(*pair.a));
        SMELT_ASSIGN_OR_RETURN(product.right, RecipeMatrix::Turned(*pair.b));
      } else {
        SMELT_ASSIGN_OR_RETURN(product.left, Part(*pair.b, experts, e));
        SMELT_ASSIGN_OR_RETURN(product.right, Part(*pair.a, experts, e));
      }
      const double scale = (alpha_ == 0 ? 1 : alpha_ / static_cast<double>(rank)) * strength_;
      product.scale = static_cast<float>(scale);
      product.first_row = e * outputs;
      product.part = true;
      change.products.push_back(std::move(product));
    }
    LoraMerged& merged = out_.merged;
    ++merged.matrices;
    merged.low = merged.low == 0 ? rank : std::min(merged.low, rank);
    merged.high = std::max(merged.high, rank);
    return absl::OkStatus();
  }

  /// All of a matrix, or one of several that lie together.
  static absl::StatusOr<RecipeMatrix> Part(const RawTensor& tensor, bool experts, uint64_t e) {
    if (!experts) return RecipeMatrix::Of(tensor);
    RawTensor part = OuterSlice(tensor, e, 1);
    part.shape.erase(part.shape.begin());
    part.strides.erase(part.strides.begin());
    return RecipeMatrix::Of(part);
  }

  const GgufFile& file_;
  const std::string name_;
  const double strength_;
  const ModelSource& base_;
  double alpha_ = 0;
  std::map<std::string, Pair> pairs_;
  GgufLora out_;
};

}  // namespace

bool IsGgufLora(const GgufFile& file) {
  return TextOf(file, "general.type") == "adapter" || file.metadata.Has("adapter.type");
}

absl::StatusOr<GgufLora> ReadGgufLora(const GgufFile& file, double strength,
                                      const ModelSource& base) {
  return FileReader(file, strength, base).Read();
}

}  // namespace smelt
