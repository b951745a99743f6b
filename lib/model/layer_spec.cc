#include "lib/model/layer_spec.h"

#include <optional>

#include "lib/base/status.h"
#include "lib/model/architecture.h"
#include "lib/model/block_reader.h"
#include "lib/model/latent_reader.h"
#include "lib/model/spec_reader.h"

namespace smelt {
namespace {

absl::Status ReadAttentionBlocks(SpecReader& reader, BlockReader& blocks,
                                 const Architecture& architecture, bool parallel, ModelSpec& spec) {
  SMELT_RETURN_IF_ERROR(blocks.PrepareAttention());
  std::optional<LatentReader> latent;
  if (architecture.latent_attention) {
    SMELT_ASSIGN_OR_RETURN(LatentReader found, LatentReader::Create(reader, blocks, architecture));
    latent.emplace(std::move(found));
  }
  for (uint64_t i = 0; i < blocks.layers(); ++i) {
    LayerSpec layer;
    SMELT_ASSIGN_OR_RETURN(layer.mixer_norm,
                           blocks.ReadNorm(i, architecture.mixer_norm, blocks.width()));
    if (latent) {
      SMELT_ASSIGN_OR_RETURN(layer.mixer, latent->Read(i));
    } else {
      SMELT_ASSIGN_OR_RETURN(layer.mixer, blocks.ReadAttention(i));
    }
    SMELT_ASSIGN_OR_RETURN(layer.post_mixer_norm,
                           blocks.ReadNorm(i, architecture.post_mixer_norm, blocks.width()));
    const bool shared = parallel && architecture.shares_norm && !blocks.HasFfnNorm(i);
    SMELT_ASSIGN_OR_RETURN(layer.ffn_norm,
                           blocks.ReadNorm(i, shared ? "" : architecture.ffn_norm, blocks.width()));
    SMELT_RETURN_IF_ERROR(blocks.ReadFfn(i, layer));
    SMELT_ASSIGN_OR_RETURN(layer.post_ffn_norm,
                           blocks.ReadNorm(i, architecture.post_ffn_norm, blocks.width()));
    SMELT_RETURN_IF_ERROR(blocks.ReadEnd(i, layer));
    layer.parallel = parallel;
    layer.residual_scale = blocks.residual_scale();
    spec.layers.push_back(std::move(layer));
  }
  return absl::OkStatus();
}

/// More texts than embedding rows would let a text tokenize to a row that does not exist.
absl::Status CheckVocabulary(const Metadata& metadata, const ModelSpec& spec) {
  const MetadataValue* tokens = metadata.Find("tokenizer.ggml.tokens");
  if (tokens != nullptr && tokens->is_array() && tokens->size() > spec.vocabulary) {
    return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.tokens has ", tokens->size(),
                 " entries, but token_embd.weight has ", spec.vocabulary, " rows");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelSpec> ReadModelSpec(const ModelSource& source) {
  SMELT_ASSIGN_OR_RETURN(const std::string name, source.metadata().String("general.architecture"));
  const Architecture* architecture = FindArchitecture(name);
  if (architecture == nullptr) {
    return Error(ErrorCode::kUnsupported, "general.architecture ", Escape(name),
                 " is unknown to this engine; quantize --validate off still works on its tensors");
  }
  ModelSpec spec;
  spec.architecture = name;
  SpecReader reader(source, name);
  if (architecture->read_blocks != nullptr) {
    SMELT_RETURN_IF_ERROR(architecture->read_blocks(reader, *architecture, spec));
  } else {
    SMELT_ASSIGN_OR_RETURN(BlockReader blocks, BlockReader::Create(reader, *architecture, spec));
    SMELT_ASSIGN_OR_RETURN(const bool parallel,
                           reader.FlagOr("use_parallel_residual", architecture->parallel_residual));
    SMELT_RETURN_IF_ERROR(ReadAttentionBlocks(reader, blocks, *architecture, parallel, spec));
  }
  SMELT_RETURN_IF_ERROR(CheckVocabulary(source.metadata(), spec));
  SMELT_RETURN_IF_ERROR(reader.Finish());
  return spec;
}

}  // namespace smelt
