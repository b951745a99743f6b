// What a pickle may name, and the data that is made of it in place of a call.
#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "formats/torch/pickle_machine.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

/// Characters up to U+00FF as the bytes that they stand for under Latin-1; empty if others occur.
std::optional<std::string> ToLatin1(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const Utf8Char c = DecodeUtf8(text);
    if (!c.valid || c.code_point > 0xff) return std::nullopt;
    bytes.push_back(static_cast<char>(c.code_point));
    text.remove_prefix(c.length);
  }
  return bytes;
}

/// What to do where an object is of a class of these modules.
struct WayOut {
  std::string_view module, text;
};
constexpr std::string_view kSaveStates =
    "; save the model's state_dict() instead of the model itself";
constexpr WayOut kWaysOut[] = {
    {"torch.nn.modules", kSaveStates},
    {"transformers.", kSaveStates},
    {"__main__", kSaveStates},
    {"torchao.", "; the weights are quantized by torchao: use the unquantized model"},
    {"optimum.quanto.", "; the weights are quantized by quanto: use the unquantized model"},
    {"quanto.", "; the weights are quantized by quanto: use the unquantized model"}};

std::string_view WayOutOf(std::string_view module) {
  const auto* const row = std::ranges::find_if(
      kWaysOut, [&](const WayOut& way) { return module.starts_with(way.module); });
  return row == std::end(kWaysOut) ? "" : row->text;
}

}  // namespace

absl::Status PickleMachine::Refuse(std::string_view name, std::string_view why) {
  if (refused_ == nullptr) return Fail(ErrorCode::kUnsupported, why);
  if (refused_->size() < kMaxRefusals) {
    refused_->push_back({std::string(name), std::string(op()), op_at_});
  }
  return Push({ValueKind::kRefused, 0, 0});
}

absl::Status PickleMachine::RefuseGlobal(std::string_view module, std::string_view name) {
  const std::string full = Cat(Escape(module, 60), ".", Escape(name, 60));
  return Refuse(
      full, Cat("refuses ", full,
                ": only tensors and plain data are read, nothing in a checkpoint is ever called",
                WayOutOf(module)));
}

/// OBJ, NEWOBJ and NEWOBJ_EX make objects of classes, of which there are none here.
absl::Status PickleMachine::NewObject(uint8_t code) {
  const size_t operands = code == 0x81 ? 2 : 3;
  size_t first = stack_.size() - operands;
  if (code == 'o') {
    SMELT_ASSIGN_OR_RETURN(first, PopMark());
  } else if (stack_.size() - base() < operands) {
    return Bad("takes ", operands, " items from a stack of ", stack_.size() - base());
  }
  std::string name = "an object";
  const ValueKind maker = first < stack_.size() ? tree_.kind(stack_[first]) : ValueKind::kNone;
  if (maker == ValueKind::kGlobal) {
    const PickleGlobal& global = tree_.global(stack_[first]);
    name = Cat("an object of ", global.module, ".", global.name);
  }
  stack_.resize(first);
  if (maker == ValueKind::kRefused) return Push({ValueKind::kRefused, 0, 0});  // listed already
  return Refuse(name, "creates an object; only tensors and plain data are read");
}

absl::Status PickleMachine::PushGlobal(std::string_view module, std::string_view name) {
  const std::optional<uint32_t> known = FindPickleGlobal(module, name);
  if (!known) return RefuseGlobal(module, name);
  return Push({ValueKind::kGlobal, *known, 0});
}

absl::Status PickleMachine::StackGlobal() {
  SMELT_ASSIGN_OR_RETURN(const ValueId name, Pop());
  SMELT_ASSIGN_OR_RETURN(const ValueId module, Pop());
  if (tree_.kind(name) != ValueKind::kString || tree_.kind(module) != ValueKind::kString) {
    return Bad("needs two strings, found ", Name(tree_.kind(module)), " and ",
               Name(tree_.kind(name)));
  }
  return PushGlobal(tree_.text(module), tree_.text(name));
}

absl::Status PickleMachine::PersistentId() {
  SMELT_ASSIGN_OR_RETURN(const ValueId id, Pop());
  if (tree_.kind(id) != ValueKind::kTuple) {
    return Bad("a persistent id must be a tuple that names a storage, found ",
               Name(tree_.kind(id)));
  }
  const std::span<const ValueId> fields = tree_.items(id);
  const auto is = [&](size_t i, ValueKind kind) { return tree_.kind(fields[i]) == kind; };
  if (fields.size() < 5 || fields.size() > 6 || !is(0, ValueKind::kString) ||
      tree_.text(fields[0]) != "storage" || !is(1, ValueKind::kGlobal) ||
      !(is(2, ValueKind::kString) || is(2, ValueKind::kInt)) || !is(3, ValueKind::kString)) {
    return Bad(
        "a persistent id must be (\"storage\", storage class, key, location, number of elements)");
  }
  const PickleGlobal& type = tree_.global(fields[1]);
  if (type.role != GlobalRole::kStorageType && type.role != GlobalRole::kUntypedStorage) {
    return Bad("a persistent id with ", type.module, ".", type.name, ", which is no storage class");
  }
  Node node = tree_.nodes_[id];
  node.kind = ValueKind::kStorage;
  return Push(node);
}

absl::Status PickleMachine::CheckArguments(const PickleGlobal& global, size_t count, size_t least,
                                           size_t most) const {
  if (count >= least && count <= most) return absl::OkStatus();
  return Bad(global.module, ".", global.name, " with ", count, " arguments; ", least,
             most > least ? " or more" : "", " are expected");
}

absl::Status PickleMachine::Reduce() {
  SMELT_ASSIGN_OR_RETURN(const ValueId arguments, Pop());
  SMELT_ASSIGN_OR_RETURN(const ValueId callable, Pop());
  if (tree_.kind(callable) == ValueKind::kRefused) return Push({ValueKind::kRefused, 0, 0});
  if (tree_.kind(callable) != ValueKind::kGlobal) {
    return Bad("calls ", Name(tree_.kind(callable)), ", which is not callable");
  }
  if (tree_.kind(arguments) != ValueKind::kTuple) {
    return Bad("has ", Name(tree_.kind(arguments)), " in place of an argument tuple");
  }
  const absl::StatusOr<ValueId> made = Apply(tree_.global(callable), arguments);
  if (!made.ok() && refused_ != nullptr) return Push({ValueKind::kRefused, 0, 0});
  SMELT_RETURN_IF_ERROR(made.status());
  stack_.push_back(*made);
  return absl::OkStatus();
}

absl::StatusOr<ValueId> PickleMachine::Apply(const PickleGlobal& global, ValueId arguments) {
  const std::span<const ValueId> items = tree_.items(arguments);
  const auto check = [&](size_t least, size_t most) {
    return CheckArguments(global, items.size(), least, most);
  };
  switch (global.role) {
    case GlobalRole::kDictType:
    case GlobalRole::kDefaultDict:
      return MakeDict(global, items);
    case GlobalRole::kSetType:
      SMELT_RETURN_IF_ERROR(check(0, 1));
      return MakeSet(items);
    case GlobalRole::kBytesType:
    case GlobalRole::kEncode:
      return MakeBytes(global, items);
    case GlobalRole::kComplex:
    case GlobalRole::kDevice:
    case GlobalRole::kLayout:
      SMELT_RETURN_IF_ERROR(check(1, 2));
      return arguments;
    case GlobalRole::kSize:
      SMELT_RETURN_IF_ERROR(check(1, 1));
      if (tree_.kind(items[0]) != ValueKind::kTuple && tree_.kind(items[0]) != ValueKind::kList) {
        return Bad("torch.Size of ", Name(tree_.kind(items[0])));
      }
      return items[0];
    case GlobalRole::kParameter:
      SMELT_RETURN_IF_ERROR(check(3, 4));
      if (tree_.kind(items[0]) != ValueKind::kTensor) {
        return Bad("a parameter made of ", Name(tree_.kind(items[0])));
      }
      return items[0];
    case GlobalRole::kTensorV1:
    case GlobalRole::kTensorV2:
    case GlobalRole::kTensorV3:
      return MakeTensor(global, arguments);
    case GlobalRole::kFromType: {
      SMELT_RETURN_IF_ERROR(check(4, 4));
      const bool usable = tree_.kind(items[0]) == ValueKind::kGlobal &&
                          tree_.kind(items[1]) == ValueKind::kGlobal &&
                          tree_.global(items[1]).role == GlobalRole::kTensorType &&
                          tree_.kind(items[2]) == ValueKind::kTuple;
      if (!usable) return Bad("_rebuild_from_type_v2 of something else than a tensor");
      return MakeTensor(tree_.global(items[0]), items[2]);
    }
    case GlobalRole::kNumpyDtype:
      SMELT_RETURN_IF_ERROR(check(1, 3));
      if (tree_.kind(items[0]) != ValueKind::kString) {
        return Bad("a numpy dtype of ", Name(tree_.kind(items[0])));
      }
      return Add(
          {ValueKind::kNumpyType, tree_.nodes_[items[0]].narrow, tree_.nodes_[items[0]].wide});
    case GlobalRole::kNumpyScalar:
      SMELT_RETURN_IF_ERROR(check(2, 2));
      return MakeScalar(items);
    case GlobalRole::kPlainType:
    case GlobalRole::kTensorType:
    case GlobalRole::kDtype:
    case GlobalRole::kStorageType:
    case GlobalRole::kUntypedStorage:
      break;
  }
  return Bad("calls ", global.module, ".", global.name, ", which is only allowed as an argument");
}

absl::StatusOr<ValueId> PickleMachine::MakeDict(const PickleGlobal& global,
                                                std::span<const ValueId> arguments) {
  SMELT_RETURN_IF_ERROR(CheckArguments(global, arguments.size(), 0, 1));
  SMELT_ASSIGN_OR_RETURN(const ValueId dict, Add({ValueKind::kDict, 0, 0}));
  if (arguments.empty()) return dict;
  const ValueId source = arguments[0];
  if (global.role == GlobalRole::kDefaultDict) {  // the factory, or None
    const bool fine =
        tree_.kind(source) == ValueKind::kNone || tree_.kind(source) == ValueKind::kGlobal;
    if (!fine) return Bad("a defaultdict whose factory is ", Name(tree_.kind(source)));
    return dict;
  }
  const ValueKind kind = tree_.kind(source);
  if (kind != ValueKind::kDict && kind != ValueKind::kList && kind != ValueKind::kTuple) {
    return Bad("a dict made of ", Name(kind));
  }
  const size_t count = tree_.items(source).size();
  if (count == 0) return dict;
  SMELT_RETURN_IF_ERROR(CopyBudget(2 * count));
  std::vector<ValueId> pairs;  // Python 2's OrderedDict: a list of [key, value]
  for (const ValueId item : tree_.items(source)) {
    if (kind == ValueKind::kDict) {
      pairs.push_back(item);
      continue;
    }
    const std::span<const ValueId> pair = tree_.items(item);
    const bool is_pair =
        (tree_.kind(item) == ValueKind::kTuple || tree_.kind(item) == ValueKind::kList) &&
        pair.size() == 2;
    if (!is_pair) return Bad("a dict made of something else than pairs");
    pairs.insert(pairs.end(), pair.begin(), pair.end());
  }
  Bag(dict) = std::move(pairs);
  return dict;
}

absl::StatusOr<ValueId> PickleMachine::MakeSet(std::span<const ValueId> arguments) {
  SMELT_ASSIGN_OR_RETURN(const ValueId set, Add({ValueKind::kSet, 0, 0}));
  if (arguments.empty()) return set;
  const ValueKind kind = tree_.kind(arguments[0]);
  if (kind != ValueKind::kList && kind != ValueKind::kTuple && kind != ValueKind::kSet) {
    return Bad("a set made of ", Name(kind));
  }
  const std::span<const ValueId> items = tree_.items(arguments[0]);
  if (items.empty()) return set;
  SMELT_RETURN_IF_ERROR(CopyBudget(items.size()));
  std::vector<ValueId> copy(items.begin(), items.end());
  Bag(set) = std::move(copy);
  return set;
}

absl::StatusOr<ValueId> PickleMachine::MakeBytes(const PickleGlobal& global,
                                                 std::span<const ValueId> arguments) {
  SMELT_RETURN_IF_ERROR(
      CheckArguments(global, arguments.size(), global.role == GlobalRole::kEncode ? 2 : 0, 2));
  if (arguments.empty()) return Add({ValueKind::kBytes, 0, 0});
  const ValueKind kind = tree_.kind(arguments[0]);
  if (kind == ValueKind::kBytes) return arguments[0];
  const bool latin1 =
      arguments.size() == 2 && tree_.kind(arguments[1]) == ValueKind::kString &&
      (tree_.text(arguments[1]) == "latin1" || tree_.text(arguments[1]) == "latin-1");
  if (kind != ValueKind::kString || !latin1) {
    return Bad("bytes made of ", Name(kind), " other than by latin1");
  }
  SMELT_RETURN_IF_ERROR(CopyBudget(tree_.text(arguments[0]).size()));
  const std::optional<std::string> bytes = ToLatin1(tree_.text(arguments[0]));
  if (!bytes) return Bad("text that latin1 cannot hold");
  const size_t at = tree_.text_.size();
  tree_.text_.append(*bytes);
  return Add({ValueKind::kBytes, static_cast<uint32_t>(bytes->size()), at});
}

/// Only the number of arguments and the storage are looked at here; sizes and strides are judged
/// where the tensor's name is known.
absl::StatusOr<ValueId> PickleMachine::MakeTensor(const PickleGlobal& global, ValueId arguments) {
  const std::span<const ValueId> items = tree_.items(arguments);
  switch (global.role) {
    case GlobalRole::kTensorV1:
      SMELT_RETURN_IF_ERROR(CheckArguments(global, items.size(), 4, 4));
      break;
    case GlobalRole::kTensorV2:
      SMELT_RETURN_IF_ERROR(CheckArguments(global, items.size(), 6, 7));
      break;
    case GlobalRole::kTensorV3:
      SMELT_RETURN_IF_ERROR(CheckArguments(global, items.size(), 7, 8));
      if (tree_.kind(items[6]) != ValueKind::kGlobal ||
          tree_.global(items[6]).role != GlobalRole::kDtype) {
        return Bad("_rebuild_tensor_v3 without a dtype");
      }
      break;
    default:
      return Bad("a tensor made by ", global.module, ".", global.name);
  }
  if (tree_.kind(items[0]) != ValueKind::kStorage) {
    return Bad(global.module, ".", global.name, " of ", Name(tree_.kind(items[0])),
               " in place of a storage");
  }
  // After the hooks: flags such as "neg", stored values that stand for their negatives.
  const size_t metadata = global.role == GlobalRole::kTensorV3 ? 7 : 6;
  if (items.size() > metadata && tree_.kind(items[metadata]) != ValueKind::kNone &&
      !(tree_.kind(items[metadata]) == ValueKind::kDict && tree_.items(items[metadata]).empty())) {
    return Bad(global.module, ".", global.name,
               " with metadata (such as of a negated or conjugated view): save "
               "tensor.resolve_neg().resolve_conj() instead");
  }
  Node node = tree_.nodes_[arguments];
  node.kind = ValueKind::kTensor;
  node.wide |= static_cast<uint64_t>(global.role) << 32;
  return Add(node);
}

absl::StatusOr<ValueId> PickleMachine::MakeScalar(std::span<const ValueId> arguments) {
  const auto [type, bytes] = std::pair(arguments[0], arguments[1]);
  if (tree_.kind(type) != ValueKind::kNumpyType || tree_.kind(bytes) != ValueKind::kBytes) {
    return Bad("a numpy scalar of ", Name(tree_.kind(type)), " and ", Name(tree_.kind(bytes)));
  }
  const std::string_view name = tree_.text(type), raw = tree_.text(bytes);
  if (name.size() != 2 || name[1] < '1' || name[1] > '8' ||
      raw.size() != static_cast<size_t>(name[1] - '0')) {
    return Bad("a numpy scalar of type \"", Escape(name, 20), "\" with ", raw.size(), " bytes");
  }
  uint64_t bits = 0;
  for (size_t i = raw.size(); i-- > 0;) bits = bits << 8 | static_cast<uint8_t>(raw[i]);
  const size_t width = 8 * raw.size();
  switch (name[0]) {
    case 'b':
      return Add({ValueKind::kBool, 0, bits != 0});
    case 'i':
      if (width < 64 && (bits >> (width - 1)) != 0) bits |= ~uint64_t{0} << width;
      return Add({ValueKind::kInt, 0, bits});
    case 'u':
      return Add({ValueKind::kInt, 0, bits});
    case 'f':
      if (width == 64) return Add({ValueKind::kFloat, 0, bits});
      if (width == 32) {
        const double value = std::bit_cast<float>(static_cast<uint32_t>(bits));
        return Add({ValueKind::kFloat, 0, std::bit_cast<uint64_t>(value)});
      }
      return bytes;
    default:
      return Bad("a numpy scalar of type \"", Escape(name, 20), "\"");
  }
}

absl::Status PickleMachine::Build() {
  SMELT_ASSIGN_OR_RETURN(const ValueId state, Pop());
  SMELT_ASSIGN_OR_RETURN(const ValueId target, Top());
  if (tree_.kind(target) == ValueKind::kRefused) return absl::OkStatus();
  if (tree_.kind(target) == ValueKind::kDict &&
      (tree_.kind(state) == ValueKind::kDict || tree_.kind(state) == ValueKind::kNone)) {
    return absl::OkStatus();  // attributes such as _metadata, which nothing here reads
  }
  if (tree_.kind(target) == ValueKind::kNumpyType && tree_.kind(state) == ValueKind::kTuple) {
    const std::span<const ValueId> items = tree_.items(state);
    const bool has_order = items.size() >= 2 && tree_.kind(items[1]) == ValueKind::kString;
    if (!has_order || tree_.text(items[1]) == ">") {
      return Bad("a numpy dtype that is not little-endian");
    }
    return absl::OkStatus();
  }
  return Bad("sets the state of ", Name(tree_.kind(target)), " to ", Name(tree_.kind(state)),
             ", which only dicts have here");
}

absl::StatusOr<bool> PickleMachine::StepObject(uint8_t code) {
  switch (code) {
    case 'c': {
      SMELT_ASSIGN_OR_RETURN(const std::string module, Line());
      SMELT_ASSIGN_OR_RETURN(const std::string name, Line());
      SMELT_RETURN_IF_ERROR(PushGlobal(module, name));
      return true;
    }
    case 0x93:
      SMELT_RETURN_IF_ERROR(StackGlobal());
      return true;
    case 'Q':
      SMELT_RETURN_IF_ERROR(PersistentId());
      return true;
    case 'R':
      SMELT_RETURN_IF_ERROR(Reduce());
      return true;
    case 'b':
      SMELT_RETURN_IF_ERROR(Build());
      return true;
    case 'i': {
      SMELT_ASSIGN_OR_RETURN(const std::string module, Line());
      SMELT_ASSIGN_OR_RETURN(const std::string name, Line());
      if (refused_ != nullptr) {
        SMELT_ASSIGN_OR_RETURN(const size_t first, PopMark());
        stack_.resize(first);
      }
      SMELT_RETURN_IF_ERROR(RefuseGlobal(module, name));
      return true;
    }
    case 'o':
    case 0x81:
    case 0x92:
      SMELT_RETURN_IF_ERROR(NewObject(code));
      return true;
    case 'P':
      return Bad("a persistent id as text; a tuple that names a storage is expected");
    case 0x82:
    case 0x83:
    case 0x84: {
      SMELT_ASSIGN_OR_RETURN(const uint64_t entry, Unsigned(code == 0x82   ? 1
                                                            : code == 0x83 ? 2
                                                                           : 4));
      SMELT_RETURN_IF_ERROR(Refuse(Cat("entry ", entry, " of the extension registry"),
                                   "names an entry of the extension registry"));
      return true;
    }
    case 0x97:
    case 0x98:
      return Fail(ErrorCode::kUnsupported, "needs a buffer from outside of the pickle");
    default:
      return false;
  }
}

}  // namespace smelt
