// How much llama.cpp's converter said when an architecture's files got their form.
#pragma once

#include <algorithm>
#include <iterator>
#include <string_view>

namespace smelt {

/// Since 2026, it states for every byte-level vocabulary whether texts begin and end with a token,
/// and a penalty for repetition. Files of architectures from before stay as they were.
inline bool StatesAsIn2025(std::string_view architecture) {
  constexpr std::string_view kArchitectures[] = {
      "llama", "qwen2",   "qwen2moe",   "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi3",
      "gpt2",  "gptneox", "starcoder2", "olmo2", "gpt-oss",  "mamba", "mamba2", "jamba"};
  return std::ranges::find(kArchitectures, architecture) != std::end(kArchitectures);
}

}  // namespace smelt
