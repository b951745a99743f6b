#include "formats/weight_files.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

constexpr std::string_view kWayOut =
    "; put the one that is meant into a folder of its own with config.json, and name that";

/// "U32 576 x 16"
std::string Describe(const RawTensor& tensor) {
  return Cat(Name(tensor.dtype), " ", ShapeText(tensor.shape));
}

/// How the tensors of two containers compare, by names, types and shapes.
struct Comparison {
  size_t common = 0;
  const RawTensor* differs_in_a = nullptr;  ///< the first that both have, but not alike
  const RawTensor* differs_in_b = nullptr;
};

Comparison Compare(const Container& a, const Container& b) {
  TextMap<std::string_view, const RawTensor*> of_b;
  for (const RawTensor& tensor : b.tensors) of_b.emplace(tensor.name, &tensor);
  Comparison out;
  for (const RawTensor& tensor : a.tensors) {
    const auto other = of_b.find(tensor.name);
    if (other == of_b.end()) continue;
    ++out.common;
    const bool alike = tensor.dtype == other->second->dtype && tensor.shape == other->second->shape;
    if (alike || out.differs_in_a != nullptr) continue;
    out.differs_in_a = &tensor;
    out.differs_in_b = other->second;
  }
  return out;
}

/// The weights of a folder, opened one way or the other.
class Opener {
 public:
  Opener(const std::string& directory, const WeightFiles& files, const ShardFormat& format)
      : directory_(directory), name_(Escape(directory)), files_(files), format_(format) {}

  absl::StatusOr<Container> Open() const {
    if (files_.single.empty()) return OpenParted();
    absl::StatusOr<Container> single = format_.open(Path(files_.single));
    if (files_.index.empty() && TheParts() == nullptr) return single;
    bool a_part = false;  // the single file holds some of what the index lists, and nothing else
    if (!files_.index.empty()) {
      const auto index = ReadWeightIndex(Path(files_.index));
      if (index.ok() && index->Shards() == std::vector{files_.single}) return single;
      a_part = index.ok() && single.ok() && index->ListsBesides(*single).value_or(0) > 0;
    }
    absl::StatusOr<Container> parted = OpenParted();
    if (!parted.ok() && (!single.ok() || a_part)) return single.ok() ? parted : single;
    if (!single.ok()) {
      parted->notes.push_back(Cat("left aside: ", std::string(single.status().message())));
      return parted;
    }
    if (!parted.ok()) return SingleAlone(*std::move(single), parted.status());
    return Better(*std::move(single), *std::move(parted));
  }

 private:
  std::string Path(const std::string& file) const { return directory_ + "/" + file; }

  /// Complete numbered parts, if these are the only ones.
  const WeightSet* TheParts() const {
    const WeightSet* set = TheModel(files_.sets);
    return set != nullptr && set->complete() && set->files.size() > 1 ? set : nullptr;
  }

  std::string Parted() const {
    return files_.index.empty() ? TheParts()->Describe() : Escape(files_.index, 60);
  }

  absl::StatusOr<Container> OpenParted() const {
    if (files_.index.empty()) {
      const WeightSet* set = TheModel(files_.sets);
      if (set == nullptr) return CheckDecidable(directory_, files_, "");
      return OpenParts(directory_, *set, format_);
    }
    const std::string path = Path(files_.index);
    SMELT_ASSIGN_OR_RETURN(const WeightIndex index, ReadWeightIndex(path));
    const std::vector<std::string> shards = index.Shards();
    if (std::ranges::any_of(shards, [&](const auto& file) { return NameExists(Path(file)); })) {
      return OpenShards(directory_, path, index, format_, Omitted(shards));
    }
    return OpenInPlaceOf(index, shards);
  }

  /// Files that are numbered like shards that the index lists, which it does not.
  std::vector<std::string> Omitted(const std::vector<std::string>& shards) const {
    const auto listed = [&](const std::string& file) {
      return std::ranges::binary_search(shards, file);
    };
    std::vector<std::string> omitted;
    for (const WeightSet& set : files_.sets) {
      if (std::ranges::none_of(set.files, listed)) continue;
      std::ranges::remove_copy_if(set.files, std::back_inserter(omitted), listed);
    }
    return omitted;
  }

  /// None of an index's shards is there: the parts that are, if they hold what it lists.
  absl::StatusOr<Container> OpenInPlaceOf(const WeightIndex& index,
                                          const std::vector<std::string>& shards) const {
    const std::string missing =
        Cat(name_, ": ", Escape(files_.index, 60), " lists ", shards.size(),
            shards.size() == 1 ? " file" : " files", " (", Escape(shards[0], 60),
            shards.size() > 1 ? ", ..." : "", "), of which none is there");
    const WeightSet* set = TheModel(files_.sets);
    if (set == nullptr || !set->complete()) {
      return Error(ErrorCode::kNotFound, missing, "; download ",
                   shards.size() == 1 ? "it" : "them");
    }
    SMELT_ASSIGN_OR_RETURN(Container found, OpenParts(directory_, *set, format_));
    if (index.ListsBesides(found) != 0u) {
      return Error(ErrorCode::kInvalidInput, missing, ", and ", set->Describe(),
                   " holds other tensors than it lists; download the files that belong together");
    }
    found.notes.push_back(Cat(missing, ": reading ", set->Describe(), ", which holds its tensors"));
    return found;
  }

  /// The single file, beside shards that cannot be read.
  Container SingleAlone(Container single, const absl::Status& why) const {
    const std::string said = Cat(Escape(Path(files_.index.empty() ? files_.single : files_.index)),
                                 ": left aside, because ", files_.single, " holds the whole model");
    // An index whose shards were merged stays behind often; another fault is worth a look.
    (CodeOf(why) == ErrorCode::kNotFound ? single.notes : single.warnings).push_back(said);
    return single;
  }

  absl::StatusOr<Container> Better(Container single, Container parted) const {
    const Comparison c = Compare(single, parted);
    const auto note = [&](Container& read, std::string_view first, std::string_view second) {
      read.notes.push_back(Cat(name_, ": reading ", first, "; ", second, " is left aside"));
      return std::move(read);
    };
    if (c.differs_in_a == nullptr && c.common == parted.tensors.size()) {
      return note(single, files_.single, Parted());
    }
    if (c.differs_in_a == nullptr && c.common == single.tensors.size()) {
      return note(parted, Parted(),
                  Cat(files_.single, ", which holds only ", c.common, " of its ",
                      parted.tensors.size(), " tensors,"));
    }
    const std::string how =
        c.differs_in_a == nullptr
            ? Cat("hold different tensors")
            : Cat("hold different models, tensor ", Escape(c.differs_in_a->name, 60), " as ",
                  Describe(*c.differs_in_a), " and ", Describe(*c.differs_in_b));
    return Error(ErrorCode::kInvalidInput, name_, ": ", files_.single, " and ", Parted(), " ", how,
                 kWayOut);
  }

  const std::string& directory_;
  const std::string name_;
  const WeightFiles& files_;
  const ShardFormat& format_;
};

}  // namespace

std::string WeightFiles::Describe() const {
  if (!single.empty()) return Escape(single, 60);
  if (!index.empty()) return Escape(index, 60);
  const WeightSet* set = TheModel(sets);
  return (set == nullptr ? sets.front() : *set).Describe();
}

absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& directory) {
  SMELT_ASSIGN_OR_RETURN(std::vector<std::string> names, ListFolder(directory));
  std::erase_if(names,
                [&](const std::string& name) { return IsFolder(Cat(directory, "/", name)); });
  return names;
}

WeightFiles FindWeightFiles(const std::vector<std::string>& names, const WeightNames& rule) {
  WeightFiles files;
  const std::string usual = Cat(rule.single, ".index.json");
  std::vector<std::string> indexes, others;
  for (const std::string& name : names) {
    if (!name.starts_with(rule.only) || (!rule.but.empty() && name.starts_with(rule.but))) continue;
    if (name == rule.single) {
      files.single = name;
    } else if (HasEnding(name, ".json")) {
      const bool of_kind = std::ranges::any_of(rule.endings, [&](std::string_view ending) {
        return name.find(Cat(ending, ".index.")) != name.npos;
      });
      if (of_kind) indexes.push_back(name);
    } else if (!IsNoWeights(name) &&
               std::ranges::any_of(rule.endings, [&](std::string_view ending) {
                 return HasEnding(name, ending);
               })) {
      others.push_back(name);
    }
  }
  if (std::ranges::find(indexes, usual) != indexes.end()) {
    files.index = usual;
  } else if (indexes.size() == 1) {
    files.index = indexes[0];
  }
  files.sets = FindWeightSets(others);
  return files;
}

absl::Status CheckDecidable(const std::string& directory, const WeightFiles& files,
                            std::string_view single) {
  if (!files.single.empty() || !files.index.empty() || files.sets.empty()) return absl::OkStatus();
  if (const WeightSet* set = TheModel(files.sets)) {
    return set->complete() ? absl::OkStatus() : OpenParts(directory, *set, {}).status();
  }
  std::vector<std::string> named;
  for (const WeightSet& set : files.sets) {
    named.insert(named.end(), set.files.begin(), set.files.end());
  }
  std::string list;
  constexpr size_t kShown = 3;
  for (size_t i = 0; i < std::min(named.size(), kShown); ++i) {
    list += Cat(i == 0 ? "" : ", ", Escape(named[i], 50));
  }
  return Error(ErrorCode::kInvalidInput, Escape(directory), ": ", named.size(),
               " files of weights (", list, named.size() > kShown ? ", ..." : "", ") and no ",
               single.empty() ? "" : Cat(single, " or "), "index to tell which are the model",
               kWayOut);
}

void JoinByContent(const std::string& directory, const ShardFormat& format, WeightFiles& files) {
  if (!files.single.empty() || !files.index.empty() || TheModel(files.sets) != nullptr) return;
  WeightSet all{{}, 0, false, "", true};
  TextSet<std::string> seen;
  for (const WeightSet& set : files.sets) {
    if (!set.complete()) return;
    for (const std::string& file : set.files) {
      const absl::StatusOr<Container> part = format.open(Cat(directory, "/", file));
      if (!part.ok() || part->tensors.empty()) return;
      for (const RawTensor& tensor : part->tensors) {
        if (!seen.insert(tensor.name).second) return;
      }
      all.files.push_back(file);
    }
  }
  if (all.files.size() > 1) files.sets = {std::move(all)};
}

absl::StatusOr<Container> OpenWeightFiles(const std::string& directory, const WeightFiles& files,
                                          const ShardFormat& format) {
  return Opener(directory, files, format).Open();
}

}  // namespace smelt
