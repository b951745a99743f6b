// Pickles as data: a small machine over an allow-list that builds a tree of values and cannot call
// anything. Format: Python's pickletools (protocols 0 to 5); what checkpoints hold:
// torch/_utils.py, torch/serialization.py.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "formats/torch/pickle_globals.h"
#include "lib/base/storage.h"

namespace smelt {

/// A value of a pickle. Values may be shared, and lists and dicts may hold themselves: whoever
/// walks the tree bounds the walk.
using ValueId = uint32_t;

enum class ValueKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kBigInt,  ///< outside of int64: its little-endian two's complement bytes, or decimal digits
  kFloat,
  kString,
  kBytes,
  kTuple,
  kList,
  kDict,  ///< also OrderedDict, defaultdict, Counter
  kSet,
  kGlobal,   ///< an allowed name, not called: a dtype, a class as an argument
  kStorage,  ///< a persistent id: ("storage", class, key, location, elements, ...)
  kTensor,   ///< arguments of a torch._utils._rebuild_* function
  kNumpyType,
  kRefused,  ///< in a listing: what stands for a refused name and all that is made of it
};

std::string_view Name(ValueKind kind);  ///< "a list", "an integer", ...

/// The values of one pickle. Memory: at most about 50 bytes per byte of the pickle.
class Pickle {
 public:
  ValueId root() const { return root_; }
  ValueId size() const { return static_cast<ValueId>(nodes_.size()); }  ///< ids are 0 to size - 1
  ValueKind kind(ValueId id) const { return nodes_[id].kind; }

  bool boolean(ValueId id) const { return nodes_[id].wide != 0; }
  int64_t integer(ValueId id) const { return static_cast<int64_t>(nodes_[id].wide); }
  double real(ValueId id) const;
  /// Of a string, bytes, big integer or numpy type.
  std::string_view text(ValueId id) const;
  /// Items of a tuple, list or set; keys and values alternating of a dict; the persistent id of a
  /// storage; the arguments of a tensor.
  std::span<const ValueId> items(ValueId id) const;
  const PickleGlobal& global(ValueId id) const { return PickleGlobalAt(nodes_[id].narrow); }
  /// Which rebuild function a tensor's arguments are for.
  GlobalRole rebuild(ValueId id) const { return static_cast<GlobalRole>(nodes_[id].wide >> 32); }

  uint64_t end() const { return end_; }  ///< offset in its storage just after STOP

 private:
  friend class PickleMachine;
  struct Node {
    ValueKind kind = ValueKind::kNone;
    uint32_t narrow = 0;
    uint64_t wide = 0;
  };

  std::vector<Node> nodes_;
  std::vector<ValueId> pool_;               // items of tuples, which never change
  std::vector<std::vector<ValueId>> bags_;  // items of what can grow; made with the first item
  std::string text_;
  ValueId root_ = 0;
  uint64_t end_ = 0;
};

/// A name that a pickle wanted and does not get.
struct PickleRefusal {
  std::string name;       ///< "posix.system", escaped and cut
  std::string operation;  ///< "GLOBAL"
  uint64_t offset = 0;    ///< byte of the operation in its storage
};
inline constexpr size_t kMaxRefusals = 100;  ///< that a listing holds

/// The longest pickle that is read; a checkpoint of 100,000 tensors has about 20 MB.
inline constexpr uint64_t kMaxPickleBytes = 256ull << 20;

/// Reads one pickle that begins at `begin` of `storage` and ends with its STOP (what follows is not
/// looked at). Errors name `storage` and the byte offset in it; a name that is not on the
/// allow-list is kUnsupported. With `refused` such names are listed there instead, and values of
/// kRefused stand for them, so that the rest can be shown; never for using the result.
absl::StatusOr<Pickle> ReadPickle(const Storage& storage, uint64_t begin = 0,
                                  std::vector<PickleRefusal>* refused = nullptr);

}  // namespace smelt
