// The parts of a block as GGUF files hold them: shared by the attention architectures and the
// hybrids.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/architecture.h"
#include "lib/model/rope.h"
#include "lib/model/spec_reader.h"

namespace smelt {

/// Reads keys once, then block after block.
class BlockReader {
 public:
  /// Keys that hold for the whole model, and the embedding, final norm and output. Fills the
  /// model-wide part of `spec`.
  static absl::StatusOr<BlockReader> Create(SpecReader& reader, const Architecture& architecture,
                                            ModelSpec& spec);

  uint64_t layers() const { return layers_; }
  uint64_t width() const { return width_; }

  /// `blk.N.NAME.weight` (and bias for layer norms) of `n` values; kNone for an empty name.
  absl::StatusOr<Norm> ReadNorm(uint64_t layer, std::string_view name, uint64_t n);
  /// `blk.N.NAME.weight` of `inputs` x `outputs`, and its bias where there is one.
  absl::StatusOr<Linear> ReadLinear(uint64_t layer, std::string_view name, uint64_t inputs,
                                    uint64_t outputs, std::string_view why);
  absl::StatusOr<Linear> ReadExpertLinear(uint64_t layer, std::string_view name, uint64_t inputs,
                                          uint64_t outputs);
  /// Heads, rope and window keys; call once, before ReadAttention.
  absl::Status PrepareAttention();
  absl::StatusOr<Attention> ReadAttention(uint64_t layer);
  /// Experts where the block has a router, else an MLP.
  absl::Status ReadFfn(uint64_t layer, LayerSpec& block);
  double epsilon() const { return epsilon_; }
  double residual_scale() const { return residual_scale_; }
  uint64_t heads(uint64_t layer) const { return heads_[layer]; }
  bool HasFfnNorm(uint64_t layer) const {
    return reader_.HasTensor(Block(layer, Cat(architecture_.ffn_norm, ".weight")));
  }
  uint64_t kv_heads(uint64_t layer) const { return kv_heads_[layer]; }
  /// Whether a block has a feed-forward part at all.
  absl::StatusOr<bool> HasFfn(uint64_t layer);
  const Rope& rope() const { return rope_; }
  /// YaRN's magnitude of mscale_all_dim; 1 where there is none.
  double yarn_magnitude() const { return yarn_magnitude_; }
  double temperature() const { return temperature_; }
  uint64_t temperature_length() const { return std::max<uint64_t>(temperature_length_, 1); }
  /// Blocks with a recurrence in place of attention (of hybrids that have a key for them).
  absl::StatusOr<std::vector<bool>> ReadRecurrentLayers();
  /// What comes after a block's feed-forward part.
  absl::Status ReadEnd(uint64_t layer, LayerSpec& block);

  std::string Block(uint64_t layer, std::string_view name) const;

 private:
  static constexpr uint64_t kMaxWidth = 1u << 24;  ///< of anything that a block has

  BlockReader(SpecReader& reader, const Architecture& architecture)
      : reader_(reader), architecture_(architecture) {}

  absl::Status ReadModelWide(ModelSpec& spec);
  absl::Status ReadDraft();
  absl::Status ReadInputs(ModelSpec& spec);
  /// A number or one for each block, those of a draft head among them.
  absl::StatusOr<std::vector<uint64_t>> PerLayer(std::string_view suffix, uint64_t low,
                                                 uint64_t high);
  absl::StatusOr<std::vector<bool>> Flags(std::string_view suffix, const MetadataValue& value);
  absl::Status ReadHeadSizes();
  absl::Status ReadSharedKeys();
  absl::Status ReadBeside(uint64_t layer, LayerSpec& block);
  bool Windowed(uint64_t layer) const { return windowed_[layer]; }
  uint64_t KeySize(uint64_t layer) const { return windowed_[layer] ? key_size_window_ : key_size_; }
  uint64_t ValueSize(uint64_t layer) const {
    return windowed_[layer] ? value_size_window_ : value_size_;
  }
  absl::Status ReadRope();
  absl::Status ReadYarn(RopeParameters& rope);
  absl::Status ReadRopeFactors(RopeParameters& rope);
  absl::Status ReadWindows();
  absl::Status ReadActivation();
  absl::Status ReadScales(ModelSpec& spec);
  absl::Status ReadRotatedLayers();
  absl::StatusOr<Norm> ReadNormNamed(const std::string& prefix, uint64_t n, std::string_view why);
  absl::Status ReadQkv(uint64_t layer, Attention& attention);
  absl::Status ReadFfnLengths();
  absl::Status ReadQkNorms(uint64_t layer, Attention& attention);
  absl::Status ReadExpertCounts();
  absl::StatusOr<Mlp> ReadMlp(uint64_t layer);
  absl::StatusOr<Xielu> ReadXielu(uint64_t layer);
  absl::StatusOr<Experts> ReadExperts(uint64_t layer);
  absl::Status ReadExpertMatrices(uint64_t layer, uint64_t width, uint64_t ffn, Experts& experts);
  absl::Status ReadExpertGroups(Experts& experts);
  absl::Status ReadShared(uint64_t layer, uint64_t expert_ffn, Experts& experts);

  SpecReader& reader_;
  const Architecture& architecture_;
  uint64_t layers_ = 0, blocks_ = 0, width_ = 0, context_ = 0, experts_ = 0;
  double epsilon_ = 0, scale_ = 0, attention_softcap_ = 0;
  double clamp_ = 0, residual_scale_ = 1, yarn_log_ = 0, yarn_magnitude_ = 1, temperature_ = 0;
  uint64_t temperature_length_ = 0;
  bool scale_by_layer_ = false;
  Activation activation_ = Activation::kSilu;
  uint64_t key_size_ = 0, value_size_ = 0, window_ = 0;
  uint64_t key_size_window_ = 0, value_size_window_ = 0;  ///< of layers with the window
  uint64_t inputs_ = 0;       ///< values a block of the per-layer inputs
  std::vector<int> keys_of_;  ///< as Attention has it
  std::vector<uint64_t> heads_, kv_heads_, ffn_;
  std::vector<bool> windowed_, rotated_;
  Rope rope_, rope_window_;
};

}  // namespace smelt
