#include "lib/model/meta_parts.h"

#include <algorithm>
#include <span>
#include <string>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kLargestCopy = 1 << 20;

enum class Cut { kRows, kColumns, kCopied };

/// How fairscale cut a tensor: rows of column-parallel matrices, columns of row-parallel ones.
Cut CutOf(const RawTensor& tensor, size_t parts, uint64_t width) {
  const std::string& name = tensor.name;
  const auto has = [&name](std::string_view part) { return name.find(part) != std::string::npos; };
  if (tensor.shape.size() != 2) return Cut::kCopied;
  if (has("attention.wo.") || has("feed_forward.w2.")) return Cut::kColumns;
  if (has("tok_embeddings.")) {  // Llama 1 and 2 cut the width, Llama 3 the vocabulary
    return tensor.shape[1] == width           ? Cut::kRows
           : tensor.shape[1] * parts == width ? Cut::kColumns
                                              : Cut::kCopied;
  }
  return Cut::kRows;
}

/// Whether a vector that every part has is the same in two of them. It is small: a norm.
absl::StatusOr<bool> IsCopy(const RawTensor& a, const RawTensor& b) {
  if (a.shape != b.shape) return false;
  if (!a.contiguous() || !b.contiguous()) return true;  // no maker writes them so
  const uint64_t bytes = a.elements() * BitsOf(a.dtype) / 8;
  if (bytes > kLargestCopy) return true;
  std::string first(bytes, '\0'), second(bytes, '\0');
  SMELT_RETURN_IF_ERROR(a.storage->ReadAt(a.offset, std::as_writable_bytes(std::span(first))));
  SMELT_RETURN_IF_ERROR(b.storage->ReadAt(b.offset, std::as_writable_bytes(std::span(second))));
  return first == second;
}

}  // namespace

absl::StatusOr<MergedParts> MergeMetaParts(std::vector<Container> parts, uint64_t width) {
  MergedParts merged;
  if (parts.size() == 1) {
    merged.container = std::move(parts[0]);
    return merged;
  }
  for (const Container& part : parts) {
    merged.container.files.insert(merged.container.files.end(), part.files.begin(),
                                  part.files.end());
  }
  std::vector<std::map<std::string_view, const RawTensor*>> index(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    for (const RawTensor& tensor : parts[i].tensors) index[i].emplace(tensor.name, &tensor);
  }
  for (const RawTensor& first : parts[0].tensors) {
    RawTensor whole = first;
    const Cut cut = CutOf(first, parts.size(), width);
    if (cut != Cut::kCopied) {
      SlicedTensor sliced;
      sliced.by_columns = cut == Cut::kColumns;
      for (auto& names : index) {
        const auto it = names.find(first.name);
        if (it == names.end() || it->second->shape != first.shape) {
          return Error(ErrorCode::kInvalidInput, "tensor ", Escape(first.name),
                       " is missing in one of the parts or has another shape there");
        }
        sliced.parts.push_back(*it->second);
      }
      whole.shape[sliced.by_columns ? 1 : 0] *= parts.size();
      merged.sliced.emplace(first.name, std::move(sliced));
    } else {
      for (auto& names : index) {
        const auto it = names.find(first.name);
        bool same = it != names.end();
        if (same) {
          SMELT_ASSIGN_OR_RETURN(same, IsCopy(first, *it->second));
        }
        if (same) continue;
        return Error(ErrorCode::kInvalidInput, "tensor ", Escape(first.name),
                     " differs between the parts: they are not of one model");
      }
    }
    merged.container.tensors.push_back(std::move(whole));
  }
  return merged;
}

}  // namespace smelt
