// The text that the gate uses unless the user names another: testdata/text/short.txt, public
// domain.
#pragma once

#include <string_view>

namespace smelt {

std::string_view BundledText();

}  // namespace smelt
