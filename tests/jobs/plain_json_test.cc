#include "lib/jobs/plain_json.h"

#include <gtest/gtest.h>

#include <string>

namespace smelt {
namespace {

TEST(PlainJson, OneFormOfEachValue) {
  EXPECT_EQ(WithPlainJson("a {\"b\": [1, 2.5], \"a\": {}}, {x} [INST] [{\"c\":\n null}]"),
            "a {\"a\":{},\"b\":[1,2.5]}, {x} [INST] [{\"c\":null}]");
  EXPECT_EQ(WithPlainJson("{\"description\": \"\", \"d\": \"\\u003c}\\\"\"}"),
            "{\"d\":\"<}\\\"\"}");
  EXPECT_EQ(WithPlainJson("{\"description\": \"x\"}"), "{\"description\":\"x\"}");
  EXPECT_EQ(WithPlainJson(""), "");
}

TEST(PlainJson, WhatIsNoJsonStays) {
  for (const char* text :
       {"{", "]", "{\"a\": }", "{\"a\"", "\"{\\\"a\\\": 1}\"", "{{ x }}", "[1, 2"})
    EXPECT_EQ(WithPlainJson(text), text);
  EXPECT_EQ(WithPlainJson("{\"a\": { \"b\": 1}"), "{\"a\": {\"b\":1}");
}

// Takes no more than a moment.
TEST(PlainJson, OpenBracketsWithoutEnd) {
  const std::string open(4 << 20, '['), quotes = std::string(2 << 20, '"') + open;
  EXPECT_EQ(WithPlainJson(open), open);
  EXPECT_EQ(WithPlainJson(quotes), quotes);
  std::string lists;
  while (lists.size() < 4 << 20) lists += "[[],";
  EXPECT_EQ(WithPlainJson(lists), lists);
}

}  // namespace
}  // namespace smelt
