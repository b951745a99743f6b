// Every metadata key under "smelt.": what a model needs to say and llama.cpp has no key for.
// docs/keys.md is this table, printed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "lib/base/metadata.h"

namespace smelt {

/// How many values a key holds.
enum class KeyLength {
  kOne,            ///< no list
  kAny,            ///< a list
  kPairs,          ///< a list of 2n
  kThrees,         ///< a list of 3n
  kUpToTokens,     ///< at most one for each token of the vocabulary
  kPerExtraToken,  ///< one for each entry of smelt.tokenizer.extra_tokens
  kPerRotaryPair,  ///< one for each pair of rotary dimensions
  kPerLayer,       ///< one for each block
};

/// Which values a key holds. Numbers are finite.
enum class KeyValues {
  kAny,
  kNotNegative,
  kPositive,
  kWords,            ///< one of the row's words
  kJson,             ///< checked where the component is made
  kTokenIds,         ///< of the vocabulary
  kTokenIdsAndBits,  ///< id, bits, id, bits, ...
  kAddedTypes,       ///< control (3) or user-defined (4)
};

struct OwnKeyRow {
  std::string_view name;
  ValueType type;  ///< as it is written; of a list, its elements
  KeyLength length;
  KeyValues values;
  std::string_view writer;
  std::string_view meaning;
  std::string_view words = {};  ///< of kWords, a space between
  ValueType or_type = type;     ///< a second type that is written
};

inline constexpr std::string_view kOwnPrefix = "smelt.";
inline constexpr std::string_view kOwnTokenizerPrefix = "smelt.tokenizer.";

/// Bits of smelt.tokenizer.added_flags are below this.
inline constexpr int32_t kAddedBitsEnd = 256;

// In the order of their names.
inline constexpr OwnKeyRow kOwnKeys[] = {
    {"smelt.activation", ValueType::kString, KeyLength::kOne, KeyValues::kWords,
     "families whose configuration names another activation than their architecture has",
     "the activation function of the feed-forward part", "silu gelu gelu_tanh relu relu2"},
    {"smelt.attention.latent_norm_epsilon", ValueType::kF32, KeyLength::kOne,
     KeyValues::kNotNegative, "families with multi-head latent attention",
     "epsilon of the norms inside attention, where it is not that of the other norms"},
    {"smelt.attention.rotated_layers", ValueType::kU8, KeyLength::kPerLayer, KeyValues::kAny,
     "families of which some layers do not rotate, where their architecture says other ones",
     "1 for each block whose queries and keys are rotated, 0 for the others"},
    {"smelt.attention.scale_by_layer", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "GPT-2 (scale_attn_by_inverse_layer_idx)",
     "attention logits are divided by the layer's number, counted from 1"},
    {"smelt.expert_nearness", ValueType::kF32, KeyLength::kOne, KeyValues::kNotNegative,
     "Phi-3.5-MoE (router_jitter_noise)",
     "how far from the best an expert's logit may be and share in its weight (SparseMixer); 0.02 "
     "where the key is missing"},
    {"smelt.padding", ValueType::kString, KeyLength::kOne, KeyValues::kAny,
     "smelt set, where the new keys are shorter than the old ones",
     "nothing: fills the place that the tensors behind it leave"},
    {"smelt.rope.attn_factor_long", ValueType::kF32, KeyLength::kOne, KeyValues::kNotNegative,
     "Phi-3.5-MoE (long_mscale)",
     "magnitude of the rotated vectors in texts longer than the original context"},
    {"smelt.rope.attn_factor_swa", ValueType::kF32, KeyLength::kOne, KeyValues::kNotNegative,
     "families that scale the rotation of layers with a window (YaRN)",
     "magnitude of the rotated vectors in layers with a window"},
    {"smelt.rope.dynamic_factor", ValueType::kF32, KeyLength::kOne, KeyValues::kNotNegative,
     "families with dynamic rope scaling",
     "the base grows with a text longer than the context, by this factor; 0: it does not"},
    {"smelt.rope.factors", ValueType::kF32, KeyLength::kPerRotaryPair, KeyValues::kPositive,
     "families with llama3 or longrope scaling whose architecture has no tensor for it",
     "divisors of the rotary frequencies"},
    {"smelt.rope.factors_long", ValueType::kF32, KeyLength::kPerRotaryPair, KeyValues::kPositive,
     "families with longrope scaling whose architecture has no tensor for it",
     "the same for texts longer than the original context"},
    {"smelt.rope.factors_swa", ValueType::kF32, KeyLength::kPerRotaryPair, KeyValues::kPositive,
     "families that scale the rotation of layers with a window",
     "divisors of the rotary frequencies in layers with a window"},
    {"smelt.rope.scaling.yarn_truncate", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "families with YaRN and truncate false",
     "YaRN's correction range is rounded to whole dimensions; true where the key is missing"},
    {"smelt.ssm.dt_b_c_epsilon", ValueType::kF32, KeyLength::kOne, KeyValues::kNotNegative,
     "Falcon-Mamba (mixer_rms_eps)",
     "epsilon of the norms of dt, B and C, where it is not that of the other norms"},
    {"smelt.ssm.norm_before_gate", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "Falcon-H1 (mamba_norm_before_gate)",
     "the norm of a Mamba-2 block comes before its gate, not after it"},
    {"smelt.ssm.time_step_max", ValueType::kF32, KeyLength::kOne, KeyValues::kNotNegative,
     "Mamba 2 and its kin (time_step_limit)",
     "highest time step; unlimited where the key is missing"},
    {"smelt.ssm.time_step_min", ValueType::kF32, KeyLength::kOne, KeyValues::kNotNegative,
     "Mamba 2 and its kin (time_step_limit)", "lowest time step; 0 where the key is missing"},
    {"smelt.tokenizer.added_flags", ValueType::kI32, KeyLength::kPairs, KeyValues::kTokenIdsAndBits,
     "every kind with such added tokens",
     "how added tokens are found: 1 as whole words, 2 with the blanks on their left, 4 on their "
     "right, 8 in the normalized text, 16 a control token by its looks only, 32 its spaces stand "
     "for U+2581, 64 as an added token only, 128 never (an unknown token that is no added one)"},
    {"smelt.tokenizer.byte_fallback", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "Unigram pipelines, SentencePiece models",
     "characters that the vocabulary lacks become byte tokens; where the key is missing, as far as "
     "there are such"},
    {"smelt.tokenizer.cleanup", ValueType::kBool, KeyLength::kOne, KeyValues::kAny, "WordPiece",
     "decoding removes spaces before punctuation; true where the key is missing"},
    {"smelt.tokenizer.continuations", ValueType::kI32, KeyLength::kAny, KeyValues::kTokenIds,
     "WordPiece", "tokens that continue a word although their text begins with U+2581"},
    {"smelt.tokenizer.decoder", ValueType::kString, KeyLength::kOne, KeyValues::kJson,
     "pipelines whose decoder is another than that of their kind of vocabulary",
     "the decoder, as tokenizer.json has it"},
    {"smelt.tokenizer.denormalizer_charsmap", ValueType::kU8, KeyLength::kAny, KeyValues::kAny,
     "SentencePiece models", "the compiled rules that decoding applies"},
    {"smelt.tokenizer.end_token_ids", ValueType::kI32, KeyLength::kAny, KeyValues::kTokenIds,
     "every kind, from generation_config.json",
     "tokens that end a generated text besides eos, eot and eom"},
    {"smelt.tokenizer.escape_whitespaces", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "SentencePiece models", "spaces become U+2581; true where the key is missing"},
    {"smelt.tokenizer.extra_ids", ValueType::kI32, KeyLength::kPerExtraToken, KeyValues::kTokenIds,
     "Unigram pipelines beside a SentencePiece model", "ids of smelt.tokenizer.extra_tokens"},
    {"smelt.tokenizer.extra_tokens", ValueType::kString, KeyLength::kAny, KeyValues::kAny,
     "Unigram pipelines beside a SentencePiece model",
     "texts of added tokens for which tokenizer.ggml.tokens has none"},
    {"smelt.tokenizer.extra_types", ValueType::kI32, KeyLength::kPerExtraToken,
     KeyValues::kAddedTypes, "Unigram pipelines beside a SentencePiece model",
     "types of smelt.tokenizer.extra_tokens; control where the key is missing"},
    {"smelt.tokenizer.fuse_unknown", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "BPE with an unknown token", "neighbouring unknown characters are one unknown token"},
    {"smelt.tokenizer.ignore_merges", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "byte-level BPE, where tokenizer.ggml.pre means the opposite",
     "a word that is a token is that token, whatever the merges make of it"},
    {"smelt.tokenizer.max_word_chars", ValueType::kU32, KeyLength::kOne, KeyValues::kAny,
     "WordPiece", "longer words are the unknown token; 100 where the key is missing"},
    {"smelt.tokenizer.merges", ValueType::kI32, KeyLength::kThrees, KeyValues::kTokenIds,
     "SentencePiece-like BPE whose merges do not follow from scores",
     "left, right and result of each merge, the first merging first"},
    {"smelt.tokenizer.normalizer", ValueType::kString, KeyLength::kOne, KeyValues::kJson,
     "pipelines", "the normalizer, as tokenizer.json has it"},
    {"smelt.tokenizer.pre_tokenizer", ValueType::kString, KeyLength::kOne, KeyValues::kJson,
     "pipelines for which tokenizer.ggml.pre does not say it all",
     "the pre-tokenizer, as tokenizer.json has it"},
    {"smelt.tokenizer.precompiled_charsmap", ValueType::kU8, KeyLength::kAny, KeyValues::kAny,
     "SentencePiece models of the type BPE",
     "the compiled rules of the normalizer (tokenizer.ggml.precompiled_charsmap is Unigram's)"},
    {"smelt.tokenizer.remove_extra_whitespaces", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "SentencePiece models of the type BPE",
     "spaces at the ends go and runs become one (tokenizer.ggml.remove_extra_whitespaces is "
     "Unigram's)"},
    {"smelt.tokenizer.scores",
     ValueType::kF64,
     KeyLength::kUpToTokens,
     KeyValues::kAny,
     "Unigram pipelines (f64), SentencePiece-like BPE (f32)",
     "scores of the first tokens, exact, instead of tokenizer.ggml.scores",
     {},
     ValueType::kF32},
    {"smelt.tokenizer.source", ValueType::kString, KeyLength::kOne, KeyValues::kWords,
     "SentencePiece models, Unigram pipelines",
     "what the vocabulary was published as, and encodes as", "sentencepiece pipeline"},
    {"smelt.tokenizer.space_prefix", ValueType::kString, KeyLength::kOne, KeyValues::kWords,
     "SentencePiece-like BPE",
     "where a space is put: nowhere, before every stretch between added tokens, before those that "
     "begin without one, before the beginning of a text, or by smelt.tokenizer.normalizer",
     "none always unless_present first normalizer"},
    {"smelt.tokenizer.split_blanks", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "SentencePiece-like BPE with Metaspace", "nothing merges across the place before a U+2581"},
    {"smelt.tokenizer.unknown_score", ValueType::kF64, KeyLength::kOne, KeyValues::kAny,
     "Unigram pipelines",
     "score of an unknown character; 10 below the lowest where the key is missing"},
    {"smelt.tokenizer.unknown_surface", ValueType::kString, KeyLength::kOne, KeyValues::kAny,
     "SentencePiece models", "what the unknown token decodes to"},
    {"smelt.tokenizer.unknown_token", ValueType::kString, KeyLength::kOne, KeyValues::kAny,
     "BPE that lacks byte tokens, WordPiece", "the token of characters that the vocabulary lacks"},
    {"smelt.tokenizer.user_defined", ValueType::kI32, KeyLength::kAny, KeyValues::kTokenIds,
     "SentencePiece models", "pieces that are found whole, before anything merges"},
    {"smelt.tokenizer.whitespace_as_suffix", ValueType::kBool, KeyLength::kOne, KeyValues::kAny,
     "SentencePiece models", "U+2581 ends words instead of beginning them"},
};

static_assert(std::is_sorted(std::begin(kOwnKeys), std::end(kOwnKeys),
                             [](const OwnKeyRow& a, const OwnKeyRow& b) {
                               return a.name < b.name;
                             }));

}  // namespace smelt
