// Adapters recorded from peft (testdata/lora), and how their models are opened.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/cat.h"
#include "lib/model/open.h"
#include "tests/testing/testing.h"

namespace smelt {

inline std::string RecordedAdapter(std::string_view name) {
  return testing::TestdataPath(Cat("lora/", name));
}

inline OpenOptions WithoutVocabulary() {
  OpenOptions options;
  options.vocabulary = false;
  return options;
}

}  // namespace smelt
