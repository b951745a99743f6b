// Convert and quantize: one pass from what makers publish to a validated GGUF.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/evaluate.h"
#include "smelt/export.h"
#include "smelt/metadata_edits.h"
#include "smelt/observer.h"

namespace smelt {

enum class Validate { kQuick, kFull, kOff };

struct PlannedTensorInfo {
  std::string name, type, source_type, why;
  std::vector<uint64_t> shape;     ///< ggml order
  size_t file = 0;                 ///< index in PlanSummary::files
  uint64_t offset = 0, bytes = 0;  ///< offset from the start of that file
};

/// A file of the output: the only one, or a part.
struct OutputFile {
  std::string path;
  uint64_t bytes = 0, tensors = 0;
};

/// Matrices in which one type stands in for the preset's, whose blocks do not divide their rows.
struct TypeFallback {
  std::string type, instead_of;  ///< "Q5_0", "Q4_K"
  uint64_t tensors = 0;
  std::string first;  ///< name of the first
};

struct PlanSummary {
  std::string source, type, architecture;
  std::string output;             ///< what a reader opens: the first of `files`
  std::vector<OutputFile> files;  ///< one, or all parts in order
  std::string source_type;        ///< of most of the source's weights: "BF16"
  std::string tokenizer;  ///< pre-tokenizer or model of the tokenizer; empty when there is none
  std::vector<PlannedTensorInfo> tensors;
  uint64_t file_bytes = 0, parameters = 0;
  uint64_t matrices = 0;                ///< that the preset quantizes
  std::vector<TypeFallback> fallbacks;  ///< empty where all of these fit
  std::vector<std::string> warnings;    ///< type options that do not do what they say
  std::string walk;                     ///< in what order the source is read, and how often
  std::string importance;     ///< a file, or the text that it will be gathered from; empty: none
  uint64_t memory_bytes = 0;  ///< estimated anonymous peak
  double bits_per_weight = 0;
};

struct ConvertOptions {
  std::string source;  ///< model directory, snapshot folder, GGUF, store name, or (validate off)
                       ///< plain safetensors
  std::string output;  ///< empty: NAME-TYPE.gguf beside where we run
  std::string type = "auto";  ///< preset name, f32 f16 bf16 auto copy
  bool pure = false;
  std::string output_tensor_type, token_embedding_type;  ///< type names, empty = as the preset says
  std::vector<std::pair<std::string, std::string>> tensor_types;  ///< regex, type name
  MetadataEdits metadata;                                         ///< applied to the source's keys
  bool allow_fallback = true;  ///< false: refuse where a type's blocks do not divide the rows
  bool allow_requantize = false;
  /// What is done for a smaller loss: "fast" (least squared error), "normal" (a search on what
  /// matters), or "best": the model runs on a calibration text, layer after layer, and weights are
  /// rounded so that their errors cancel in its products.
  std::string effort = "normal";
  /// Importance-matrix file that weighs the errors; "auto": gathered from a text while the output
  /// is written; empty: none. At effort "best" a file decides only what best leaves alone.
  std::string imatrix;
  std::vector<std::string>
      calibration_files;            ///< texts for "best" and "auto"; empty: a bundled one
  uint64_t calibration_tokens = 0;  ///< of all of them, at most; 0: by the model's size
  /// What "best" and "auto" gather: written here if absent, read instead of running the model if
  /// present, so that the same file can be made on another machine; empty: not kept.
  std::string statistics;
  /// Types chosen for a size: the file takes at most so many bytes, or its tensors so many bits
  /// for each of their elements; 0: not. What errors in each tensor cost is measured first, with a
  /// run of the source beside that of the conversion. One of the two.
  uint64_t target_size = 0;
  double target_bpw = 0;
  /// Rows REGEX=TYPE, as `tensor_types` and behind these. With a size to order: written if absent,
  /// taken instead of measuring if present.
  std::string tensor_types_file;
  bool force = false;     ///< replace an existing output
  std::string plan_file;  ///< written if absent, replayed if present
  /// Adapters to merge (folders of PEFT's LoRA, or GGUF files), and how strong each is (1: as it
  /// was trained).
  std::vector<std::pair<std::string, double>> adapters;
  std::string base;  ///< of a `source` that is an adapter; empty: where the adapter says
  /// Write the adapter itself, as llama.cpp loads it beside the base: `source`, or the one of
  /// `adapters`. Nothing is validated, since only the two together can be evaluated.
  bool adapter_only = false;
  /// "keep" or "drop" a draft head; empty: kept where a GGUF of its architecture has a place for it
  std::string mtp;
  std::string pre;                        ///< pre-tokenizer name to use
  bool allow_tokenizer_mismatch = false;  ///< write a vocabulary that encodes differently
  /// Output in parts, PREFIX-00001-of-0000N.gguf for an `output` PREFIX.gguf: at most so many bytes
  /// each (unless one tensor takes more), or so many tensors; 0: no limit. One of the two.
  uint64_t split_size = 0, split_tensors = 0;
  Validate validate = Validate::kQuick;
  std::vector<std::string> text_files;     ///< texts of the gate; empty: the bundled one
  DeviceOptions device = {};               ///< what computes the check; it decides no byte
  std::optional<double> max_ppl_increase;  ///< 0.02 = 2%; empty: the default limit against breakage
  std::optional<double> max_kl;
  bool keep_rejected = false;  ///< leaves NAME.rejected
  std::function<void(const PlanSummary&)>
      on_plan;  ///< called once, before the first byte is written
  std::function<void(const EvaluateResult&)>
      on_validation;  ///< called with the gate's figures, also when they miss the limits
};

struct ConvertResult {
  std::string output, type;       ///< output: what a reader opens, the first of `files`
  std::vector<OutputFile> files;  ///< one, or all parts in order
  uint64_t bytes = 0;
  double bits_per_weight = 0;
  uint64_t tensors = 0;
  std::vector<TypeFallback> fallbacks;  ///< as in PlanSummary
  std::vector<std::string> warnings;
  double seconds = 0;  ///< of the whole run, whose time several outputs share
  uint64_t peak_anonymous_bytes = 0;
  bool resumed = false;
  std::optional<EvaluateResult> validation;
};

/// What became of one of several outputs.
struct ConvertOutcome {
  std::string output, type;
  absl::Status status;   ///< not ok (kGateMissed, ...): there is no file of that name
  ConvertResult result;  ///< where the status is not ok, of use are `validation` and the times
};

/// Nothing is written, except options.plan_file when it is named and absent.
SMELT_EXPORT absl::StatusOr<PlanSummary> PlanConversion(const ConvertOptions& options,
                                                        const Observer& observer = {});

/// The same for several outputs, one of each type; options.type does not count.
SMELT_EXPORT absl::StatusOr<std::vector<PlanSummary>> PlanConversions(
    const ConvertOptions& options, const std::vector<std::string>& types,
    const Observer& observer = {});

/// The output appears under its name only when complete and validated. kGateMissed, kCancelled, ...
/// leave no file of that name.
SMELT_EXPORT absl::StatusOr<ConvertResult> Convert(const ConvertOptions& options,
                                                   const Observer& observer = {});

/// An output of each of `types` from one read of the source, in their order; options.type does not
/// count, options.output is a folder ("DIR/" is made if it is not there) or empty. Rows, what is
/// gathered of inputs, and the source's evaluation are shared. Each output has a plan, parts, a
/// journal and a check of its own, the bytes of a conversion to its type alone, and can be resumed
/// with the others or alone. An output that misses its check, or cannot get its name, does not stop
/// the others; any other failure is that of all. on_plan and on_validation are called for each.
SMELT_EXPORT absl::StatusOr<std::vector<ConvertOutcome>> ConvertToTypes(
    const ConvertOptions& options, const std::vector<std::string>& types,
    const Observer& observer = {});

}  // namespace smelt
