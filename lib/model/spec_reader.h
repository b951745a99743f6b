// Reads the GGUF keys and tensors of a model, and remembers which were read: what nobody read is an
// error.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/own_keys.h"
#include "lib/base/text_hash.h"
#include "lib/model/layer_spec.h"

namespace smelt {

/// Keys are given without the architecture ("attention.head_count"); keys of our own, with their
/// whole name, have readers of their own.
class SpecReader {
 public:
  SpecReader(const ModelSource& source, std::string architecture);

  const ModelSource& source() const { return source_; }
  std::string Key(std::string_view suffix) const;
  bool Has(std::string_view suffix) const;

  /// A required integer in [low, high].
  absl::StatusOr<uint64_t> Count(std::string_view suffix, uint64_t low = 1, uint64_t high = kMax);
  absl::StatusOr<uint64_t> CountOr(std::string_view suffix, uint64_t fallback, uint64_t low = 0,
                                   uint64_t high = kMax);
  /// A number or an array with one number a layer.
  absl::StatusOr<std::vector<uint64_t>> PerLayer(std::string_view suffix, uint64_t layers,
                                                 uint64_t low, uint64_t high = kMax);
  /// A finite number in [low, high].
  absl::StatusOr<double> Real(std::string_view suffix, double low,
                              double high = std::numeric_limits<double>::max());
  absl::StatusOr<double> RealOr(std::string_view suffix, double fallback, double low,
                                double high = std::numeric_limits<double>::max());
  absl::StatusOr<bool> FlagOr(std::string_view suffix, bool fallback);
  absl::StatusOr<std::string> TextOr(std::string_view suffix, std::string_view fallback);
  /// The value as it is, marked as read; nullptr when absent.
  const MetadataValue* Value(std::string_view suffix);
  /// A key of our own, as ReadOwn and ReadOwnList read it.
  template <typename T>
  absl::StatusOr<T> Own(OwnKey<T> key, std::type_identity_t<T> fallback) {
    read_keys_.emplace(std::string_view(key));
    return ReadOwn(source_.metadata(), key, std::move(fallback));
  }
  template <typename T>
  absl::StatusOr<T> OwnList(OwnKey<T> key, const KeyMeasures& measures) {
    read_keys_.emplace(std::string_view(key));
    return ReadOwnList(source_.metadata(), key, measures);
  }
  /// Keys without influence on the result.
  void Ignore(std::initializer_list<std::string_view> suffixes);

  /// Tensors without influence on the result.
  void IgnoreTensors(std::string_view prefix);

  bool HasTensor(std::string_view name) const { return source_.Find(name) >= 0; }
  /// A tensor of exactly this shape; `ne` in ggml order. `why` names the keys that the shape
  /// follows from.
  absl::StatusOr<TensorRef> Tensor(std::string_view name, std::initializer_list<uint64_t> ne,
                                   std::string_view why);
  /// The same, kNoTensor when absent.
  absl::StatusOr<TensorRef> TensorIf(std::string_view name, std::initializer_list<uint64_t> ne,
                                     std::string_view why);
  /// All values of a small tensor that was found.
  absl::StatusOr<std::vector<float>> Values(TensorRef tensor) const;

  /// Unread tensors and unread keys of this architecture are errors that name the first.
  absl::Status Finish() const;

  absl::Status Bad(std::string_view suffix, std::string_view what) const;

 private:
  static constexpr uint64_t kMax = std::numeric_limits<int32_t>::max();

  const ModelSource& source_;
  const std::string architecture_;
  TextSet<std::string> read_keys_;
  std::vector<bool> read_tensors_;
};

}  // namespace smelt
