#include "formats/torch/pickle_machine.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

namespace smelt {
namespace {

constexpr size_t kBufferBytes = 64 << 10;
constexpr uint64_t kMaxLine = 4096;  // of the text operands of protocol 0

struct OpName {
  uint8_t code;
  std::string_view name;
};
constexpr OpName kOps[] = {
    {'(', "MARK"},
    {'.', "STOP"},
    {'0', "POP"},
    {'1', "POP_MARK"},
    {'2', "DUP"},
    {'F', "FLOAT"},
    {'I', "INT"},
    {'J', "BININT"},
    {'K', "BININT1"},
    {'L', "LONG"},
    {'M', "BININT2"},
    {'N', "NONE"},
    {'P', "PERSID"},
    {'Q', "BINPERSID"},
    {'R', "REDUCE"},
    {'S', "STRING"},
    {'T', "BINSTRING"},
    {'U', "SHORT_BINSTRING"},
    {'V', "UNICODE"},
    {'X', "BINUNICODE"},
    {'a', "APPEND"},
    {'b', "BUILD"},
    {'c', "GLOBAL"},
    {'d', "DICT"},
    {'}', "EMPTY_DICT"},
    {'e', "APPENDS"},
    {'g', "GET"},
    {'h', "BINGET"},
    {'i', "INST"},
    {'j', "LONG_BINGET"},
    {'l', "LIST"},
    {']', "EMPTY_LIST"},
    {'o', "OBJ"},
    {'p', "PUT"},
    {'q', "BINPUT"},
    {'r', "LONG_BINPUT"},
    {'s', "SETITEM"},
    {'t', "TUPLE"},
    {')', "EMPTY_TUPLE"},
    {'u', "SETITEMS"},
    {'G', "BINFLOAT"},
    {0x80, "PROTO"},
    {0x81, "NEWOBJ"},
    {0x82, "EXT1"},
    {0x83, "EXT2"},
    {0x84, "EXT4"},
    {0x85, "TUPLE1"},
    {0x86, "TUPLE2"},
    {0x87, "TUPLE3"},
    {0x88, "NEWTRUE"},
    {0x89, "NEWFALSE"},
    {0x8a, "LONG1"},
    {0x8b, "LONG4"},
    {'B', "BINBYTES"},
    {'C', "SHORT_BINBYTES"},
    {0x8c, "SHORT_BINUNICODE"},
    {0x8d, "BINUNICODE8"},
    {0x8e, "BINBYTES8"},
    {0x8f, "EMPTY_SET"},
    {0x90, "ADDITEMS"},
    {0x91, "FROZENSET"},
    {0x92, "NEWOBJ_EX"},
    {0x93, "STACK_GLOBAL"},
    {0x94, "MEMOIZE"},
    {0x95, "FRAME"},
    {0x96, "BYTEARRAY8"},
    {0x97, "NEXT_BUFFER"},
    {0x98, "READONLY_BUFFER"},
};

}  // namespace

absl::Status PickleInput::Read(char* out, uint64_t count) {
  while (count > 0) {
    if (at_ == filled_) {
      if (buffer_.empty()) buffer_.resize(kBufferBytes);
      filled_ = static_cast<size_t>(std::min<uint64_t>(kBufferBytes, end_ - next_));
      at_ = 0;
      SMELT_RETURN_IF_ERROR(
          storage_.ReadAt(next_, std::as_writable_bytes(std::span(buffer_.data(), filled_))));
      next_ += filled_;
    }
    const size_t n = std::min<uint64_t>(count, filled_ - at_);
    std::memcpy(out, buffer_.data() + at_, n);
    at_ += n;
    out += n;
    count -= n;
  }
  return absl::OkStatus();
}

void PickleMemo::Set(uint64_t index, ValueId value) {
  if (index < dense_.size()) {
    dense_[index] = value;
  } else if (index == dense_.size() && !sparse_.contains(index)) {
    dense_.push_back(value);
  } else {
    sparse_[index] = value;
  }
}

std::optional<ValueId> PickleMemo::Find(uint64_t index) const {
  if (index < dense_.size()) return dense_[index];
  const auto found = sparse_.find(index);
  if (found == sparse_.end()) return std::nullopt;
  return found->second;
}

std::string_view PickleMachine::op() const {
  for (const OpName& name : kOps) {
    if (name.code == code_) return name.name;
  }
  return {};
}

absl::Status PickleMachine::Fail(ErrorCode code, std::string_view what) const {
  const std::string_view name = op();
  return Error(code, Escape(input_.storage().name(), 120), ": pickle byte ", op_at_,
               name.empty() ? "" : " (", name, name.empty() ? "" : ")", ": ", what);
}

absl::StatusOr<uint64_t> PickleMachine::Unsigned(int bytes) {
  if (input_.remaining() < static_cast<uint64_t>(bytes)) {
    return Bad("the pickle ends inside this operation: it is truncated");
  }
  unsigned char raw[8];
  SMELT_RETURN_IF_ERROR(input_.Read(reinterpret_cast<char*>(raw), static_cast<uint64_t>(bytes)));
  uint64_t value = 0;
  for (int i = bytes; i-- > 0;) value = value << 8 | raw[i];
  return value;
}

absl::StatusOr<std::string> PickleMachine::Line() {
  std::string line;
  while (line.size() < kMaxLine) {
    SMELT_ASSIGN_OR_RETURN(const uint64_t byte, Unsigned(1));
    if (byte == '\n') return line;
    line.push_back(static_cast<char>(byte));
  }
  return Bad("a text operand is longer than ", kMaxLine, " bytes");
}

absl::StatusOr<ValueId> PickleMachine::Add(Node node) {
  tree_.nodes_.push_back(node);
  return static_cast<ValueId>(tree_.nodes_.size() - 1);
}

absl::Status PickleMachine::Push(Node node) {
  SMELT_ASSIGN_OR_RETURN(const ValueId id, Add(node));
  stack_.push_back(id);
  return absl::OkStatus();
}

absl::Status PickleMachine::PushText(ValueKind kind, uint64_t count) {
  if (count > input_.remaining()) {
    return Bad("a length of ", count, " bytes reaches past the end of the pickle (",
               input_.remaining(), " bytes left)");
  }
  const size_t at = tree_.text_.size();
  tree_.text_.resize(at + count);
  SMELT_RETURN_IF_ERROR(input_.Read(tree_.text_.data() + at, count));
  return Push({kind, static_cast<uint32_t>(count), at});
}

absl::Status PickleMachine::PushTextOf(ValueKind kind, std::string_view text) {
  const size_t at = tree_.text_.size();
  tree_.text_.append(text);
  return Push({kind, static_cast<uint32_t>(text.size()), at});
}

/// A little-endian two's complement integer of any length.
absl::Status PickleMachine::PushInteger(uint64_t bytes) {
  if (bytes > 8) return PushText(ValueKind::kBigInt, bytes);
  SMELT_ASSIGN_OR_RETURN(uint64_t value, Unsigned(static_cast<int>(bytes)));
  const bool negative = bytes > 0 && (value >> (8 * bytes - 1)) != 0;
  if (negative && bytes < 8) value |= ~uint64_t{0} << (8 * bytes);
  return Push({ValueKind::kInt, 0, value});
}

absl::Status PickleMachine::PushTuple(size_t first) {
  const size_t at = tree_.pool_.size(), count = stack_.size() - first;
  tree_.pool_.insert(tree_.pool_.end(), stack_.begin() + static_cast<ptrdiff_t>(first),
                     stack_.end());
  stack_.resize(first);
  return Push({ValueKind::kTuple, static_cast<uint32_t>(count), at});
}

absl::StatusOr<ValueId> PickleMachine::Top() const {
  if (stack_.size() == base()) return Bad("there is nothing on the stack");
  return stack_.back();
}

absl::StatusOr<ValueId> PickleMachine::Pop() {
  SMELT_ASSIGN_OR_RETURN(const ValueId id, Top());
  stack_.pop_back();
  return id;
}

absl::StatusOr<size_t> PickleMachine::PopMark() {
  if (marks_.empty()) return Bad("there is no mark on the stack");
  const size_t first = marks_.back();
  marks_.pop_back();
  return first;
}

std::vector<ValueId>& PickleMachine::Bag(ValueId id) {
  Node& node = tree_.nodes_[id];
  if (node.narrow == 0) {
    tree_.bags_.emplace_back();
    node.narrow = static_cast<uint32_t>(tree_.bags_.size());
  }
  return tree_.bags_[node.narrow - 1];
}

/// Copies of what the pickle holds once must not grow beyond it: a list named a thousand times is
/// otherwise a thousand lists.
absl::Status PickleMachine::CopyBudget(uint64_t count) {
  copied_ += count;
  if (copied_ <= input_.position() - begin_) return absl::OkStatus();
  return Bad("the pickle multiplies its own values, which no checkpoint does");
}

absl::Status PickleMachine::AddItems(ValueId container, size_t first) {
  if (tree_.kind(container) == ValueKind::kRefused) {
    stack_.resize(first);
    return absl::OkStatus();
  }
  std::vector<ValueId>& bag = Bag(container);
  bag.insert(bag.end(), stack_.begin() + static_cast<ptrdiff_t>(first), stack_.end());
  stack_.resize(first);
  return absl::OkStatus();
}

absl::Status PickleMachine::SetItems(ValueId dict, size_t first) {
  if (tree_.kind(dict) != ValueKind::kDict && tree_.kind(dict) != ValueKind::kRefused) {
    return Bad("sets an item of ", Name(tree_.kind(dict)), "; only a dict has items to set");
  }
  if ((stack_.size() - first) % 2 != 0) return Bad("an odd number of keys and values for a dict");
  return AddItems(dict, first);
}

absl::Status PickleMachine::Put(uint64_t index) {
  SMELT_ASSIGN_OR_RETURN(const ValueId top, Top());
  memo_.Set(index, top);
  return absl::OkStatus();
}

absl::Status PickleMachine::Get(uint64_t index) {
  const std::optional<ValueId> found = memo_.Find(index);
  if (!found) return Bad("memo entry ", index, " was never written");
  stack_.push_back(*found);
  return absl::OkStatus();
}

absl::StatusOr<Pickle> PickleMachine::Run() {
  while (true) {
    op_at_ = input_.position();
    code_ = 0;
    if (input_.remaining() == 0) {
      if (op_at_ - begin_ >= kMaxPickleBytes) {
        return Bad("the pickle is longer than ", kMaxPickleBytes, " bytes");
      }
      return Bad("the pickle ends without STOP: it is truncated");
    }
    SMELT_ASSIGN_OR_RETURN(const uint64_t code, Unsigned(1));
    code_ = static_cast<uint8_t>(code);
    if (code_ == '.') break;
    SMELT_RETURN_IF_ERROR(Step(code_));
  }
  if (!marks_.empty() || stack_.size() != 1) {
    return Bad("the pickle stops with ", stack_.size(), " values and ", marks_.size(),
               " marks on the stack; exactly one value is expected");
  }
  tree_.root_ = stack_.back();
  tree_.end_ = input_.position();
  return std::move(tree_);
}

}  // namespace smelt
