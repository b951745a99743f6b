// The merges of a BPE model, as they are listed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace smelt {

/// Pairs of texts in a list, compactly.
class MergeList {
 public:
  void Reserve(size_t merges) { spans_.reserve(merges); }
  void Add(std::string_view left, std::string_view right) {
    spans_.push_back(
        {bytes_.size(), static_cast<uint32_t>(left.size()), static_cast<uint32_t>(right.size())});
    bytes_.append(left);
    bytes_.append(right);
  }
  size_t size() const { return spans_.size(); }
  std::string_view Left(size_t i) const {
    return std::string_view(bytes_).substr(spans_[i].offset, spans_[i].left);
  }
  std::string_view Right(size_t i) const {
    return std::string_view(bytes_).substr(spans_[i].offset + spans_[i].left, spans_[i].right);
  }
  /// What the merge makes.
  std::string_view Whole(size_t i) const {
    return std::string_view(bytes_).substr(spans_[i].offset, spans_[i].left + spans_[i].right);
  }

  bool operator==(const MergeList&) const = default;

 private:
  struct Span {
    uint64_t offset;
    uint32_t left, right;
    bool operator==(const Span&) const = default;
  };
  std::string bytes_;
  std::vector<Span> spans_;
};

}  // namespace smelt
