// Decoders: texts of tokens in, text out.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// The steps of a spec, made ready; SentencePiece's is the engine's own (sentencepiece_decoder.h).
class Decoder {
 public:
  static absl::StatusOr<Decoder> Make(std::span<const DecoderStep> steps);

  /// `raw`: bytes that are no UTF-8 stay as they are, where they come from bytes.
  std::string Apply(std::vector<std::string> tokens, bool raw = false) const;

 private:
  using Step = std::function<void(std::vector<std::string>& tokens, bool raw)>;
  std::vector<Step> steps_;
};

/// Invalid bytes become U+FFFD, one for every maximal part of a character.
std::string RepairUtf8(std::string_view text);

}  // namespace smelt
