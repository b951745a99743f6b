// Normalizers: text in, text out, before it is cut.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/components/byte_trie.h"
#include "lib/text/regex/regex.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// The steps of a spec, made ready. Without steps, a text stays as it is.
class Normalizer {
 public:
  /// `user_defined`: pieces that SentencePiece's normalization passes unchanged; outlives this.
  static absl::StatusOr<Normalizer> Make(std::span<const NormalizerStep> steps, RegexEngine engine,
                                         const ByteTrie& user_defined);

  bool empty() const { return steps_.empty(); }
  /// `text` is valid UTF-8 and stays so. `start`: how many bytes at its beginning stand for the
  /// beginning of the original text, as the library counts; none when a step removed that.
  absl::Status Apply(std::string& text, size_t& start) const;
  absl::Status Apply(std::string& text) const {
    size_t start = 0;
    return Apply(text, start);
  }

 private:
  using Step = std::function<absl::Status(std::string& text, size_t& start)>;
  std::vector<Step> steps_;
};

absl::StatusOr<Regex> CompilePattern(const Pattern& pattern, RegexEngine engine);

/// Replaces every match. `start` as in Normalizer::Apply.
absl::Status ReplaceAll(const Regex& pattern, std::string_view content, std::string& text,
                        size_t& start);

}  // namespace smelt
