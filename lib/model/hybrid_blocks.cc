// Blocks of models that have a recurrence besides attention.
#include <optional>

#include "lib/base/status.h"
#include "lib/model/ssm_reader.h"

namespace smelt {
namespace {

class HybridReader {
 public:
  HybridReader(SpecReader& reader, BlockReader& blocks, const Architecture& architecture)
      : reader_(reader), blocks_(blocks), architecture_(architecture) {}

  absl::Status Prepare() {
    SMELT_RETURN_IF_ERROR(blocks_.PrepareAttention());
    if (architecture_.recurrence == Recurrence::kShortConvolution) {
      SMELT_ASSIGN_OR_RETURN(conv_, reader_.Count("shortconv.l_cache", 1, 1 << 10));
      return absl::OkStatus();
    }
    const bool grouped = architecture_.recurrence == Recurrence::kMamba2;
    SMELT_ASSIGN_OR_RETURN(SsmReader ssm, SsmReader::Create(reader_, blocks_, grouped));
    ssm_.emplace(std::move(ssm));
    return absl::OkStatus();
  }

  absl::StatusOr<LayerSpec> Read(uint64_t i) {
    LayerSpec layer;
    const bool one = architecture_.parts == BlockParts::kOne;
    const bool attention = blocks_.kv_heads(i) != 0;
    SMELT_ASSIGN_OR_RETURN(const bool ffn, blocks_.HasFfn(i));
    if (one && attention && ffn) {
      return reader_.Bad("feed_forward_length",
                         Cat("is not 0 for block ", i, ", which has attention already"));
    }
    SMELT_ASSIGN_OR_RETURN(layer.mixer_norm,
                           blocks_.ReadNorm(i, architecture_.mixer_norm, blocks_.width()));
    if (attention) {
      SMELT_ASSIGN_OR_RETURN(layer.mixer, blocks_.ReadAttention(i));
    }
    if (architecture_.parts == BlockParts::kBothMixers || (!attention && !(one && ffn))) {
      Mixer& mixer = attention ? layer.beside : layer.mixer;
      SMELT_ASSIGN_OR_RETURN(mixer, ReadRecurrence(i));
    }
    layer.residual_scale = blocks_.residual_scale();
    if (one && !ffn) return layer;
    if (one) {
      layer.ffn_norm = layer.mixer_norm;
      layer.mixer_norm = Norm();
    } else {
      SMELT_ASSIGN_OR_RETURN(layer.ffn_norm,
                             blocks_.ReadNorm(i, architecture_.ffn_norm, blocks_.width()));
    }
    SMELT_RETURN_IF_ERROR(blocks_.ReadFfn(i, layer));
    return layer;
  }

 private:
  absl::StatusOr<Mixer> ReadRecurrence(uint64_t i) {
    switch (architecture_.recurrence) {
      case Recurrence::kMamba1:
      case Recurrence::kMamba1WithNorms:
        return ssm_->ReadMamba1(i, architecture_.recurrence == Recurrence::kMamba1WithNorms);
      case Recurrence::kMamba2:
        return ssm_->ReadMamba2(i, architecture_.parts != BlockParts::kBothMixers);
      case Recurrence::kShortConvolution:
        return ReadShortConvolution(i);
      case Recurrence::kNone:
        break;
    }
    return reader_.Bad("attention.head_count_kv", Cat("is 0 for block ", i));
  }

  absl::StatusOr<ShortConvolution> ReadShortConvolution(uint64_t i) {
    ShortConvolution c;
    const uint64_t width = blocks_.width();
    c.channels = static_cast<uint32_t>(width);
    c.conv = static_cast<uint32_t>(conv_);
    const std::string why =
        Cat(reader_.Key("embedding_length"), " is ", width, ", shortconv.l_cache ", conv_);
    SMELT_ASSIGN_OR_RETURN(c.in, blocks_.ReadLinear(i, "shortconv.in_proj", width, 3 * width, why));
    SMELT_ASSIGN_OR_RETURN(c.conv_weight, reader_.Tensor(blocks_.Block(i, "shortconv.conv.weight"),
                                                         {conv_, width}, why));
    SMELT_ASSIGN_OR_RETURN(c.conv_bias,
                           reader_.TensorIf(blocks_.Block(i, "shortconv.conv.bias"), {width}, why));
    SMELT_ASSIGN_OR_RETURN(c.out, blocks_.ReadLinear(i, "shortconv.out_proj", width, width, why));
    return c;
  }

  SpecReader& reader_;
  BlockReader& blocks_;
  const Architecture& architecture_;
  std::optional<SsmReader> ssm_;
  uint64_t conv_ = 0;
};

}  // namespace

absl::Status ReadHybridBlocks(SpecReader& reader, const Architecture& architecture,
                              ModelSpec& spec) {
  SMELT_ASSIGN_OR_RETURN(BlockReader blocks, BlockReader::Create(reader, architecture, spec));
  HybridReader hybrid(reader, blocks, architecture);
  SMELT_RETURN_IF_ERROR(hybrid.Prepare());
  for (uint64_t i = 0; i < blocks.layers(); ++i) {
    SMELT_ASSIGN_OR_RETURN(LayerSpec layer, hybrid.Read(i));
    spec.layers.push_back(std::move(layer));
  }
  // Of no influence where every block is dense; the tensors say the rest.
  reader.Ignore({"expert_count", "expert_used_count", "leading_dense_block_count",
                 "expert_shared_count", "attention.layer_norm_epsilon"});
  return absl::OkStatus();
}

}  // namespace smelt
