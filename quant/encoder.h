// How rows of f32 become bytes of a format, apart from how these are read (codec.h). Stateless; one
// object per type and effort for the life of the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lib/base/tensor_type.h"

namespace smelt {

class InputFactor;

/// What is known about the inputs of a matrix when it is encoded.
struct InputStatistics {
  /// The diagonal of their second moment: one finite value >= 0 per column of the matrix, up to a
  /// common factor. Empty where nothing is known, and the same as that where all are zero.
  std::span<const float> importance{};
  /// The whole of it (input_factor.h), of as many columns as the matrix; taken instead of the
  /// diagonal at Effort::kBest, ignored at others, and where it is of another number of columns.
  /// Read by any number of threads at once.
  const InputFactor* factor = nullptr;
};

/// How much is done for a smaller loss.
enum class Effort : uint8_t {
  kFast,    ///< unweighted squared error where no importance is given
  kNormal,  ///< without importance, what the weights' own magnitudes say about it
  kBest,    ///< rounding with feedback where there is an InputFactor; else as kNormal
};

/// The effort of that name ("fast", "normal", "best"); nothing where there is none.
std::optional<Effort> EffortNamed(std::string_view name);

/// Working memory of an encoder, reused from tile to tile by one thread.
class EncodeScratch {
 public:
  std::vector<float> f32;
  std::vector<std::byte> bytes;
};

class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual TensorType type() const = 0;

  /// Encodes `rows` rows of `columns` (a multiple of the block) of one matrix. The same input gives
  /// the same bytes on every machine, and each row is encoded for itself. Inputs are finite; where
  /// one is too large for the block's f16 scale, Codec::Validate of the output says so. With a
  /// factor, 16 rows are encoded side by side, and more share what is read of it: give 64 or more.
  virtual void Encode(uint64_t rows, uint64_t columns, const float* x,
                      const InputStatistics& statistics, std::byte* out,
                      EncodeScratch& scratch) const = 0;
};

/// Exists for F32, F16, BF16 and every block format that we can write; nullptr otherwise.
const Encoder* FindEncoder(TensorType type, Effort effort = Effort::kFast);
inline bool CanEncode(TensorType type) { return FindEncoder(type) != nullptr; }

/// True for the types whose loss without importance is so large that callers refuse to write them
/// without. Encode itself takes what it gets.
bool NeedsImportance(TensorType type);

}  // namespace smelt
