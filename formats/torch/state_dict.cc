#include "formats/torch/state_dict.h"

#include <algorithm>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/base/checked.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

/// Under which a training checkpoint keeps the weights, in the order of trust.
constexpr std::string_view kWrappers[] = {"state_dict", "model_state_dict", "model", "module"};
constexpr int kMaxWrapperDepth = 4;
constexpr size_t kMaxDimensions = 16;
constexpr size_t kMaxNameBytes = 1024;

template <typename... Parts>
absl::Status Bad(std::string_view file, const Parts&... what) {
  return Error(ErrorCode::kInvalidInput, file, ": ", what...);
}

/// Value of a string key; the last one wins, as in Python.
std::optional<ValueId> Find(const Pickle& pickle, ValueId dict, std::string_view key) {
  std::optional<ValueId> found;
  const std::span<const ValueId> items = pickle.items(dict);
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (pickle.kind(items[i]) == ValueKind::kString && pickle.text(items[i]) == key) {
      found = items[i + 1];
    }
  }
  return found;
}

/// What holds tensors: dicts, themselves or in dicts in them; lists and tuples, themselves. Values
/// may be shared without end, so each is looked at once for all questions, whatever names it.
class TensorHolders {
 public:
  explicit TensorHolders(const Pickle& pickle) : holds_(pickle.size()) {
    std::vector<ValueId> found;
    std::vector<std::pair<ValueId, ValueId>> inside;  // a dict, and a dict that has it as a value
    for (ValueId id = 0; id < pickle.size(); ++id) {
      const ValueKind kind = pickle.kind(id);
      const bool dict = kind == ValueKind::kDict;
      if (!dict && kind != ValueKind::kList && kind != ValueKind::kTuple) continue;
      const std::span<const ValueId> items = pickle.items(id);
      for (size_t i = dict ? 1 : 0; i < items.size(); i += dict ? 2 : 1) {
        if (pickle.kind(items[i]) == ValueKind::kTensor) holds_[id] = true;
        if (dict && pickle.kind(items[i]) == ValueKind::kDict) inside.emplace_back(items[i], id);
      }
      if (dict && holds_[id]) found.push_back(id);
    }
    std::ranges::sort(inside);
    while (!found.empty()) {
      const ValueId dict = found.back();
      found.pop_back();
      for (auto it = std::ranges::lower_bound(inside, std::pair(dict, ValueId{0}));
           it != inside.end() && it->first == dict; ++it) {
        if (holds_[it->second]) continue;
        holds_[it->second] = true;
        found.push_back(it->second);
      }
    }
  }

  bool operator[](ValueId id) const { return holds_[id]; }

 private:
  std::vector<bool> holds_;
};

/// "epoch, optimizer, lr and 4 more": the keys of a dict but `except`.
std::string OtherKeys(const Pickle& pickle, ValueId dict, std::string_view except) {
  std::string list;
  size_t shown = 0, more = 0;
  const std::span<const ValueId> items = pickle.items(dict);
  for (size_t i = 0; i < items.size(); i += 2) {
    const bool named = pickle.kind(items[i]) == ValueKind::kString;
    if (named && pickle.text(items[i]) == except) continue;
    if (!named || shown == 8) {
      ++more;
      continue;
    }
    list += Cat(shown++ == 0 ? "" : ", ", Escape(pickle.text(items[i]), 40));
  }
  if (more > 0) list += Cat(" and ", more, " more");
  return list;
}

/// Follows the wrappers from the root to the dict with the weights.
ValueId FindStateDict(const Pickle& pickle, const TensorHolders& holders, std::string_view file,
                      Container& container) {
  ValueId dict = pickle.root();
  for (int depth = 0; depth < kMaxWrapperDepth; ++depth) {
    bool found = false;
    for (const std::string_view wrapper : kWrappers) {
      const std::optional<ValueId> inner = Find(pickle, dict, wrapper);
      if (!inner || pickle.kind(*inner) != ValueKind::kDict || !holders[*inner]) {
        continue;
      }
      if (const std::string others = OtherKeys(pickle, dict, wrapper); !others.empty()) {
        container.notes.push_back(Cat(file, ": read \"", wrapper, "\", left aside: ", others));
      }
      dict = *inner;
      found = true;
      break;
    }
    if (!found) break;
  }
  return dict;
}

/// Sizes or strides: a tuple (or list) of non-negative integers.
absl::StatusOr<std::vector<uint64_t>> ReadExtents(const Pickle& pickle, ValueId id,
                                                  std::string_view what) {
  const ValueKind kind = pickle.kind(id);
  if (kind != ValueKind::kTuple && kind != ValueKind::kList) {
    return Error(ErrorCode::kInvalidInput, what, " is ", Name(kind), "; a tuple is expected");
  }
  const std::span<const ValueId> items = pickle.items(id);
  if (items.size() > kMaxDimensions) {
    return Error(ErrorCode::kInvalidInput, what, " has ", items.size(), " dimensions; at most ",
                 kMaxDimensions, " are read");
  }
  std::vector<uint64_t> extents;
  for (const ValueId item : items) {
    if (pickle.kind(item) != ValueKind::kInt || pickle.integer(item) < 0) {
      return Error(ErrorCode::kInvalidInput, what,
                   " must consist of non-negative integers of 63 bits");
    }
    extents.push_back(static_cast<uint64_t>(pickle.integer(item)));
  }
  return extents;
}

absl::StatusOr<uint64_t> ReadCount(const Pickle& pickle, ValueId id, std::string_view what) {
  if (pickle.kind(id) != ValueKind::kInt || pickle.integer(id) < 0) {
    return Error(ErrorCode::kInvalidInput, what, " is no non-negative integer of 63 bits");
  }
  return static_cast<uint64_t>(pickle.integer(id));
}

/// Element (0, 0, ..) of a tensor in its storage, and the window that a storage view opens (files
/// of PyTorch before 1.0: (key, offset, size) in the sixth field).
struct View {
  uint64_t first = 0, elements = 0;
};

absl::StatusOr<View> ReadView(const Pickle& pickle, ValueId storage, const StorageClaim& claim) {
  const std::span<const ValueId> fields = pickle.items(storage);
  if (fields.size() < 6 || pickle.kind(fields[5]) == ValueKind::kNone) {
    return View{0, claim.elements};
  }
  const std::span<const ValueId> view = pickle.items(fields[5]);
  if (pickle.kind(fields[5]) != ValueKind::kTuple || view.size() != 3) {
    return Error(ErrorCode::kInvalidInput, "its storage has a malformed view");
  }
  View out;
  SMELT_ASSIGN_OR_RETURN(out.first, ReadCount(pickle, view[1], "the offset of its storage's view"));
  SMELT_ASSIGN_OR_RETURN(out.elements,
                         ReadCount(pickle, view[2], "the size of its storage's view"));
  if (out.first > claim.elements || out.elements > claim.elements - out.first) {
    return Error(ErrorCode::kInvalidInput, "its storage's view reaches past the storage's end");
  }
  return out;
}

/// All trust in a tensor's place is established here: the storage has the bytes that the pickle
/// claims, and the last element that sizes, strides and offset reach lies in it.
absl::StatusOr<RawTensor> ResolveTensor(const Pickle& pickle, ValueId id, StorageTable& storages) {
  const std::span<const ValueId> arguments = pickle.items(id);
  SMELT_ASSIGN_OR_RETURN(const StorageClaim claim, ReadStorageClaim(pickle, arguments[0]));
  RawTensor tensor;
  const std::optional<RawType> dtype =
      pickle.rebuild(id) == GlobalRole::kTensorV3 ? pickle.global(arguments[6]).dtype : claim.dtype;
  if (!dtype) {
    const std::string_view type = pickle.rebuild(id) == GlobalRole::kTensorV3
                                      ? pickle.global(arguments[6]).name
                                      : claim.class_name;
    return Error(ErrorCode::kUnsupported, "its element type (", type, ") is not supported");
  }
  tensor.dtype = *dtype;
  const uint64_t width = BitsOf(tensor.dtype) / 8;

  SMELT_ASSIGN_OR_RETURN(tensor.storage, storages.Find(claim.key));
  const uint64_t stored = tensor.storage->size();
  const uint64_t unit = claim.untyped ? 1 : BitsOf(claim.dtype.value_or(tensor.dtype)) / 8;
  if (claim.elements > stored / unit) {
    return Error(ErrorCode::kInvalidInput, "its storage should have ", claim.elements,
                 " elements of ", unit, " bytes, but ", Escape(tensor.storage->name(), 60), " has ",
                 stored, " bytes");
  }
  if (stored / unit != claim.elements) {
    return Error(ErrorCode::kInvalidInput, "its storage should have ", claim.elements,
                 " elements of ", unit, " bytes, fewer than the ", stored, " bytes of ",
                 Escape(tensor.storage->name(), 60));
  }
  SMELT_ASSIGN_OR_RETURN(View view, ReadView(pickle, arguments[0], claim));
  if (unit != width) view = {view.first * unit / width, view.elements * unit / width};

  SMELT_ASSIGN_OR_RETURN(const uint64_t offset,
                         ReadCount(pickle, arguments[1], "its storage offset"));
  SMELT_ASSIGN_OR_RETURN(tensor.shape, ReadExtents(pickle, arguments[2], "its size"));
  SMELT_ASSIGN_OR_RETURN(const std::vector<uint64_t> strides,
                         ReadExtents(pickle, arguments[3], "its stride"));
  if (strides.size() != tensor.shape.size()) {
    return Error(ErrorCode::kInvalidInput, "it has ", tensor.shape.size(), " sizes but ",
                 strides.size(), " strides");
  }
  std::optional<uint64_t> bytes = width, last = offset;
  bool empty = false;
  for (size_t i = 0; i < strides.size(); ++i) {
    tensor.strides.push_back(static_cast<int64_t>(strides[i]));
    bytes = bytes ? CheckedMul(*bytes, tensor.shape[i]) : std::nullopt;
    if (tensor.shape[i] == 0) empty = true;
    const uint64_t steps = std::max<uint64_t>(tensor.shape[i], 1) - 1;
    const std::optional<uint64_t> reach = CheckedMul(steps, strides[i]);
    last = last && reach ? CheckedAdd(*last, *reach) : std::nullopt;
  }
  if (!empty && (!bytes || *bytes > INT64_MAX)) {
    return Error(ErrorCode::kInvalidInput, "its size overflows 63 bits");
  }
  if (!empty && (!last || *last >= view.elements)) {
    return Error(ErrorCode::kInvalidInput, "its size, stride and offset (", offset,
                 ") reach past the end of its storage of ", view.elements, " elements");
  }
  if (!empty) tensor.offset = (view.first + offset) * width;
  return tensor;
}

class StateDictReader {
 public:
  StateDictReader(const Pickle& pickle, const TensorHolders& holders, std::string_view file,
                  StorageTable& storages, Container& container)
      : pickle_(pickle),
        holders_(holders),
        file_(file),
        storages_(storages),
        container_(container) {}

  absl::Status Read(ValueId root) {
    std::unordered_set<ValueId> seen = {root};
    // Depth first, in the dicts' order: each level is a dict and how far it was read.
    struct Level {
      ValueId dict;
      size_t next = 0;
      size_t prefix = 0;  // bytes of path_ before this level's keys
    };
    std::vector<Level> levels = {{root}};
    while (!levels.empty()) {
      Level& level = levels.back();
      const std::span<const ValueId> items = pickle_.items(level.dict);
      path_.resize(level.prefix);
      if (level.next + 1 >= items.size()) {
        levels.pop_back();
        continue;
      }
      const ValueId key = items[level.next], value = items[level.next + 1];
      level.next += 2;
      if (pickle_.kind(value) == ValueKind::kTensor) {
        SMELT_RETURN_IF_ERROR(AddKey(key, "a tensor"));
        SMELT_RETURN_IF_ERROR(AddTensor(value));
      } else if (pickle_.kind(value) == ValueKind::kDict && holders_[value]) {
        SMELT_RETURN_IF_ERROR(AddKey(key, "a dict"));
        if (!seen.insert(value).second) {
          return Bad(file_, "the dict \"", Escape(path_), "\" is in the state dict twice");
        }
        path_ += '.';
        levels.push_back({value, 0, path_.size()});
      } else {
        SMELT_RETURN_IF_ERROR(CheckOther(key, value));
      }
    }
    if (others_ > 0) {
      container_.notes.push_back(Cat(file_, ": ", others_,
                                     " entries of the state dict are no tensors and left aside, \"",
                                     Escape(first_other_, 60), "\" for one"));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status AddKey(ValueId key, std::string_view what) {
    if (pickle_.kind(key) != ValueKind::kString) {
      const ValueKind kind = pickle_.kind(key);
      return Bad(file_, what, " in the state dict has ", Name(kind),
                 kind == ValueKind::kInt ? Cat(" (", pickle_.integer(key), ")") : std::string(),
                 " as its key; a string is expected");
    }
    path_ += pickle_.text(key);
    if (path_.size() > kMaxNameBytes) {
      return Bad(file_, "the name of the tensor \"", Escape(path_, 60), "\" has more than ",
                 kMaxNameBytes, " bytes");
    }
    return absl::OkStatus();
  }

  absl::Status AddTensor(ValueId value) {
    absl::StatusOr<RawTensor> tensor = ResolveTensor(pickle_, value, storages_);
    if (!tensor.ok()) {
      return Prefixed(Cat(file_, ": tensor \"", Escape(path_), "\": "), tensor.status());
    }
    tensor->name = path_;
    if (!names_.insert(path_).second) {
      return Bad(file_, "two tensors are called \"", Escape(path_), "\"");
    }
    container_.tensors.push_back(*std::move(tensor));
    return absl::OkStatus();
  }

  /// What else stands among the tensors: plain data is passed over, a function never is.
  absl::Status CheckOther(ValueId key, ValueId value) {
    // Only for the one that is said: a long key may be named without end.
    const auto name = [&] {
      return pickle_.kind(key) == ValueKind::kString
                 ? Cat(path_, pickle_.text(key).substr(0, kMaxNameBytes))
                 : std::string(Name(pickle_.kind(key)));
    };
    if (pickle_.kind(value) == ValueKind::kGlobal) {
      const PickleGlobal& global = pickle_.global(value);
      if (global.role != GlobalRole::kDtype) {
        return Bad(file_, "\"", Escape(name()), "\" in the state dict is ", global.module, ".",
                   global.name, "; a tensor is expected");
      }
    }
    const ValueKind kind = pickle_.kind(value);
    if ((kind == ValueKind::kList || kind == ValueKind::kTuple) && holders_[value]) {
      return Error(ErrorCode::kUnsupported, file_, ": \"", Escape(name()),
                   "\" in the state dict is ", Name(kind),
                   " of tensors; only tensors with names of their own are read");
    }
    if (others_++ == 0) first_other_ = name();
    return absl::OkStatus();
  }

  const Pickle& pickle_;
  const TensorHolders& holders_;
  std::string_view file_;
  StorageTable& storages_;
  Container& container_;
  std::string path_;
  TextSet<std::string> names_;
  size_t others_ = 0;
  std::string first_other_;
};

/// Removes what wrappers put before every name: DataParallel's "module.", torch.compile's
/// "_orig_mod.", and a "model." more than the model itself has.
void StripPrefixes(Container& container) {
  const auto all_begin = [&](std::string_view prefix) {
    return std::ranges::all_of(container.tensors, [&](const RawTensor& tensor) {
      return tensor.name.starts_with(prefix) && tensor.name.size() > prefix.size();
    });
  };
  const auto any_begins = [&](std::string_view prefix) {
    return std::ranges::any_of(container.tensors, [&](const RawTensor& tensor) {
      return tensor.name.starts_with(prefix);
    });
  };
  for (int round = 0; round < kMaxWrapperDepth; ++round) {
    std::string_view prefix;
    for (const std::string_view wrapper : {"module.", "_orig_mod.", "_forward_module."}) {
      if (all_begin(wrapper)) prefix = wrapper;
    }
    if (all_begin("model.") && any_begins("model.model.")) prefix = "model.";
    if (prefix.empty()) return;
    for (RawTensor& tensor : container.tensors) tensor.name.erase(0, prefix.size());
  }
}

}  // namespace

absl::StatusOr<StorageClaim> ReadStorageClaim(const Pickle& pickle, ValueId storage) {
  const std::span<const ValueId> fields = pickle.items(storage);
  const PickleGlobal& type = pickle.global(fields[1]);
  StorageClaim claim;
  claim.class_name = type.name;
  claim.untyped = type.role == GlobalRole::kUntypedStorage;
  claim.dtype = type.dtype;
  if (pickle.kind(fields[2]) != ValueKind::kString) {
    return Error(ErrorCode::kInvalidInput, "its storage has a number as its key");
  }
  claim.key = pickle.text(fields[2]);
  SMELT_ASSIGN_OR_RETURN(claim.elements,
                         ReadCount(pickle, fields[4], "the element count of its storage"));
  return claim;
}

absl::StatusOr<Container> ReadStateDict(const Pickle& pickle, std::string_view file,
                                        StorageTable& storages) {
  if (pickle.kind(pickle.root()) != ValueKind::kDict) {
    return Bad(file, "holds ", Name(pickle.kind(pickle.root())),
               "; a state dict (a dict of named tensors) is expected");
  }
  Container container;
  const TensorHolders holders(pickle);
  const ValueId dict = FindStateDict(pickle, holders, file, container);
  SMELT_RETURN_IF_ERROR(StateDictReader(pickle, holders, file, storages, container).Read(dict));
  if (container.tensors.empty()) {
    return Bad(file, "holds no tensors: its state dict is empty");
  }
  StripPrefixes(container);
  return container;
}

}  // namespace smelt
