// Conversions as tests ask for them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "smelt/convert.h"
#include "smelt/observer.h"
#include "tests/testing/testing.h"

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

/// Tokens of a calibration: several chunks, in a part of the time that the usual number takes.
constexpr uint64_t kFewTokens = 2048;

/// A small recorded model of testdata, by its name.
inline std::string Model(const char* name) { return TestdataPath(std::string("models/") + name); }

/// Cancels a conversion once it has written half.
inline Observer StopsHalfWay() {
  const auto stop = std::make_shared<bool>(false);
  Observer observer;
  observer.progress = [stop](const Progress& progress) {
    *stop = *stop || (progress.phase == "writing" && 2 * progress.done >= progress.total);
  };
  observer.cancelled = [stop] { return *stop; };
  return observer;
}

}  // namespace smelt::testing
