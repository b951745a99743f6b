// Perplexity and KL divergence of any model that we can read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/devices.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct EvaluateOptions {
  std::string model;                    ///< directory, GGUF or store name
  std::vector<std::string> text_files;  ///< each scored by itself; "-" = standard input
  std::string tokens_file;              ///< JSON list of ids instead of text
  std::string logits_out;  ///< with tokens_file: one sequence, logits [n, vocab] F32 as safetensors
  std::string reference;   ///< another model
  /// Merged into `model` as it is read: folders of PEFT's or GGUF files, and how strong each is.
  std::vector<std::pair<std::string, double>> adapters = {};
  uint64_t context = 512;
  uint64_t chunks = 0;  ///< of each text; 0 = all
  bool q8_activations = false;
  DeviceOptions device = AnyDevice();     ///< what computes
  bool allow_tokenizer_mismatch = false;  ///< compare models that read text differently
  std::optional<double> max_ppl, max_ppl_increase, max_kl;
};

struct GateResult {
  std::string name;  ///< "max_ppl", ...
  double limit = 0, value = 0;
  bool passed = true;
};

struct ReferenceResult {
  std::string model;
  double perplexity = 0, kl_mean = 0, kl_median = 0, kl_p99 = 0, kl_p999 = 0, kl_max = 0;
  double top1_agreement = 0, ln_ratio = 0, ln_ratio_error = 0;
};

/// One of several texts. Of a text shorter than two contexts a single chunk is evaluated.
struct TextResult {
  std::string text;     ///< the file
  uint64_t tokens = 0;  ///< of the whole text
  uint64_t context = 0, chunks = 0, tokens_scored = 0, bytes_scored = 0;
  double perplexity = 0, perplexity_error = 0, mean_nll = 0;
  std::optional<double> bits_per_byte;  ///< unknown without a vocabulary
  std::optional<double> kl_mean;        ///< with a reference
};

/// The figures are those of all texts together, each scored token counting the same.
struct EvaluateResult {
  std::string model;
  std::string device = "cpu";  ///< what computed: DeviceInfo::id
  uint64_t context = 0;        ///< tokens of the longest chunk
  uint64_t chunks = 0, tokens_scored = 0, bytes_scored = 0;
  double perplexity = 0, perplexity_error = 0, mean_nll = 0;
  /// Bits that the scored text needs, per byte of it: comparable between models of different
  /// vocabularies.
  std::optional<double> bits_per_byte;
  double seconds = 0, tokens_per_second = 0;
  std::vector<TextResult> texts;
  std::optional<ReferenceResult> reference;
  bool passed = true;
  std::vector<GateResult> gates;
};

SMELT_EXPORT absl::StatusOr<EvaluateResult> Evaluate(const EvaluateOptions& options,
                                                     const Observer& observer = {});

}  // namespace smelt
