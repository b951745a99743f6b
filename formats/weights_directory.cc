#include "formats/weights_directory.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "formats/safetensors.h"
#include "formats/torch/torch.h"
#include "formats/weight_index.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

constexpr std::string_view kSingle = "model.safetensors", kTorchSingle = "pytorch_model.bin",
                           kMistralStem = "consolidated", kParams = "params.json";

/// What training leaves beside the weights under a checkpoint's endings.
constexpr std::string_view kNotWeights[] = {"training_args", "optimizer", "scheduler",    "scaler",
                                            "rng_state",     "trainer",   "random_states"};

bool IsCheckpointName(std::string_view name) {
  const bool ending = name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth") ||
                      name.ends_with(".ckpt");
  return ending && !name.starts_with("consolidated.") &&
         std::ranges::none_of(kNotWeights,
                              [&](std::string_view other) { return name.starts_with(other); });
}

/// Everything of a directory that could be weights.
class Candidates {
 public:
  Candidates(std::string directory, std::vector<std::string> names)
      : directory_(std::move(directory)), names_(std::move(names)) {}

  bool Has(std::string_view name) const { return std::ranges::binary_search(names_, name); }

  /// NAME or else NAME.index.json.
  std::vector<std::string> WholeOrIndex(std::string_view name) const {
    if (Has(name)) return {std::string(name)};
    const std::string index = Cat(name, ".index.json");
    return Has(index) ? std::vector{index} : std::vector<std::string>();
  }

  /// pytorch_model.bin, its index, or the only other file with a checkpoint's ending.
  absl::StatusOr<std::vector<std::string>> Torch() const {
    std::vector<std::string> found = WholeOrIndex(kTorchSingle);
    if (!found.empty()) return found;
    std::ranges::copy_if(names_, std::back_inserter(found),
                         [](const std::string& name) { return IsCheckpointName(name); });
    if (found.size() <= 1) return found;
    return Error(ErrorCode::kInvalidInput, Escape(directory_), ": ", found.size(), " checkpoints (",
                 Escape(found[0], 60), ", ", Escape(found[1], 60), found.size() > 2 ? ", ..." : "",
                 ") and no ", kTorchSingle,
                 " or index to tell which is the model; remove the others");
  }

  /// Checkpoints under names of their own, beside the forms that the directory was searched for.
  std::vector<std::string> OtherCheckpoints() const {
    std::vector<std::string> found;
    std::ranges::copy_if(names_, std::back_inserter(found), [](const std::string& name) {
      return IsCheckpointName(name) && !name.starts_with("pytorch_model");
    });
    return found;
  }

  /// consolidated.safetensors, its index, or consolidated-N-of-M.safetensors.
  std::vector<std::string> Mistral() const {
    std::vector<std::string> found = WholeOrIndex(Cat(kMistralStem, ".safetensors"));
    if (!found.empty()) return found;
    std::ranges::copy_if(names_, std::back_inserter(found), [](const std::string& name) {
      return name.starts_with(kMistralStem) && name.ends_with(".safetensors");
    });
    return found;
  }

  /// consolidated.00.pth, consolidated.01.pth and so on, without gaps.
  absl::StatusOr<std::vector<std::string>> Meta() const {
    std::vector<std::string> found;
    for (const std::string& name : names_) {
      if (!name.starts_with("consolidated.") || !name.ends_with(".pth")) continue;
      const size_t number = found.size();
      const std::string expected =
          name == "consolidated.pth" && number == 0
              ? name
              : Cat("consolidated.", number < 10 ? "0" : "", number, ".pth");
      if (name != expected) {
        return Error(ErrorCode::kNotFound, Escape(directory_), ": ", Escape(name, 60),
                     " is there, but not ", expected, "; download the missing part");
      }
      found.push_back(name);
    }
    return found;
  }

 private:
  std::string directory_;
  std::vector<std::string> names_;
};

absl::StatusOr<Container> OpenMistral(const std::string& directory, const WeightsForm& form) {
  if (form.files.size() == 1) return OpenSafetensorsDirectory(directory, std::string(kMistralStem));
  Container all;
  TextMap<std::string, size_t> place;
  for (const std::string& file : form.files) {
    SMELT_ASSIGN_OR_RETURN(Container part, OpenSafetensors(directory + "/" + file));
    for (RawTensor& tensor : part.tensors) {
      if (!place.emplace(tensor.name, all.files.size()).second) {
        return Error(ErrorCode::kInvalidInput, Escape(directory), ": tensor \"",
                     Escape(tensor.name), "\" is in two of the consolidated files");
      }
      all.tensors.push_back(std::move(tensor));
    }
    all.files.push_back(part.files.front());
  }
  return all;
}

}  // namespace

absl::StatusOr<WeightsForm> FindWeights(const std::string& directory) {
  SMELT_ASSIGN_OR_RETURN(std::vector<std::string> names, ListFolder(directory));
  const Candidates candidates(directory, std::move(names));
  std::vector<WeightsForm> forms;
  const auto add = [&](WeightsKind kind, std::vector<std::string> files) {
    if (!files.empty()) forms.push_back({kind, std::move(files), {}});
  };
  add(WeightsKind::kSafetensors, candidates.WholeOrIndex(kSingle));
  absl::StatusOr<std::vector<std::string>> torch = candidates.Torch();
  if (!torch.ok() && forms.empty()) return torch.status();
  if (torch.ok()) add(WeightsKind::kTorch, *std::move(torch));
  if (candidates.Has(kParams) || forms.empty()) {
    add(WeightsKind::kConsolidatedSafetensors, candidates.Mistral());
    absl::StatusOr<std::vector<std::string>> meta = candidates.Meta();
    if (!meta.ok() && forms.empty()) return meta.status();
    if (meta.ok()) add(WeightsKind::kConsolidatedTorch, *std::move(meta));
  }
  if (forms.empty()) {
    return Error(ErrorCode::kNotFound, Escape(directory),
                 ": no weights: none of model.safetensors, pytorch_model.bin (or an index of "
                 "either), consolidated.safetensors, consolidated.00.pth is in this directory");
  }
  WeightsForm form = std::move(forms[0]);
  for (size_t i = 1; i < forms.size(); ++i) {
    form.notes.push_back(Cat(Escape(directory), ": reading ", Escape(form.files[0], 60), "; ",
                             Escape(forms[i].files[0], 60), " is left aside"));
  }
  for (const std::string& other : candidates.OtherCheckpoints()) {
    const bool said = std::ranges::any_of(forms, [&](const WeightsForm& known) {
      return std::ranges::find(known.files, other) != known.files.end();
    });
    if (said || other == form.files[0]) continue;
    form.notes.push_back(Cat(Escape(directory), ": reading ", Escape(form.files[0], 60), "; ",
                             Escape(other, 60), " is left aside"));
  }
  return form;
}

absl::StatusOr<Container> OpenWeights(const std::string& directory, const WeightsForm& form) {
  switch (form.kind) {
    case WeightsKind::kSafetensors:
      return OpenSafetensorsDirectory(directory);
    case WeightsKind::kTorch:
      if (FileExists(Cat(directory, "/", kTorchSingle)) ||
          form.files[0] == Cat(kTorchSingle, ".index.json")) {
        return OpenTorchDirectory(directory);
      }
      return OpenTorch(directory + "/" + form.files[0]);
    case WeightsKind::kConsolidatedSafetensors:
      return OpenMistral(directory, form);
    case WeightsKind::kConsolidatedTorch:
      break;
  }
  SMELT_ASSIGN_OR_RETURN(std::vector<Container> parts, OpenMetaParts(directory, form));
  if (parts.size() == 1) return std::move(parts[0]);
  return Error(ErrorCode::kUnsupported, Escape(directory), ": the weights are split into ",
               parts.size(), " slices, which only a recipe can join");
}

absl::StatusOr<std::vector<Container>> OpenMetaParts(const std::string& directory,
                                                     const WeightsForm& form) {
  std::vector<Container> parts;
  for (const std::string& file : form.files) {
    SMELT_ASSIGN_OR_RETURN(Container part, OpenTorch(directory + "/" + file));
    std::ranges::sort(part.tensors, {}, &RawTensor::name);
    if (!parts.empty()) {
      const std::vector<RawTensor>& first = parts[0].tensors;
      for (size_t i = 0; i < std::max(first.size(), part.tensors.size()); ++i) {
        const bool same = i < std::min(first.size(), part.tensors.size()) &&
                          first[i].name == part.tensors[i].name &&
                          first[i].dtype == part.tensors[i].dtype;
        if (same) continue;
        const RawTensor& odd = i < part.tensors.size() ? part.tensors[i] : first[i];
        return Error(ErrorCode::kInvalidInput, Escape(directory), ": ", Escape(form.files[0], 60),
                     " and ", Escape(file, 60), " do not hold slices of the same tensors: \"",
                     Escape(odd.name), "\" differs");
      }
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace smelt
