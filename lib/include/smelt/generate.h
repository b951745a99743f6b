// Text from a model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

/// How a text goes on.
struct ContinueOptions {
  int64_t max_tokens = 128;
  double temperature = 0.8, top_p = 0.95, min_p = 0.05, repeat_penalty = 1.0;
  int top_k = 40;
  uint64_t seed = 0;
  bool ignore_eos = false;
  std::function<void(std::string_view)> on_text;  ///< pieces as they become complete characters
};

struct GenerateOptions : ContinueOptions {
  std::string model;
  std::string prompt;
  std::vector<int32_t> prompt_ids;  ///< taken as they are, instead of `prompt`
  bool use_prompt_ids = false;
  bool f32_activations = false;
};

struct GenerateResult {
  std::vector<int32_t> prompt_ids, ids;
  std::string text;
  double prompt_tokens_per_second = 0, tokens_per_second = 0;
};

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
  bool f32_activations = false;
};

/// A model kept open, and one sequence of tokens that grows. With Save and Restore a long prompt is
/// processed once and continued many times:
///
///     generator->Feed(prompt); const GeneratorState after = generator->Save();
///     for (...) { generator->Restore(after); generator->Continue(options); }
class SMELT_EXPORT Generator {
 public:
  static absl::StatusOr<std::unique_ptr<Generator>> Open(const GeneratorOptions& options,
                                                         const Observer& observer = {});
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  uint64_t vocabulary() const;
  /// False: ids only; Encode fails and texts are empty.
  bool has_tokenizer() const;
  /// As the model wants a text to begin (`start`) or to go on.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool start = true) const;

  /// Appends to the sequence. kInvalidInput names an id outside the vocabulary; nothing is fed
  /// then.
  absl::Status Feed(std::span<const int32_t> ids);
  /// Of the token after the last one that was fed; empty before the first.
  const std::vector<float>& logits() const;
  uint64_t positions() const;

  GeneratorState Save() const;
  /// kUsage when the state is of another model or of none.
  absl::Status Restore(const GeneratorState& state);

  /// Samples from where the sequence stands, and appends what it samples, but for the last token.
  /// kUsage when nothing was fed.
  absl::StatusOr<GenerateResult> Continue(const ContinueOptions& options,
                                          const Observer& observer = {});

 private:
  struct Impl;
  explicit Generator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace smelt
