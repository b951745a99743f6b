// What of a text stands for the beginning of the original one, while normalizers change it:
// Metaspace's scheme "first" asks. The library keeps the place in the original of every byte; here
// it is enough to know how many bytes at the beginning have the first place.
#pragma once

#include <string_view>
#include <vector>

#include "lib/base/unicode.h"

namespace smelt {

/// Before any step: the first character.
size_t StartOf(std::string_view text);

/// After `text`, of which `start` bytes stand for the beginning, became `changed`.
size_t StartAfter(std::string_view text, size_t start, const std::vector<NormalizedChar>& changed);

/// After a normal form of `text`.
size_t StartAfterForm(std::string_view text, size_t start, NormalForm form);

}  // namespace smelt
