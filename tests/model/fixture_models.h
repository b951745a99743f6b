// The models that tests take from testdata or the shared ground truth.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace smelt::testing {

/// Of these there is the published folder, what transformers computes (golden.json), and what
/// llama.cpp's converter makes of it (expected_gguf.json).
inline const std::string kAttentionModels[] = {
    "llama", "llama-spm", "mistral", "mixtral", "qwen2", "qwen2moe", "qwen3",      "qwen3moe",
    "gemma", "gemma2",    "gemma3",  "phi3",    "gpt2",  "gptneox",  "starcoder2", "olmo2"};
inline const std::string kModelsOf2026[] = {
    "olmo3",        "olmoe",      "smollm3",          "granite",      "cohere",     "cohere2",
    "seed_oss",     "ernie4_5",   "exaone4",          "arcee",        "nemotron",   "stablelm",
    "phi",          "mistral3",   "hunyuan_v1_dense", "qwen3_vl",     "qwen2_5_vl", "ministral3",
    "qwen3_vl_moe", "gemma4",     "gemma4_moe",       "gemma4_e",     "qwen3_5",    "qwen3_5_moe",
    "qwen3_next",   "minimax_m2", "glm4_moe",         "ernie4_5_moe", "apertus",    "internlm2"};
inline const std::string kStateSpaceModels[] = {"mamba", "mamba2", "codestral-mamba",
                                                "codestral-mamba-hf", "jamba"};
inline const std::string kHybridModels[] = {"lfm2",       "lfm2_moe",       "granitemoehybrid",
                                            "nemotron_h", "nemotron_h_moe", "nemotron_h_super",
                                            "falcon_h1",  "deepseek_v2",    "deepseek_v3"};

/// The same of checkpoints whose weights are quantized.
inline const std::string kQuantizedModels[] = {"llama-gptq", "llama-gptq-3bit", "llama-awq",
                                               "llama-ct",   "llama-bnb-nf4",   "llama-bnb-int8",
                                               "llama-fp8",  "llama-fp8-block", "llama-mxfp4"};
/// Untrained: what transformers computes is known, nothing of llama.cpp's.
inline const std::string kRecordedModels[] = {
    "granitemoe", "bamba", "falcon_mamba", "glm4_moe_lite", "mistral4", "phimoe", "exaone"};

/// A folder's name as the name of a test.
inline std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace smelt::testing
