#include "lib/model/vendor_parts.h"

#include <algorithm>

#include "lib/base/status.h"

namespace smelt {
namespace {

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
    }
    merged.container.tensors.push_back(std::move(whole));
  }
  return merged;
}

}  // namespace smelt
