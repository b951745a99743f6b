// The merges of a BPE model, as they are listed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace smelt {

/// The parts of a merge as files write it, "left right"; nullopt where there are not two.
/// `spaces`: the right part may hold some itself.
inline std::optional<std::pair<std::string_view, std::string_view>> MergeParts(
    std::string_view line, bool spaces = false) {
  const size_t end = line.find(' ', 1);
  if (end == std::string_view::npos || end + 1 == line.size()) return std::nullopt;
  const std::string_view left = line.substr(0, end), right = line.substr(end + 1);
  if (!spaces && (left.starts_with(' ') || right.find(' ') != std::string_view::npos))
    return std::nullopt;
  return std::pair(left, right);
}

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
