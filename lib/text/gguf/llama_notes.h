// What llama.cpp encodes otherwise than the tokenizer does, found by comparing the ids of both.
#pragma once

#include <string>

#include "lib/base/metadata.h"

namespace smelt {

/// One sentence for the user about the vocabulary in `written`; empty when llama.cpp gives the same
/// ids and the same texts. Everything follows from what the keys say, nothing from what a model is
/// called, but for the names by which llama.cpp itself decides.
std::string LlamaCppNote(const Metadata& written);

}  // namespace smelt
