#include "lib/base/text_hash.h"

#include <sys/auxv.h>
#include <sys/random.h>

#include <chrono>

namespace smelt {
namespace {

HashKeys Draw() {
  HashKeys keys{};
  if (::getrandom(&keys, sizeof keys, 0) == static_cast<ssize_t>(sizeof keys)) return keys;
  // Where the system call is not there or not allowed: what the kernel gave the process at its
  // start, stretched.
  uint64_t seed[2] = {
      static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()), 0};
  if (const auto at = ::getauxval(AT_RANDOM); at != 0)
    std::memcpy(seed, reinterpret_cast<const void*>(at), sizeof seed);
  uint64_t* words = reinterpret_cast<uint64_t*>(&keys);
  for (uint64_t i = 0; i < sizeof keys / sizeof *words; ++i)
    words[i] = SipHash13(seed[0], seed[1], std::string_view(reinterpret_cast<char*>(&i), sizeof i));
  return keys;
}

}  // namespace

const HashKeys& ProcessHashKeys() {
  static const HashKeys keys = Draw();
  return keys;
}

}  // namespace smelt
