// An adapter of PEFT's as a GGUF of its own, which llama.cpp loads beside the base.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "lib/model/open.h"

namespace smelt {

/// The adapter in the folder `adapter` as convert_lora_to_gguf writes it, `strength` times as
/// strong: NAME.lora_a and NAME.lora_b for each tensor of the base that it changes, and
/// adapter.lora.alpha. What of a module's own scale the file has no key for (rsLoRA, patterns) is
/// multiplied into lora_b. `base`: a published folder, of which config.json is enough, or a GGUF;
/// empty: where the adapter says. kUnsupported for what such a file cannot hold (DoRA, whole
/// tensors, rows of tokens, biases).
absl::StatusOr<OpenedModel> OpenAsLoraFile(const std::string& adapter, double strength,
                                           const std::string& base);

}  // namespace smelt
