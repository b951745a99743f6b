// Texts that travel with the program, all in the public domain; testdata/text/README.md says what
// they are. They share no passage.
#pragma once

#include <string_view>

namespace smelt {

/// The gate's, unless the user names another: testdata/text/short.txt.
std::string_view BundledText();
/// What importance is gathered on: testdata/text/calibration.txt, prose, code, data and passages in
/// other languages, mixed so that its beginning is a fair sample.
std::string_view BundledCalibrationText();

}  // namespace smelt
