// The stored tensors that together are one weight.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/computed_matrix.h"
#include "formats/container.h"
#include "lib/base/json.h"
#include "lib/base/text_hash.h"

namespace smelt {

/// What config.json, or a file beside it, says of a quantization.
struct QuantizationConfig {
  std::string file = "config.json";
  std::string key;     ///< of the dictionary in it
  std::string method;  ///< "gptq", in small letters; empty: nothing is said
  const JsonValue* dictionary = nullptr;

  /// A member's number, text or flag; nullopt where it is absent or another kind of value. Members
  /// that some programs call otherwise (bits: w_bit) are found by their other names too.
  std::optional<int64_t> Number(std::string_view name) const;
  std::optional<std::string> Text(std::string_view name) const;
  std::optional<bool> Flag(std::string_view name) const;
  /// Whether there is a member that is not null.
  bool Has(std::string_view name) const;
  /// What compressed-tensors' config_groups say of weights, group by group.
  std::vector<const JsonValue*> WeightsOfGroups() const;
  /// Whether they say that integers of so many bits have zero points.
  bool HasZeroPoints(uint32_t bits) const;
};

/// A weight: what several stored tensors mean.
struct QuantizedWeight {
  std::vector<uint64_t> shape;
  std::shared_ptr<const ComputedMatrix> matrix;
};

/// Tensors of a container by name, and which of them are parts of weights.
class QuantizedParts {
 public:
  explicit QuantizedParts(const Container& container);

  const RawTensor* Find(std::string_view name) const;
  void Use(const RawTensor& tensor) { used_.insert(&tensor); }
  bool IsUsed(const RawTensor& tensor) const { return used_.contains(&tensor); }

 private:
  TextMap<std::string_view, const RawTensor*> index_;
  std::unordered_set<const RawTensor*> used_;
};

/// One weight being read: `codes` is the tensor that it was known by, `stem` its name without the
/// ending of that.
class QuantizedModule {
 public:
  QuantizedModule(QuantizedParts& parts, const QuantizationConfig& config, const RawTensor& codes,
                  std::string_view stem)
      : config(config), codes(codes), stem(stem), parts_(parts) {}

  const QuantizationConfig& config;
  const RawTensor& codes;
  const std::string stem;

  /// The tensor `stem` + `ending`, which is then used; nullptr when it is not there.
  const RawTensor* Find(std::string_view ending) const;
  /// kInvalidInput when it is not there.
  absl::StatusOr<const RawTensor*> Need(std::string_view ending) const;
  bool Has(std::string_view ending) const;

  /// "tensor NAME: ..." of a part that does not fit the others.
  absl::Status Bad(const RawTensor& part, std::string_view what) const;

 private:
  QuantizedParts& parts_;
};

/// A tensor's only element so many times, one a line.
absl::StatusOr<RawTensor> Repeated(const RawTensor& one, uint64_t times);

/// Bytes as what they are in the microscaling formats: exponents e that mean 2^(e - 127).
RawTensor AsExponents(const RawTensor& bytes);

// How each format is read; the table of them is in join.cc.
absl::StatusOr<QuantizedWeight> ReadGptqOrAwq(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadCompressedInts(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadMlx(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadEightBits(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadCast(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadBitsAndBytes8(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadBitsAndBytes4(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadMxfp4(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadNvfp4(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadHqq(const QuantizedModule& module);
absl::StatusOr<QuantizedWeight> ReadQuark(const QuantizedModule& module);

}  // namespace smelt
