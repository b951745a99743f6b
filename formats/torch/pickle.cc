#include "formats/torch/pickle.h"

#include <algorithm>
#include <bit>

#include "formats/torch/pickle_machine.h"

namespace smelt {

std::string_view Name(ValueKind kind) {
  switch (kind) {
    case ValueKind::kNone:
      return "None";
    case ValueKind::kBool:
      return "a boolean";
    case ValueKind::kInt:
    case ValueKind::kBigInt:
      return "an integer";
    case ValueKind::kFloat:
      return "a float";
    case ValueKind::kString:
      return "a string";
    case ValueKind::kBytes:
      return "bytes";
    case ValueKind::kTuple:
      return "a tuple";
    case ValueKind::kList:
      return "a list";
    case ValueKind::kDict:
      return "a dict";
    case ValueKind::kSet:
      return "a set";
    case ValueKind::kGlobal:
      return "a function or class";
    case ValueKind::kStorage:
      return "a storage";
    case ValueKind::kTensor:
      return "a tensor";
    case ValueKind::kNumpyType:
      return "a numpy dtype";
    case ValueKind::kRefused:
      return "a refused object";
  }
  return "?";
}

double Pickle::real(ValueId id) const { return std::bit_cast<double>(nodes_[id].wide); }

std::string_view Pickle::text(ValueId id) const {
  return std::string_view(text_).substr(nodes_[id].wide, nodes_[id].narrow);
}

std::span<const ValueId> Pickle::items(ValueId id) const {
  const Node& node = nodes_[id];
  switch (node.kind) {
    case ValueKind::kTuple:
    case ValueKind::kStorage:
    case ValueKind::kTensor:
      return std::span(pool_).subspan(node.wide & 0xffffffff, node.narrow);
    case ValueKind::kList:
    case ValueKind::kDict:
    case ValueKind::kSet:
      if (node.narrow == 0) return {};
      return bags_[node.narrow - 1];
    default:
      return {};
  }
}

absl::StatusOr<Pickle> ReadPickle(const Storage& storage, uint64_t begin,
                                  std::vector<PickleRefusal>* refused) {
  begin = std::min(begin, storage.size());
  const uint64_t end = begin + std::min(kMaxPickleBytes, storage.size() - begin);
  return PickleMachine(storage, begin, end, refused).Run();
}

}  // namespace smelt
