// What the fuzz targets share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/storage.h"

namespace smelt::fuzz {

/// Aborts with a sentence: the fuzzer keeps the input.
inline void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

/// An error's sentence must fit a terminal line and hold no control characters.
inline void RequireGoodMessage(const absl::Status& status) {
  Require(status.message().size() < 390, "a message is short");
  for (char c : status.message())
    Require(static_cast<unsigned char>(c) >= 32, "a message is printable");
}

inline std::shared_ptr<const Storage> InMemory(const uint8_t* data, size_t size) {
  const std::byte* bytes = reinterpret_cast<const std::byte*>(data);
  return MemoryStorage("input", std::vector<std::byte>(bytes, bytes + size));
}

}  // namespace smelt::fuzz
