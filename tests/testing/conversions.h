// Conversions as tests ask for them.
#pragma once

#include <string>
#include <string_view>

#include "smelt/convert.h"

namespace smelt::testing {

inline ConvertOptions Conversion(const std::string& source, const std::string& output,
                                 std::string_view type) {
  ConvertOptions options;
  options.source = source;
  options.output = output;
  options.type = type;
  return options;
}

/// The same without the check of what was written.
inline ConvertOptions UncheckedConversion(const std::string& source, const std::string& output,
                                          std::string_view type) {
  ConvertOptions options = Conversion(source, output, type);
  options.validate = Validate::kOff;
  return options;
}

}  // namespace smelt::testing
