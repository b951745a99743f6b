#include "lib/model/gguf_source.h"

#include <memory>
#include <utility>

#include "lib/base/per_thread.h"
#include "lib/base/status.h"
#include "lib/model/stored_values.h"
#include "quant/codec.h"

namespace smelt {
namespace {

class GgufSource : public ModelSource {
 public:
  GgufSource(std::string name, GgufFile file) : name_(std::move(name)), file_(std::move(file)) {
    tensors_.reserve(file_.tensors.size());
    for (const GgufTensor& tensor : file_.tensors) {
      TensorInfo info;
      info.name = tensor.name;
      info.shape.ne = tensor.ne;
      info.shape.dims = tensor.dims;
      info.type = tensor.type;
      if (tensor.dims == 3) info.tile_rows = tensor.ne[1];
      tensors_.push_back(std::move(info));
    }
    BuildIndex();
    scale_of_.assign(tensors_.size(), -1);
    for (size_t i = 0; i < tensors_.size(); ++i) FindCompanions(i);
  }

  const Metadata& metadata() const override { return file_.metadata; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::string& name() const override { return name_; }
  std::string identity() const override {
    std::string text;
    for (const auto& file : file_.files) text += Cat(file->identity(), ";");
    return text;
  }

  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    const TensorInfo& info = tensors_[tensor];
    const Codec* codec = FindCodec(info.type);
    if (codec == nullptr) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(info.name), " has type ",
                   Info(info.type).name, ", which we cannot decode");
    }
    const uint64_t columns = info.shape.columns();
    const uint64_t row_bytes = RowBytesOf(tensor);
    const uint64_t piece = std::max<uint64_t>(1, (4 << 20) / row_bytes);
    static const PerThread<ByteBuffer> buffer;
    for (uint64_t row = 0; row < count; row += piece) {
      const uint64_t n = std::min(piece, count - row);
      std::byte* const raw = buffer->Reserve(n * row_bytes);
      SMELT_RETURN_IF_ERROR(ReadRawRows(tensor, first + row, n, raw));
      if (const int scale = scale_of_[tensor]; scale >= 0) {
        SMELT_RETURN_IF_ERROR(
            DecodeScaled(*codec, raw, info, scale, first + row, n, out + row * columns));
      } else {
        codec->Decode(raw, n * columns, out + row * columns);
      }
      if (const auto bad = FirstNotFinite(out + row * columns, n * columns)) {
        return NotFinite(info, first + row + *bad / columns, *bad % columns,
                         out[row * columns + *bad]);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                           std::byte* out) const override {
    const GgufTensor& stored = file_.tensors[tensor];
    const uint64_t bytes = RowBytesOf(tensor);
    return stored.storage->ReadAt(stored.offset + first * bytes, std::span(out, count * bytes));
  }

  absl::StatusOr<MappedRows> MapRows(size_t tensor) const override {
    const GgufTensor& stored = file_.tensors[tensor];
    SMELT_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, stored.storage->Map());
    const std::byte* base = bytes.data() + stored.offset;
    if (!Info(stored.type).quantized &&
        reinterpret_cast<uintptr_t>(base) % Info(stored.type).block_bytes != 0) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(stored.name),
                   " is not aligned in its file");
    }
    MappedRows rows{base, RowBytesOf(tensor), {}};
    if (scale_of_[tensor] >= 0) {
      SMELT_ASSIGN_OR_RETURN(rows.factors, FactorsOf(scale_of_[tensor]));
      rows.factor_rows =
          rows.factors.size() == 1 ? tensors_[tensor].shape.rows() : tensors_[tensor].shape.ne[1];
    }
    return rows;
  }

  void DropPages(size_t tensor) const override {
    const GgufTensor& stored = file_.tensors[tensor];
    stored.storage->DropPages(stored.offset, RowBytesOf(tensor) * tensors_[tensor].shape.rows());
  }

 private:
  /// NVFP4 has a number for each matrix beside the scales in its blocks, and one for activations
  /// quantized to it, which are not here.
  void FindCompanions(size_t tensor) {
    const TensorInfo& info = tensors_[tensor];
    if (info.type != TensorType::kNVFP4) return;
    const std::string scale = ScaleName(info.name);
    const std::string input = Cat(scale.substr(0, scale.rfind('.')), ".input_scale");
    // Gemma 4 has scales of experts of its own under this name, which its layers apply.
    const bool of_layer =
        file_.metadata.StringOr("general.architecture", "").value_or("") == "gemma4" &&
        scale.ends_with("ffn_down_exps.scale");
    for (const std::string& name : {scale, input}) {
      const int found = Find(name);
      if (found < 0 || (of_layer && name == scale)) continue;
      TensorInfo& companion = tensors_[static_cast<size_t>(found)];
      if (companion.type != TensorType::kF32 ||
          (companion.shape.elements() != 1 &&
           companion.shape.elements() != info.shape.ne[2] * info.shape.ne[3]))
        continue;
      companion.companion_of = tensor;
      if (name == scale) scale_of_[tensor] = found;
    }
  }

  /// All values of a tensor of numbers.
  absl::StatusOr<std::vector<float>> FactorsOf(int scale) const {
    const GgufTensor& stored = file_.tensors[static_cast<size_t>(scale)];
    std::vector<float> factors(stored.elements());
    SMELT_RETURN_IF_ERROR(
        stored.storage->ReadAt(stored.offset, std::as_writable_bytes(std::span(factors))));
    if (const auto bad = FirstNotFinite(factors.data(), factors.size()))
      return NotFinite(tensors_[static_cast<size_t>(scale)], 0, *bad, factors[*bad]);
    return factors;
  }

  /// Rows of blocks whose scales are multiplied first, as they are where the weights come from.
  absl::Status DecodeScaled(const Codec& codec, const std::byte* in, const TensorInfo& info,
                            int scale, uint64_t first, uint64_t rows, float* out) const {
    const uint64_t columns = info.shape.columns(), group = codec.unpack_group();
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> factors, FactorsOf(scale));
    std::vector<int8_t> codes(columns);
    std::vector<float> scales(columns / group);
    const uint64_t row_bytes = *RowBytes(info.type, columns);
    for (uint64_t i = 0; i < rows; ++i) {
      const uint64_t matrix = (first + i) / info.shape.ne[1];
      const float factor = factors[factors.size() == 1 ? 0 : matrix];
      codec.Unpack8(in + i * row_bytes, columns, {codes.data(), scales.data(), nullptr});
      for (uint64_t g = 0; g < scales.size(); ++g) {
        const float both = scales[g] * factor;
        for (uint64_t c = g * group; c < (g + 1) * group; ++c)
          *out++ = static_cast<float>(codes[c]) * both;
      }
    }
    return absl::OkStatus();
  }

  uint64_t RowBytesOf(size_t tensor) const {
    return *RowBytes(tensors_[tensor].type,
                     tensors_[tensor].shape.columns());  // checked by the reader
  }

  static absl::Status NotFinite(const TensorInfo& info, uint64_t row, uint64_t column,
                                float value) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(info.name), " has the value ",
                 NotFiniteText(value), " at row ", row, ", column ", column,
                 " (counted from 0): weights must be finite");
  }

  std::string name_;
  GgufFile file_;
  std::vector<TensorInfo> tensors_;
  std::vector<int> scale_of_;  ///< of each tensor: the one that has its ".scale", or -1
};

}  // namespace

std::unique_ptr<ModelSource> MakeGgufSource(std::string name, GgufFile file) {
  return std::make_unique<GgufSource>(std::move(name), std::move(file));
}

}  // namespace smelt
