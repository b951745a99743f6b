#include "formats/weights_directory.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "formats/safetensors.h"
#include "formats/torch/legacy.h"
#include "formats/torch/torch.h"
#include "formats/torch/zip.h"
#include "formats/what_is_there.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr std::string_view kParams = "params.json";
constexpr std::string_view kSafetensorsEndings[] = {".safetensors"};
constexpr std::string_view kTorchEndings[] = {".bin", ".pt", ".pth", ".ckpt"};
constexpr WeightNames kSafetensorsNames = {"model.safetensors", kSafetensorsEndings, "",
                                           "consolidated"};
constexpr WeightNames kTorchNames = {"pytorch_model.bin", kTorchEndings, "", "consolidated."};
/// consolidated.safetensors, its index, or consolidated-N-of-M.safetensors.
constexpr WeightNames kMistralNames = {"consolidated.safetensors", kSafetensorsEndings,
                                       "consolidated", ""};

/// One file of weights in the format that its first bytes show, which its name does not always: an
/// archive, a pickle, or the JSON object of a safetensors header behind its length.
absl::StatusOr<Container> OpenEither(const std::string& path) {
  constexpr uint64_t kLength = 8;
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<Storage> file, OpenFile(path));
  SMELT_ASSIGN_OR_RETURN(const std::string start, ReadStart(*file, kLength + 1));
  // The length of a header can have the bytes of a pickle's beginning: the object behind it
  // decides.
  const bool safetensors = start.size() > kLength && start[kLength] == '{';
  const bool torch = !safetensors && (LooksLikeZip(start) || LooksLikePickle(start));
  if (torch || (!safetensors && !HasEnding(path, ".safetensors")))
    return ReadTorch(std::move(file));
  return ReadSafetensors(std::move(file));
}

constexpr ShardFormat kSafetensorsFormat = {.open = OpenEither};
constexpr ShardFormat kTorchFormat = {.open = OpenEither, .sizes_add_up = false};

/// consolidated.00.pth, consolidated.01.pth and so on, without gaps.
absl::StatusOr<std::vector<std::string>> MetaParts(const std::string& directory,
                                                   const std::vector<std::string>& names) {
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (!name.starts_with("consolidated.") || !name.ends_with(".pth")) continue;
    const size_t number = found.size();
    const std::string expected = name == "consolidated.pth" && number == 0
                                     ? name
                                     : Cat("consolidated.", number < 10 ? "0" : "", number, ".pth");
    if (name != expected) {
      return Error(ErrorCode::kNotFound, Escape(directory), ": ", Escape(name, 60),
                   " is there, but not ", expected, "; download the missing part");
    }
    found.push_back(name);
  }
  return found;
}

/// The first file of what may be read, for the user: the whole, the index, or the parts.
std::vector<std::string> FilesOf(const WeightFiles& files) {
  if (!files.single.empty()) return {files.single};
  if (!files.index.empty()) return {files.index};
  return TheModel(files.sets)->files;
}

/// Whether the names say that these are the weights: the usual ones, or counted parts.
bool HaveUsualNames(const WeightFiles& files) {
  return !files.single.empty() || !files.index.empty() || TheModel(files.sets)->total > 1;
}

/// The forms of a folder, and the first thing that spoils one. Files of names of their own, which
/// may be anything, come behind what has a usual one.
class Forms {
 public:
  explicit Forms(const std::string& directory) : directory_(directory) {}

  void Add(WeightsKind kind, WeightFiles files, const WeightNames& names,
           const ShardFormat& format) {
    if (files.empty()) return;
    const std::string_view single = names.single;
    JoinByContent(directory_, format, files);
    if (const absl::Status status = CheckDecidable(directory_, files, single); !status.ok()) {
      if (first_error_.ok()) first_error_ = status;
      for (const WeightSet& set : files.sets) others_.push_back(set.Describe());
      return;
    }
    WeightsForm form{kind, FilesOf(files), {}, {}};
    AddOthers(files, form.files);
    const bool usual = HaveUsualNames(files);
    form.weights = std::move(files);
    (usual ? forms_ : unusual_).push_back(std::move(form));
  }

  void AddMeta(absl::StatusOr<std::vector<std::string>> parts) {
    if (!parts.ok() && first_error_.ok()) first_error_ = parts.status();
    if (!parts.ok() || parts->empty()) return;
    forms_.push_back({WeightsKind::kConsolidatedTorch, *std::move(parts), {}, {}});
  }

  bool have_usual() const { return !forms_.empty(); }
  bool empty() const { return forms_.empty() && unusual_.empty(); }
  const absl::Status& first_error() const { return first_error_; }

  /// The preferred one; notes say what is left aside for it.
  WeightsForm Take() {
    std::ranges::move(unusual_, std::back_inserter(forms_));
    WeightsForm form = std::move(forms_[0]);
    const auto aside = [&](const std::string& what) {
      form.notes.push_back(Cat(Escape(directory_), ": reading ", Escape(form.files[0], 60), "; ",
                               what, " is left aside"));
    };
    const std::vector<std::string> shards = ShardsOf(form.weights);
    for (size_t i = 1; i < forms_.size(); ++i) {
      const std::string& first = forms_[i].files[0];
      if (!std::ranges::binary_search(shards, first)) aside(Escape(first, 60));
    }
    for (const std::string& other : others_) aside(other);
    return form;
  }

 private:
  /// What the index lists, sorted; nothing without an index that can be read.
  std::vector<std::string> ShardsOf(const WeightFiles& files) const {
    if (files.index.empty()) return {};
    const auto index = ReadWeightIndex(Cat(directory_, "/", files.index));
    return index.ok() ? index->Shards() : std::vector<std::string>();
  }

  /// What lies beside the files that were chosen and is not the model. Counted parts beside a whole
  /// file or an index may be: opening finds out.
  void AddOthers(const WeightFiles& files, const std::vector<std::string>& chosen) {
    const std::vector<std::string> shards = ShardsOf(files);
    const bool stale = !shards.empty() && std::ranges::none_of(shards, [&](const auto& shard) {
      return NameExists(Cat(directory_, "/", shard));
    });
    if (stale && files.single.empty()) return;
    for (const WeightSet& set : files.sets) {
      const bool counted = set.files.size() > 1 && set.complete();
      const bool rival = counted && (!files.single.empty() || !files.index.empty());
      const bool listed = std::ranges::any_of(set.files, [&](const std::string& file) {
        return std::ranges::binary_search(shards, file);
      });
      if (set.files == chosen || rival || listed) continue;
      others_.push_back(set.Describe());
    }
  }

  const std::string& directory_;
  std::vector<WeightsForm> forms_, unusual_;
  std::vector<std::string> others_;  // descriptions of files that are not the model
  absl::Status first_error_;
};

}  // namespace

absl::StatusOr<WeightsForm> FindWeights(const std::string& directory) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFiles(directory));
  Forms forms(directory);
  forms.Add(WeightsKind::kSafetensors, FindWeightFiles(names, kSafetensorsNames), kSafetensorsNames,
            kSafetensorsFormat);
  forms.Add(WeightsKind::kTorch, FindWeightFiles(names, kTorchNames), kTorchNames, kTorchFormat);
  if (std::ranges::binary_search(names, kParams) || !forms.have_usual()) {
    forms.Add(WeightsKind::kConsolidatedSafetensors, FindWeightFiles(names, kMistralNames),
              kMistralNames, kSafetensorsFormat);
    forms.AddMeta(MetaParts(directory, names));
  }
  if (!forms.empty()) return forms.Take();
  return forms.first_error().ok() ? NoWeights(directory) : forms.first_error();
}

absl::StatusOr<Container> OpenWeights(const std::string& directory, const WeightsForm& form) {
  switch (form.kind) {
    case WeightsKind::kSafetensors:
    case WeightsKind::kConsolidatedSafetensors:
      return OpenWeightFiles(directory, form.weights, kSafetensorsFormat);
    case WeightsKind::kTorch:
      return OpenWeightFiles(directory, form.weights, kTorchFormat);
    case WeightsKind::kConsolidatedTorch:
      break;
  }
  SMELT_ASSIGN_OR_RETURN(std::vector<Container> parts, OpenMetaParts(directory, form));
  if (parts.size() == 1) return std::move(parts[0]);
  return Error(ErrorCode::kUnsupported, Escape(directory), ": the weights are split into ",
               parts.size(), " slices, which only a recipe can join");
}

absl::StatusOr<Container> OpenWeights(const std::string& directory) {
  SMELT_ASSIGN_OR_RETURN(const WeightsForm form, FindWeights(directory));
  return OpenWeights(directory, form);
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
