// What each operation of a pickle does to the machine's stack; calls and names are in
// pickle_reduce.cc.
#include <bit>
#include <charconv>
#include <string>
#include <utility>

#include "formats/torch/pickle_machine.h"

namespace smelt {
namespace {

constexpr int kNewestProtocol = 5;

}  // namespace

absl::StatusOr<uint64_t> PickleMachine::LineIndex() {
  SMELT_ASSIGN_OR_RETURN(const std::string line, Line());
  uint64_t index = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), index);
  if (error != std::errc() || end != line.data() + line.size()) {
    return Bad("the memo index \"", Escape(line, 30), "\" is no number");
  }
  return index;
}

absl::StatusOr<bool> PickleMachine::StepNumber(uint8_t code) {
  switch (code) {
    case 'N':
      SMELT_RETURN_IF_ERROR(Push({}));
      return true;
    case 0x88:
    case 0x89:
      SMELT_RETURN_IF_ERROR(Push({ValueKind::kBool, 0, code == 0x88}));
      return true;
    case 'K':
    case 'M': {
      SMELT_ASSIGN_OR_RETURN(const uint64_t value, Unsigned(code == 'K' ? 1 : 2));
      SMELT_RETURN_IF_ERROR(Push({ValueKind::kInt, 0, value}));
      return true;
    }
    case 'J':
      SMELT_RETURN_IF_ERROR(PushInteger(4));
      return true;
    case 0x8a: {
      SMELT_ASSIGN_OR_RETURN(const uint64_t count, Unsigned(1));
      SMELT_RETURN_IF_ERROR(PushInteger(count));
      return true;
    }
    case 0x8b: {
      SMELT_ASSIGN_OR_RETURN(const uint64_t count, Unsigned(4));
      if (count > INT32_MAX) return Bad("an integer of a negative length");
      SMELT_RETURN_IF_ERROR(PushInteger(count));
      return true;
    }
    case 'G': {
      SMELT_ASSIGN_OR_RETURN(const uint64_t bits, Unsigned(8));
      SMELT_RETURN_IF_ERROR(Push({ValueKind::kFloat, 0, __builtin_bswap64(bits)}));
      return true;
    }
    case 'F': {
      SMELT_ASSIGN_OR_RETURN(const std::string line, Line());
      double value = 0;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
      if (error == std::errc::invalid_argument || end != line.data() + line.size()) {
        return Bad("\"", Escape(line, 30), "\" is no number");
      }
      SMELT_RETURN_IF_ERROR(Push({ValueKind::kFloat, 0, std::bit_cast<uint64_t>(value)}));
      return true;
    }
    case 'I':
    case 'L': {
      SMELT_ASSIGN_OR_RETURN(const std::string operand, Line());
      std::string_view line = operand;
      if (code == 'I' && (line == "00" || line == "01")) {
        SMELT_RETURN_IF_ERROR(Push({ValueKind::kBool, 0, line == "01"}));
        return true;
      }
      if (code == 'L' && line.ends_with('L')) line.remove_suffix(1);
      int64_t value = 0;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
      if (error == std::errc::invalid_argument || end != line.data() + line.size()) {
        return Bad("\"", Escape(line, 30), "\" is no integer");
      }
      SMELT_RETURN_IF_ERROR(error == std::errc()
                                ? Push({ValueKind::kInt, 0, static_cast<uint64_t>(value)})
                                : PushTextOf(ValueKind::kBigInt, line));
      return true;
    }
    default:
      return false;
  }
}

absl::StatusOr<bool> PickleMachine::StepText(uint8_t code) {
  struct Counted {
    uint8_t code;
    int length_bytes;
    ValueKind kind;
  };
  // Python 2's str comes back as text: checkpoints of its time have their names in it.
  static constexpr Counted kCounted[] = {
      {'X', 4, ValueKind::kString}, {0x8c, 1, ValueKind::kString}, {0x8d, 8, ValueKind::kString},
      {'T', 4, ValueKind::kString}, {'U', 1, ValueKind::kString},  {'B', 4, ValueKind::kBytes},
      {'C', 1, ValueKind::kBytes},  {0x8e, 8, ValueKind::kBytes},  {0x96, 8, ValueKind::kBytes},
  };
  for (const Counted& counted : kCounted) {
    if (counted.code != code) continue;
    SMELT_ASSIGN_OR_RETURN(const uint64_t length, Unsigned(counted.length_bytes));
    SMELT_RETURN_IF_ERROR(PushText(counted.kind, length));
    return true;
  }
  if (code != 'S' && code != 'V') return false;
  SMELT_ASSIGN_OR_RETURN(const std::string operand, Line());
  std::string_view line = operand;
  if (code == 'S') {
    const bool quoted = line.size() >= 2 && line.front() == line.back() &&
                        (line.front() == '\'' || line.front() == '"');
    if (!quoted) return Bad("a string without quotes");
    line = line.substr(1, line.size() - 2);
  }
  if (line.find('\\') != std::string::npos) {
    return Fail(ErrorCode::kUnsupported, "escapes in text strings of protocol 0 are not read");
  }
  SMELT_RETURN_IF_ERROR(PushTextOf(ValueKind::kString, line));
  return true;
}

absl::StatusOr<bool> PickleMachine::StepContainer(uint8_t code) {
  switch (code) {
    case ']':
    case '}':
    case 0x8f:
      SMELT_RETURN_IF_ERROR(Push({code == ']'   ? ValueKind::kList
                                  : code == '}' ? ValueKind::kDict
                                                : ValueKind::kSet,
                                  0, 0}));
      return true;
    case ')':
      SMELT_RETURN_IF_ERROR(PushTuple(stack_.size()));
      return true;
    case 0x85:
    case 0x86:
    case 0x87: {
      const size_t count = code - 0x84u;
      if (stack_.size() - base() < count) {
        return Bad("takes ", count, " items from a stack of ", stack_.size() - base());
      }
      SMELT_RETURN_IF_ERROR(PushTuple(stack_.size() - count));
      return true;
    }
    case 't': {
      SMELT_ASSIGN_OR_RETURN(const size_t first, PopMark());
      SMELT_RETURN_IF_ERROR(PushTuple(first));
      return true;
    }
    case 'l':
    case 'd':
    case 0x91: {
      SMELT_ASSIGN_OR_RETURN(const size_t first, PopMark());
      SMELT_ASSIGN_OR_RETURN(const ValueId id, Add({code == 'l'   ? ValueKind::kList
                                                    : code == 'd' ? ValueKind::kDict
                                                                  : ValueKind::kSet,
                                                    0, 0}));
      SMELT_RETURN_IF_ERROR(code == 'd' ? SetItems(id, first) : AddItems(id, first));
      stack_.push_back(id);
      return true;
    }
    case 'a':
    case 'e': {
      size_t first = stack_.size() - 1;
      if (code == 'e') {
        SMELT_ASSIGN_OR_RETURN(first, PopMark());
      } else if (stack_.size() - base() < 2) {
        return Bad("there is nothing on the stack to append (to)");
      }
      if (first == base()) return Bad("there is no list on the stack to append to");
      const ValueId list = stack_[first - 1];
      if (tree_.kind(list) != ValueKind::kList && tree_.kind(list) != ValueKind::kRefused) {
        return Bad("appends to ", Name(tree_.kind(list)), "; only a list can be appended to");
      }
      SMELT_RETURN_IF_ERROR(AddItems(list, first));
      return true;
    }
    case 's':
    case 'u': {
      size_t first = stack_.size() - 2;
      if (code == 'u') {
        SMELT_ASSIGN_OR_RETURN(first, PopMark());
      } else if (stack_.size() - base() < 3) {
        return Bad("a dict, a key and a value are not on the stack");
      }
      if (first == base()) return Bad("there is no dict on the stack");
      SMELT_RETURN_IF_ERROR(SetItems(stack_[first - 1], first));
      return true;
    }
    case 0x90: {
      SMELT_ASSIGN_OR_RETURN(const size_t first, PopMark());
      if (first == base() || tree_.kind(stack_[first - 1]) != ValueKind::kSet) {
        return Bad("there is no set on the stack to add to");
      }
      SMELT_RETURN_IF_ERROR(AddItems(stack_[first - 1], first));
      return true;
    }
    default:
      return false;
  }
}

absl::StatusOr<bool> PickleMachine::StepStack(uint8_t code) {
  switch (code) {
    case '(':
      marks_.push_back(stack_.size());
      return true;
    case '0':  // as in Python, on an empty frame this takes the mark
      if (stack_.size() == base()) {
        SMELT_RETURN_IF_ERROR(PopMark().status());
      } else {
        stack_.pop_back();
      }
      return true;
    case '1': {
      SMELT_ASSIGN_OR_RETURN(const size_t first, PopMark());
      stack_.resize(first);
      return true;
    }
    case '2': {
      SMELT_ASSIGN_OR_RETURN(const ValueId top, Top());
      stack_.push_back(top);
      return true;
    }
    case 'p':
    case 'g': {
      SMELT_ASSIGN_OR_RETURN(const uint64_t index, LineIndex());
      SMELT_RETURN_IF_ERROR(code == 'p' ? Put(index) : Get(index));
      return true;
    }
    case 'q':
    case 'h':
    case 'r':
    case 'j': {
      const bool narrow = code == 'q' || code == 'h';
      SMELT_ASSIGN_OR_RETURN(const uint64_t index, Unsigned(narrow ? 1 : 4));
      SMELT_RETURN_IF_ERROR(code == 'q' || code == 'r' ? Put(index) : Get(index));
      return true;
    }
    case 0x94:
      SMELT_RETURN_IF_ERROR(Put(memo_.size()));
      return true;
    case 0x80: {
      SMELT_ASSIGN_OR_RETURN(const uint64_t protocol, Unsigned(1));
      if (protocol > kNewestProtocol) return Bad("pickle protocol ", protocol, " is not known");
      return true;
    }
    case 0x95: {
      SMELT_ASSIGN_OR_RETURN(const uint64_t length, Unsigned(8));
      if (length > input_.remaining()) {
        return Bad("a frame of ", length, " bytes reaches past the end of the pickle (",
                   input_.remaining(), " bytes left)");
      }
      return true;
    }
    default:
      return false;
  }
}

absl::Status PickleMachine::Step(uint8_t code) {
  using Group = absl::StatusOr<bool> (PickleMachine::*)(uint8_t);
  static constexpr Group kGroups[] = {&PickleMachine::StepStack, &PickleMachine::StepText,
                                      &PickleMachine::StepContainer, &PickleMachine::StepNumber,
                                      &PickleMachine::StepObject};
  for (const Group group : kGroups) {
    SMELT_ASSIGN_OR_RETURN(const bool done, (this->*group)(code));
    if (done) return absl::OkStatus();
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  return Bad("0x", kDigits[code >> 4], kDigits[code & 15], " is no known opcode");
}

}  // namespace smelt
