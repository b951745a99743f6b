// Hashes for tables whose keys come from files. A stranger who knows the hash can write keys that
// all fall into one place, so that a table of n of them costs n squared; here each process draws a
// key. Nothing that is written may depend on the order of such a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace smelt {

/// SipHash-1-3 (Aumasson and Bernstein 2012, with one round per word and three at the end, as
/// Rust's and CPython's tables use it).
inline uint64_t SipHash13(uint64_t key0, uint64_t key1, std::string_view text) {
  uint64_t a = key0 ^ 0x736f6d6570736575, b = key1 ^ 0x646f72616e646f6d,
           c = key0 ^ 0x6c7967656e657261, d = key1 ^ 0x7465646279746573;
  const auto rotate = [](uint64_t x, int n) { return x << n | x >> (64 - n); };
  const auto round = [&] {
    a += b, c += d;
    b = rotate(b, 13) ^ a, d = rotate(d, 16) ^ c;
    a = rotate(a, 32);
    c += b, a += d;
    b = rotate(b, 17) ^ c, d = rotate(d, 21) ^ a;
    c = rotate(c, 32);
  };
  const auto absorb = [&](uint64_t word) {
    d ^= word;
    round();
    a ^= word;
  };
  const char* p = text.data();
  size_t left = text.size();
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);  // little-endian machines only, as everywhere here
    absorb(word);
  }
  uint64_t last = static_cast<uint64_t>(text.size()) << 56;
  for (size_t i = 0; i < left; ++i)
    last |= static_cast<uint64_t>(static_cast<unsigned char>(p[i])) << (8 * i);
  absorb(last);
  c ^= 0xff;
  round();
  round();
  round();
  return a ^ b ^ c ^ d;
}

/// Drawn once per process.
struct HashKeys {
  uint64_t text[2];
  uint64_t pair[3];
};
const HashKeys& ProcessHashKeys();

inline uint64_t HashText(std::string_view text) {
  const HashKeys& keys = ProcessHashKeys();
  return SipHash13(keys.text[0], keys.text[1], text);
}

/// Of two numbers: a sum of products with drawn factors (multilinear hashing, Lemire and Kaser
/// 2014), stirred so that regular numbers fall into irregular places.
inline uint32_t HashPair(uint32_t first, uint32_t second) {
  const HashKeys& keys = ProcessHashKeys();
  uint64_t sum = keys.pair[0] + keys.pair[1] * first + keys.pair[2] * second;
  sum = (sum ^ sum >> 32) * 0x9e3779b97f4a7c15;
  return static_cast<uint32_t>(sum >> 32);
}

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return HashText(text); }
};
struct NumberHash {
  size_t operator()(uint64_t n) const {
    return HashPair(static_cast<uint32_t>(n), static_cast<uint32_t>(n >> 32));
  }
};

template <typename Text, typename Value>
using TextMap = std::unordered_map<Text, Value, TextHash, std::equal_to<>>;
template <typename Text>
using TextSet = std::unordered_set<Text, TextHash, std::equal_to<>>;

}  // namespace smelt
