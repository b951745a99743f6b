// The damaged inputs of testdata/bad and what their manifest asks of readers.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/json.h"

namespace smelt::testing {

struct BadCase {
  std::string id, path, expect;  ///< expect: "refuse", "accept", "warn", "either"
  std::vector<std::string> bases, mentions, mentions_all;
  JsonValue setup;
};
void PrintTo(const BadCase& c, std::ostream* out);
/// The id as the name of a test.
std::string BadCaseName(const ::testing::TestParamInfo<BadCase>& info);

/// Entries whose id begins with one of `prefixes` and whose command is `command` (empty: any).
std::vector<BadCase> BadCases(std::initializer_list<std::string_view> prefixes,
                              std::string_view command = "");

/// The complete input below `root`/a/b/, as run_bad.py makes it.
std::string Materialize(const BadCase& c, const std::string& root);

/// Refused with a good sentence that mentions what it must; `unasked`: texts that prove nothing,
/// left out of the sentence first, such as the input's own path.
void ExpectRefused(const BadCase& c, const absl::Status& status,
                   const std::vector<std::string>& unasked);
/// One of `mentions` is in the sentence, whatever the case of letters.
void ExpectMention(const BadCase& c, std::string_view sentence);

}  // namespace smelt::testing
