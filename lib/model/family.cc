#include "lib/model/family.h"

#include <algorithm>

#include "lib/base/status.h"
#include "lib/model/quantized.h"

namespace smelt {
namespace {

// Keys of config.json without influence on a forward pass.
constexpr std::string_view kHarmless[] = {"architectures",
                                          "model_type",
                                          "transformers_version",
                                          "torch_dtype",
                                          "dtype",
                                          "_name_or_path",
                                          "name_or_path",
                                          "use_cache",
                                          "initializer_range",
                                          "attention_dropout",
                                          "hidden_dropout",
                                          "resid_pdrop",
                                          "embd_pdrop",
                                          "attn_pdrop",
                                          "residual_dropout",
                                          "embedding_dropout",
                                          "classifier_dropout",
                                          "bos_token_id",
                                          "eos_token_id",
                                          "pad_token_id",
                                          "unk_token_id",
                                          "sep_token_id",
                                          "cls_token_id",
                                          "mask_token_id",
                                          "pretraining_tp",
                                          "_attn_implementation",
                                          "attn_implementation",
                                          "attn_implementation_autoset",
                                          "_attn_implementation_autoset",
                                          "_flash_attn_2_enabled",
                                          "auto_map",
                                          "output_router_logits",
                                          "router_aux_loss_coef",
                                          "output_attentions",
                                          "output_hidden_states",
                                          "return_dict",
                                          "task_specific_params",
                                          "id2label",
                                          "label2id",
                                          "problem_type",
                                          "cache_implementation",
                                          "is_decoder",
                                          "is_encoder_decoder",
                                          "torchscript",
                                          "gradient_checkpointing",
                                          "tokenizer_class",
                                          "tf_legacy_loss",
                                          "use_bfloat16",
                                          "_commit_hash",
                                          "summary_activation",
                                          "summary_first_dropout",
                                          "summary_proj_to_labels",
                                          "summary_type",
                                          "summary_use_proj",
                                          "reorder_and_upcast_attn",
                                          "n_ctx",
                                          "router_jitter_noise",
                                          "max_window_layers",
                                          "chunk_size",
                                          "use_mambapy",
                                          "use_mamba_kernels",
                                          "use_associative_scan",
                                          "residual_in_fp32",
                                          "rescale_prenorm_residual",
                                          "time_step_floor",
                                          "time_step_init_scheme",
                                          "time_step_max",
                                          "time_step_min",
                                          "num_logits_to_keep",
                                          "fused_add_norm",
                                          "ssm_cfg",
                                          "transformers.js_config",
                                          "vision_config",
                                          "image_token_index",
                                          "boi_token_index",
                                          "eoi_token_index",
                                          "mm_tokens_per_image",
                                          "finetuning_task",
                                          "language",
                                          "unsloth_version",
                                          "unsloth_fixed",
                                          "hidden_activation",
                                          "hidden_act",
                                          "sliding_window",
                                          "_sliding_window_pattern",
                                          "sliding_window_pattern",
                                          "use_sliding_window",
                                          "layer_types",
                                          "head_dim",
                                          "prefix",
                                          "rms_norm",
                                          "experts_per_token",
                                          "initial_context_length",
                                          "quantization_config",
                                          "quantization",
                                          "compression_config",
                                          "n_embd"};

/// Keys of neither table, of a configuration and of what it is inside of.
std::string UnknownKeys(const Config& config) {
  std::string unknown = config.Outer() == nullptr ? "" : UnknownKeys(*config.Outer());
  for (const std::string& key : config.Unread()) {
    if (std::find(std::begin(kHarmless), std::end(kHarmless), key) != std::end(kHarmless)) continue;
    unknown += Cat(unknown.empty() ? "" : ", ", Escape(key, 40));
  }
  return unknown;
}

}  // namespace

absl::StatusOr<Config> TextPart(const Family& family, const Config& whole) {
  SMELT_ASSIGN_OR_RETURN(const auto type, whole.Text("model_type"));
  if (type && *type != family.model_type) {
    return Error(ErrorCode::kUnsupported, whole.name(), ": model_type is ", Escape(*type, 40),
                 ", but architectures says ", family.names[0], ", whose model_type is ",
                 family.model_type,
                 ": transformers builds what model_type says, llama.cpp what architectures says; "
                 "correct the wrong one");
  }
  if (!family.part.empty()) return whole.Nested(family.part, family.of_whole);
  if (whole.Has("text_config")) {
    return Error(ErrorCode::kUnsupported, whole.name(), ": text_config is there, but ",
                 family.names[0], " has no parts: which values count is not clear");
  }
  return whole;
}

absl::StatusOr<DescribedModel> Describe(const Family& family, const Config& config,
                                        const Container& container, uint64_t vocabulary_size,
                                        const SlicedTensors* sliced) {
  DescribedModel model;
  SMELT_RETURN_IF_ERROR(CheckNotQuantized(config, container, model.notes));
  SMELT_ASSIGN_OR_RETURN(FamilyContext context, ReadHyper(family, config, container));
  context.sliced = sliced;
  if (vocabulary_size != 0 && family.rows_by_vocabulary) {
    context.hyper.Set("vocabulary_rows", static_cast<double>(vocabulary_size));
  }
  SMELT_RETURN_IF_ERROR(WriteKeys(context, model.keys));
  SMELT_ASSIGN_OR_RETURN(model.tensors, MakeTensors(context, container));
  for (const RecipeTensor& tensor : model.tensors) {
    if (tensor.name == "token_embd.weight") model.vocabulary_rows = tensor.shape.ne[1];
  }

  model.notes.insert(model.notes.end(), context.notes.begin(), context.notes.end());
  model.warnings = std::move(context.warnings);
  if (!context.differences.empty()) {
    std::string note = "llama.cpp computes something else for this model: it ";
    for (size_t i = 0; i < context.differences.size(); ++i)
      note += Cat(i == 0 ? "" : "; it ", context.differences[i]);
    model.notes.push_back(std::move(note));
  }
  const std::string unknown = UnknownKeys(config);
  if (!unknown.empty()) {
    model.notes.push_back(
        Cat(config.name(),
            " has keys that are not known here and were not used: ", unknown.substr(0, 200)));
  }
  return model;
}

}  // namespace smelt
