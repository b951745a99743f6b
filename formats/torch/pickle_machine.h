// The machine behind ReadPickle. Nothing else includes this.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "formats/torch/pickle.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {

/// Forward reading of a part of a storage through a small buffer.
class PickleInput {
 public:
  PickleInput(const Storage& storage, uint64_t begin, uint64_t end)
      : storage_(storage), next_(begin), end_(end) {}

  uint64_t position() const { return next_ - (filled_ - at_); }
  uint64_t remaining() const { return end_ - position(); }
  const Storage& storage() const { return storage_; }

  /// Copies `count` bytes, of which there must be as many (see remaining).
  absl::Status Read(char* out, uint64_t count);

 private:
  const Storage& storage_;
  uint64_t next_, end_;  // next_: position in the storage of the buffer's end
  size_t at_ = 0, filled_ = 0;
  std::vector<char> buffer_;
};

/// What was put aside under numbers: picklers count from zero, and a byte (MEMOIZE) is an entry, so
/// that the ones without a gap lie in an array.
class PickleMemo {
 public:
  size_t size() const { return dense_.size() + sparse_.size(); }
  void Set(uint64_t index, ValueId value);
  std::optional<ValueId> Find(uint64_t index) const;

 private:
  std::vector<ValueId> dense_;
  std::unordered_map<uint64_t, ValueId, NumberHash> sparse_;  // no index below dense_.size()
};

/// One run of the machine. The stack holds values; marks are heights of the stack.
class PickleMachine {
 public:
  PickleMachine(const Storage& storage, uint64_t begin, uint64_t end,
                std::vector<PickleRefusal>* refused)
      : input_(storage, begin, end), begin_(begin), refused_(refused) {}

  absl::StatusOr<Pickle> Run();

 private:
  using Node = Pickle::Node;

  // pickle_machine.cc: input, values, stack.
  template <typename... Parts>
  absl::Status Bad(const Parts&... what) const {
    return Fail(ErrorCode::kInvalidInput, Cat(what...));
  }
  absl::Status Fail(ErrorCode code, std::string_view what) const;
  /// "BINPUT": of the operation that runs.
  std::string_view op() const;

  absl::StatusOr<uint64_t> Unsigned(int bytes);
  absl::StatusOr<std::string> Line();
  /// `count` bytes of the input appended to the tree's text.
  absl::Status PushText(ValueKind kind, uint64_t count);
  absl::Status PushTextOf(ValueKind kind, std::string_view text);
  absl::Status PushInteger(uint64_t bytes);

  absl::StatusOr<ValueId> Add(Node node);
  absl::Status Push(Node node);
  absl::Status PushTuple(size_t first);  ///< of the stack's items from `first` on
  absl::StatusOr<ValueId> Pop();
  absl::StatusOr<ValueId> Top() const;
  size_t base() const { return marks_.empty() ? 0 : marks_.back(); }
  absl::StatusOr<size_t> PopMark();
  std::vector<ValueId>& Bag(ValueId id);
  absl::Status CopyBudget(uint64_t count);

  // Groups of operations; each returns whether the code was one of its own.
  absl::StatusOr<bool> StepNumber(uint8_t code);
  absl::StatusOr<bool> StepText(uint8_t code);
  absl::StatusOr<bool> StepContainer(uint8_t code);
  absl::StatusOr<bool> StepStack(uint8_t code);
  absl::StatusOr<bool> StepObject(uint8_t code);
  absl::Status Step(uint8_t code);
  absl::Status AddItems(ValueId container, size_t first);
  absl::Status SetItems(ValueId dict, size_t first);
  absl::Status Put(uint64_t index);
  absl::Status Get(uint64_t index);
  absl::StatusOr<uint64_t> LineIndex();

  // pickle_reduce.cc: names and what is made of them.
  absl::Status PushGlobal(std::string_view module, std::string_view name);
  /// The error `why`; in a listing, `name` is listed and a value of kRefused pushed.
  absl::Status Refuse(std::string_view name, std::string_view why);
  absl::Status RefuseGlobal(std::string_view module, std::string_view name);
  absl::Status NewObject(uint8_t code);
  absl::Status StackGlobal();
  absl::Status PersistentId();
  absl::Status Reduce();
  absl::StatusOr<ValueId> Apply(const PickleGlobal& global, ValueId arguments);
  absl::StatusOr<ValueId> MakeDict(const PickleGlobal& global, std::span<const ValueId> arguments);
  absl::StatusOr<ValueId> MakeSet(std::span<const ValueId> arguments);
  absl::StatusOr<ValueId> MakeBytes(const PickleGlobal& global, std::span<const ValueId> arguments);
  absl::StatusOr<ValueId> MakeTensor(const PickleGlobal& global, ValueId arguments);
  absl::StatusOr<ValueId> MakeScalar(std::span<const ValueId> arguments);
  absl::Status CheckArguments(const PickleGlobal& global, size_t count, size_t least,
                              size_t most) const;
  absl::Status Build();

  PickleInput input_;
  uint64_t begin_;
  std::vector<PickleRefusal>* refused_;  // when listing
  uint64_t op_at_ = 0;
  uint8_t code_ = 0;
  Pickle tree_;
  std::vector<ValueId> stack_;
  std::vector<size_t> marks_;
  PickleMemo memo_;
  uint64_t copied_ = 0;
};

}  // namespace smelt
