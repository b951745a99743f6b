// Text from a model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/devices.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

/// How a text goes on. Values out of range are refused with kUsage.
struct ContinueOptions {
  int64_t max_tokens = 128;
  double temperature = 0.8, top_p = 0.95, min_p = 0.05, repeat_penalty = 1.0;
  int top_k = 40;
  std::optional<uint64_t> seed;  ///< none: another one each time; GenerateResult says which
  bool ignore_eos = false;
  std::vector<std::string> stop;  ///< the text ends before the first of these, which is left out
  std::function<void(std::string_view)> on_text;  ///< pieces as they become complete characters
  /// Special tokens whose texts are part of the text, of which special tokens else are none.
  std::vector<int32_t> shown_tokens = {};
};

struct GenerateOptions : ContinueOptions {
  std::string model;
  std::string prompt;
  std::string prompt_file;          ///< read instead of `prompt`, without a last end of line; "-" =
                                    ///< standard input
  std::vector<int32_t> prompt_ids;  ///< taken as they are, instead of `prompt`
  bool use_prompt_ids = false;
  Activations activations = Activations::kUsual;
  DeviceOptions device = AnyDevice();  ///< what computes
  /// Weights are copied to the order in which single tokens read them fastest, where memory allows.
  bool repack = true;
  /// Merged into `model` as it is read: folders of PEFT's or GGUF files, and how strong each is.
  std::vector<std::pair<std::string, double>> adapters = {};
};

enum class FinishReason {
  kStop,         ///< an end-of-generation token, or one of the stop texts
  kLength,       ///< max_tokens
  kInterrupted,  ///< the observer cancelled it
};

/// "stop", "length", "interrupted"
SMELT_EXPORT std::string_view FinishReasonName(FinishReason reason);

struct GenerateResult {
  std::vector<int32_t> prompt_ids, ids;
  std::string text;
  FinishReason finish_reason = FinishReason::kLength;
  uint64_t seed = 0;
  std::string device = "cpu";  ///< what computed: DeviceInfo::id
  /// Layers that ran on it, the others on the processor; empty where that is what computed.
  std::optional<uint64_t> device_layers = {};
  /// "q8" or "f32": how exact it was; "f32+q8" of a device and the processor together.
  std::string activations = {};
  double prompt_tokens_per_second = 0, tokens_per_second = 0;
};

/// Interrupted, it returns what there is until then. kInvalidInput when the model gives logits that
/// are not finite.
SMELT_EXPORT absl::StatusOr<GenerateResult> Generate(const GenerateOptions& options,
                                                     const Observer& observer = {});

/// Where a model stands after some tokens: keys and values of attention, states and windows of
/// state-space layers. A value: copies are cheap (they share what cannot change) and outlive the
/// generator that made them.
class SMELT_EXPORT GeneratorState {
 public:
  GeneratorState();
  GeneratorState(const GeneratorState&);
  GeneratorState& operator=(const GeneratorState&);
  ~GeneratorState();
  uint64_t positions() const;  ///< tokens of the sequence so far

 private:
  friend class Generator;
  struct Data;
  std::shared_ptr<const Data> data_;
};

struct GeneratorOptions {
  std::string model;
  Activations activations = Activations::kUsual;
  DeviceOptions device = AnyDevice();                         ///< see GenerateOptions
  bool repack = true;                                         ///< see GenerateOptions
  std::vector<std::pair<std::string, double>> adapters = {};  ///< see GenerateOptions
};

/// A model kept open, and one sequence of tokens that grows. With Save and Restore a long prompt is
/// processed once and continued many times:
///
///     generator->Feed(prompt); const GeneratorState after = generator->Save().value();
///     for (...) { generator->Restore(after); generator->Continue(options); }
class SMELT_EXPORT Generator {
 public:
  static absl::StatusOr<std::unique_ptr<Generator>> Open(const GeneratorOptions& options,
                                                         const Observer& observer = {});
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  uint64_t vocabulary() const;
  /// What computes: DeviceInfo::id.
  const std::string& device() const;
  /// False: ids only; Encode fails and texts are empty.
  bool has_tokenizer() const;
  /// As the model wants a text to begin (`start`) or to go on.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool start = true) const;
  /// The ids of the tokens that are these texts in the vocabulary; -1: there is none.
  std::vector<int32_t> TokensOf(std::span<const std::string_view> texts) const;

  /// Appends to the sequence. kInvalidInput names an id outside the vocabulary. After an error (or
  /// kCancelled) the sequence is what it was before; a model with recurrent states cannot always go
  /// back: then Feed and Continue fail with kUsage until Restore. Going beyond the context that the
  /// model was trained for is one warning.
  absl::Status Feed(std::span<const int32_t> ids, const Observer& observer = {});
  /// Of the token after the last one that was fed; empty before the first.
  const std::vector<float>& logits() const;
  uint64_t positions() const;

  absl::StatusOr<GeneratorState> Save() const;
  /// kUsage when the state is of another model or of none.
  absl::Status Restore(const GeneratorState& state);

  /// Samples from where the sequence stands, and appends what it samples, but for the last token.
  /// kUsage when nothing was fed, kInvalidInput when logits are not finite. Interrupted, it returns
  /// what there is until then.
  absl::StatusOr<GenerateResult> Continue(const ContinueOptions& options,
                                          const Observer& observer = {});

 private:
  struct Impl;
  explicit Generator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace smelt
