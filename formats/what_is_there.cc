#include "formats/what_is_there.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "formats/pieces.h"
#include "formats/weight_sets.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/unfinished.h"

namespace smelt {
namespace {

enum class Match { kBegins, kEnds, kInside };  ///< kInside: the ending, in a folder in it

/// Evidence of a form that is not read: an entry's name (a folder's ends in a slash), what it is,
/// and the way out.
struct Evidence {
  Match match;
  std::string_view text, what, way_out;
};
constexpr std::string_view kDeepSpeed = "a DeepSpeed (ZeRO) checkpoint in shards",
                           kZeroToFp32 =
                               "join them with its zero_to_fp32.py (python zero_to_fp32.py . OUT)",
                           kFsdp = "an FSDP (distributed) checkpoint in shards, .distcp",
                           kMerge =
                               "join them with accelerate merge-weights, or with torch's "
                               "python -m torch.distributed.checkpoint.format_utils dcp_to_torch",
                           kMegatron = "a Megatron checkpoint in shards",
                           kExport = "export it to Hugging Face's layout with its own tool",
                           kNeeded = "safetensors or PyTorch weights are needed";
constexpr Evidence kEvidence[] = {
    {Match::kBegins, "zero_to_fp32.py", kDeepSpeed, kZeroToFp32},
    {Match::kBegins, "global_step", kDeepSpeed, kZeroToFp32},
    {Match::kBegins, "zero_pp_rank", kDeepSpeed, kZeroToFp32},
    {Match::kEnds, "_model_states.pt", kDeepSpeed, kZeroToFp32},
    {Match::kEnds, ".distcp", kFsdp, kMerge},
    {Match::kInside, ".distcp", kFsdp, kMerge},
    {Match::kBegins, "latest_checkpointed_iteration.txt", kMegatron, kExport},
    {Match::kBegins, "mp_rank_", kMegatron, kExport},
    {Match::kBegins, "adapter_model", "a LoRA adapter, no model of its own",
     "name the model that it was trained on, or merge the two first"},
    {Match::kEnds, ".msgpack", "a Flax model", kNeeded},
    {Match::kEnds, ".h5", "a TensorFlow model", kNeeded},
    {Match::kEnds, ".onnx", "an ONNX model", kNeeded},
    {Match::kEnds, ".npz", "a model in numpy's format", kNeeded},
    {Match::kEnds, ".nemo", "a NeMo archive", kExport},
    {Match::kEnds, ".tflite", "a TensorFlow Lite model", kNeeded},
    {Match::kEnds, ".ot", "a model of rust-bert", kNeeded},
};

/// The entry that a row speaks of; empty when there is none.
std::string Find(const Evidence& evidence, const std::string& directory,
                 const std::vector<std::string>& entries) {
  for (const std::string& entry : entries) {
    switch (evidence.match) {
      case Match::kBegins:
        if (entry.starts_with(evidence.text)) return entry;
        break;
      case Match::kEnds:
        if (HasEnding(entry, evidence.text)) return entry;
        break;
      case Match::kInside:
        if (!entry.ends_with('/') || IsNoWeights(entry)) break;  // an optimizer's shards
        for (const std::string& inner : ListEntries(directory + "/" + entry)) {
          if (HasEnding(inner, evidence.text)) return entry + inner;
        }
        break;
    }
  }
  return "";
}

}  // namespace

std::vector<std::string> ListEntries(const std::string& directory) {
  absl::StatusOr<std::vector<std::string>> names = ListFolder(directory);
  if (!names.ok()) return {};
  for (std::string& name : *names) {
    if (IsFolder(Cat(directory, "/", name))) name += '/';
  }
  std::ranges::sort(*names);
  return *std::move(names);
}

std::string ListOf(const std::vector<std::string>& names, size_t shown) {
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), shown); ++i) {
    list += Cat(i == 0 ? "" : ", ", Escape(names[i], 50));
  }
  return names.size() > shown ? Cat(list, " and ", names.size() - shown, " more") : list;
}

absl::Status RefuseOtherForms(const std::string& path) {
  const bool folder = IsFolder(path);
  const std::vector<std::string> entries =
      folder ? ListEntries(path) : std::vector{path.substr(path.find_last_of('/') + 1)};
  for (const Evidence& evidence : kEvidence) {
    const std::string seen = Find(evidence, path, entries);
    if (seen.empty()) continue;
    return Error(ErrorCode::kUnsupported, Escape(path), ": no weights in one piece, but ",
                 folder ? "" : "a file of ", evidence.what,
                 folder ? Cat(" (", Escape(seen, 60), ")") : "", ": ", evidence.way_out);
  }
  return absl::OkStatus();
}

absl::Status NoWeights(const std::string& directory) {
  SMELT_RETURN_IF_ERROR(RefuseOtherForms(directory));
  const std::vector<std::string> entries = ListEntries(directory);
  SMELT_RETURN_IF_ERROR(RefusePiecesIn(directory));
  if (const std::string why = UnfinishedIn(directory); !why.empty())
    return Error(ErrorCode::kNotFound, Escape(directory), ": no weights yet: ", why);
  return Error(
      ErrorCode::kNotFound, Escape(directory),
      ": no weights: none of model.safetensors, pytorch_model.bin (or an index of either), "
      "consolidated.safetensors, consolidated.00.pth is in this directory",
      entries.empty() ? ", which is empty" : Cat(", which holds ", ListOf(entries)));
}

}  // namespace smelt
