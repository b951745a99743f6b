// Trees of JSON values, built event by event.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lib/base/json.h"

namespace smelt {

/// Builds the tree from the parser's events, which has checked depth and duplicates. A handler that
/// takes some events itself hands the others on.
class JsonTree : public JsonHandler {
 public:
  absl::Status Null() override { return Add(JsonValue()); }
  absl::Status Bool(bool value) override { return Add(JsonValue(value)); }
  absl::Status Int(int64_t value) override { return Add(JsonValue(value)); }
  absl::Status Uint(uint64_t value) override { return Add(JsonValue(value)); }
  absl::Status Double(double value, std::string_view) override { return Add(JsonValue(value)); }
  absl::Status String(std::string&& value) override { return Add(JsonValue(std::move(value))); }
  absl::Status StartObject() override {
    open_.push_back({.is_object = true, .key = {}, .object = {}, .array = {}});
    return absl::OkStatus();
  }
  absl::Status Key(std::string&& key) override {
    open_.back().key = std::move(key);
    return absl::OkStatus();
  }
  absl::Status EndObject() override {
    JsonValue value(std::move(open_.back().object));
    open_.pop_back();
    return Add(std::move(value));
  }
  absl::Status StartArray() override {
    open_.push_back({.is_object = false, .key = {}, .object = {}, .array = {}});
    return absl::OkStatus();
  }
  absl::Status EndArray() override {
    JsonValue value(std::move(open_.back().array));
    open_.pop_back();
    return Add(std::move(value));
  }

  /// A value in the place where one is due.
  absl::Status Add(JsonValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().object.emplace_back(std::move(open_.back().key), std::move(value));
    } else {
      open_.back().array.push_back(std::move(value));
    }
    return absl::OkStatus();
  }

  JsonValue TakeRoot() { return std::move(root_); }

 private:
  struct Frame {
    bool is_object;
    std::string key;
    JsonValue::Object object;
    JsonValue::Array array;
  };

  std::vector<Frame> open_;
  JsonValue root_;
};

}  // namespace smelt
