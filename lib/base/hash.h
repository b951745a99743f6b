// SHA-256 (libcrypto, uses the processor's instructions) and xxhash.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace smelt {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void Update(std::span<const std::byte> bytes);
  std::array<uint8_t, 32> Finish();
  std::string FinishHex();  ///< 64 lower-case digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string Sha256Hex(std::span<const std::byte> bytes);

/// The hash of a file's content, and the IdentityOf the file that it is of. Empty: not known.
struct FileHash {
  std::string sha256;  ///< 64 lower-case digits
  std::string identity;
};

uint64_t XxHash64(std::span<const std::byte> bytes);

}  // namespace smelt
