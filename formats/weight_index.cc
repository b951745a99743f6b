#include "formats/weight_index.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/checked.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"
#include "lib/base/unfinished.h"

namespace smelt {
namespace {

/// An index may not be bigger than this; the largest published ones have a few megabytes.
constexpr uint64_t kMaxIndexBytes = 256ull << 20;

/// Reads {"metadata": {"total_size": N, ...}, "weight_map": {TENSOR: SHARD, ...}, ...}; other
/// members are skipped.
class IndexReader : public JsonHandler {
 public:
  explicit IndexReader(std::string_view file) : file_(file) {}

  WeightIndex&& take() { return std::move(index_); }

  absl::Status Null() override { return Value("null"); }
  absl::Status Bool(bool) override { return Value("a boolean"); }
  absl::Status Int(int64_t value) override {
    if (InTotalSize() && value >= 0) index_.total_size = static_cast<uint64_t>(value);
    return Value("a number");
  }
  absl::Status Uint(uint64_t value) override {
    if (InTotalSize()) index_.total_size = value;
    return Value("a number");
  }
  absl::Status Double(double value, std::string_view) override {
    if (const auto whole = CheckedInteger<uint64_t>(value); InTotalSize() && whole)
      index_.total_size = *whole;
    return Value("a number");
  }
  absl::Status String(std::string&& value) override {
    if (depth_ == 2 && section_ == "weight_map") {
      index_.weight_map.emplace_back(key_, std::move(value));
      return absl::OkStatus();
    }
    return Value("a string");
  }
  absl::Status StartObject() override {
    if (depth_ == 1 && section_ == "weight_map") {
      index_.has_weight_map = true;
    } else {
      SMELT_RETURN_IF_ERROR(Value("an object"));
    }
    ++depth_;
    return absl::OkStatus();
  }
  absl::Status EndObject() override { return End(); }
  absl::Status StartArray() override {
    SMELT_RETURN_IF_ERROR(Value("an array"));
    ++depth_;
    return absl::OkStatus();
  }
  absl::Status EndArray() override { return End(); }
  absl::Status Key(std::string&& key) override {
    if (depth_ == 1)
      section_ = std::move(key);
    else if (depth_ == 2)
      key_ = std::move(key);
    return absl::OkStatus();
  }

 private:
  bool InTotalSize() const { return depth_ == 2 && section_ == "metadata" && key_ == "total_size"; }

  absl::Status End() {
    --depth_;
    return absl::OkStatus();
  }

  /// Any other value: skipped elsewhere, an error in the place of the weight map or a shard's name.
  absl::Status Value(std::string_view found) const {
    if (depth_ == 1 && section_ == "weight_map") {
      return Error(ErrorCode::kInvalidInput, file_,
                   ": weight_map must be an object (tensor name to shard file), found ", found);
    }
    if (depth_ == 2 && section_ == "weight_map") {
      return Error(ErrorCode::kInvalidInput, file_,
                   ": weight_map must name a shard file for tensor \"", Escape(key_), "\", found ",
                   found);
    }
    return absl::OkStatus();
  }

  std::string file_;
  WeightIndex index_;
  int depth_ = 0;
  std::string section_, key_;
};

/// Shard names are plain file names: whatever else an index says must not lead out of the model
/// directory.
absl::Status CheckShardName(std::string_view file, const std::string& tensor,
                            const std::string& shard) {
  const bool plain = !shard.empty() && shard != "." && shard != ".." &&
                     shard.find('/') == std::string::npos && shard.find('\0') == std::string::npos;
  if (plain) return absl::OkStatus();
  return Error(
      ErrorCode::kInvalidInput, file, ": weight_map puts tensor \"", Escape(tensor, 60),
      "\" into \"", Escape(shard, 80),
      "\"; only a file name is allowed there, no path that could lead outside the directory");
}

/// Tensors on which an index and its shards may disagree while the model is clear: buffers that are
/// computed, and an output head. A tied head is the embedding; an untied one that is missing is
/// refused by name when the model is described.
bool MayDisagree(std::string_view tensor) {
  const auto ends = [tensor](std::string_view name) {
    return tensor == name ||
           (tensor.ends_with(name) && tensor[tensor.size() - name.size() - 1] == '.');
  };
  constexpr std::string_view kHeads[] = {"lm_head.weight", "embed_out.weight", "output.weight"};
  constexpr std::string_view kComputed[] = {"rotary_emb.inv_freq", "attn.bias", "attn.masked_bias"};
  const bool of_a_layer = tensor.find_first_of("0123456789") != tensor.npos;
  return of_a_layer ? std::ranges::any_of(kComputed, ends) : std::ranges::any_of(kHeads, ends);
}

/// Index and shards must agree: every listed tensor is in its shard, every tensor of a shard is
/// listed for that shard. The `location` of a tensor that is where it should be becomes nullptr.
absl::Status CheckShard(std::string_view index_file, const std::string& shard,
                        const Container& part, const std::string& part_path,
                        TextMap<std::string, const std::string*>& location,
                        TextMap<std::string, std::string>& found_in,
                        std::vector<std::string>& notes) {
  for (const RawTensor& tensor : part.tensors) {
    const auto [seen, fresh] = found_in.emplace(tensor.name, shard);
    if (!fresh) {
      return Error(ErrorCode::kInvalidInput, index_file, ": tensor \"", Escape(tensor.name),
                   "\" is in two shards, ", Escape(seen->second, 60), " and ", Escape(shard, 60));
    }
    const auto listed = location.find(tensor.name);
    if (listed == location.end()) {
      if (MayDisagree(tensor.name)) {
        notes.push_back(Cat(index_file, ": does not list ", Escape(tensor.name, 60), ", which ",
                            Escape(shard, 60), " holds: it is read"));
        continue;
      }
      return Error(ErrorCode::kInvalidInput, Escape(part_path), ": holds tensor \"",
                   Escape(tensor.name), "\", which the index does not list");
    }
    // Listed for another shard: judged at the end, since it may be in both.
    if (listed->second != nullptr && *listed->second == shard) listed->second = nullptr;
  }
  return absl::OkStatus();
}

/// `part` behind what is in `all`.
void Append(Container&& part, Container& all) {
  std::ranges::move(part.tensors, std::back_inserter(all.tensors));
  if (all.files.empty()) all.metadata = std::move(part.metadata);  // the shards repeat it
  std::ranges::move(part.files, std::back_inserter(all.files));
  std::ranges::move(part.warnings, std::back_inserter(all.warnings));
  std::ranges::move(part.notes, std::back_inserter(all.notes));
}

/// "a, b and 3 more"
std::string NamesOf(const std::vector<RawTensor>& tensors) {
  constexpr size_t kShown = 2;
  std::string names;
  for (size_t i = 0; i < std::min(kShown, tensors.size()); ++i)
    names += Cat(i == 0 ? "" : ", ", Escape(tensors[i].name, 60));
  return tensors.size() > kShown ? Cat(names, " and ", tensors.size() - kShown, " more") : names;
}

/// A shard that the index omits, behind what is in `all`, unless others hold some of it already.
void AddOmitted(const std::string& omitted, const std::string& shard, Container&& part,
                TextMap<std::string, std::string>& found_in, Container& all) {
  const auto known = std::ranges::find_if(
      part.tensors, [&](const RawTensor& tensor) { return found_in.contains(tensor.name); });
  if (known != part.tensors.end()) {
    all.notes.push_back(Cat(omitted, ", which holds ", Escape(known->name, 60), " as ",
                            Escape(found_in.find(known->name)->second, 60),
                            " does: it is left aside"));
    return;
  }
  all.notes.push_back(Cat(omitted, ", which holds ", NamesOf(part.tensors), ": it is read"));
  for (const RawTensor& tensor : part.tensors) found_in.emplace(tensor.name, shard);
  Append(std::move(part), all);
}

/// What to do about a shard that is missing.
std::string HowToGet(const std::string& directory) {
  const std::string unfinished = UnfinishedIn(directory);
  return unfinished.empty() ? "download the missing file" : unfinished;
}

}  // namespace

std::vector<std::string> WeightIndex::Shards() const {
  std::vector<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) shards.push_back(shard);
  std::ranges::sort(shards);
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  return shards;
}

std::optional<size_t> WeightIndex::ListsBesides(const Container& container) const {
  TextSet<std::string_view> listed;
  for (const auto& [tensor, shard] : weight_map) {
    if (!MayDisagree(tensor)) listed.insert(tensor);
  }
  for (const RawTensor& tensor : container.tensors) {
    if (!MayDisagree(tensor.name) && listed.erase(tensor.name) == 0) return std::nullopt;
  }
  return listed.size();
}

absl::StatusOr<WeightIndex> ReadWeightIndex(const std::string& path) {
  const std::string file = Escape(path);
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxIndexBytes));
  IndexReader reader(file);
  SMELT_RETURN_IF_ERROR(ParseJson(text, path, reader));
  WeightIndex index = reader.take();
  if (!index.has_weight_map) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": no weight_map; an object from tensor names to shard files is expected");
  }
  if (index.weight_map.empty()) {
    return Error(ErrorCode::kInvalidInput, file, ": weight_map lists no tensors");
  }
  for (const auto& [tensor, shard] : index.weight_map) {
    SMELT_RETURN_IF_ERROR(CheckShardName(file, tensor, shard));
  }
  return index;
}

absl::StatusOr<Container> OpenShards(const std::string& directory, const std::string& index_path,
                                     const WeightIndex& index, const ShardFormat& format,
                                     const std::vector<std::string>& beside) {
  const std::string file = Escape(index_path);
  TextMap<std::string, const std::string*> location;
  std::map<std::string, uint64_t>
      shards;  // sorted: the order of the tensors must not depend on hashing
  for (const auto& [tensor, shard] : index.weight_map) {
    location.emplace(tensor, &shard);
    ++shards[shard];
  }

  Container all;
  TextMap<std::string, std::string> found_in;
  uint64_t total = 0;
  for (const auto& [shard, count] : shards) {
    const std::string path = directory + "/" + shard;
    absl::StatusOr<Container> part = format.open(path);
    if (!part.ok()) {
      if (CodeOf(part.status()) != ErrorCode::kNotFound) return part.status();
      return Error(ErrorCode::kNotFound, file, ": lists ", count, " tensors in ", Escape(shard, 80),
                   ", but there is no such file in the directory; ", HowToGet(directory));
    }
    SMELT_RETURN_IF_ERROR(CheckShard(file, shard, *part, path, location, found_in, all.notes));
    for (const RawTensor& tensor : part->tensors) {
      total = CheckedAdd(total, tensor.elements() * BitsOf(tensor.dtype) / 8).value_or(UINT64_MAX);
    }
    Append(*std::move(part), all);
  }

  bool as_listed = all.notes.empty();
  for (const auto& [tensor, shard] : index.weight_map) {
    if (location.at(tensor) == nullptr) continue;
    const auto elsewhere = found_in.find(tensor);
    if (elsewhere == found_in.end() && MayDisagree(tensor)) {
      as_listed = false;
      all.notes.push_back(Cat(file, ": lists ", Escape(tensor, 60), ", which no shard holds"));
      continue;
    }
    return Error(ErrorCode::kInvalidInput, file, ": lists tensor \"", Escape(tensor), "\" in ",
                 Escape(shard, 60), ", but it is ",
                 elsewhere == found_in.end() ? std::string("in no shard")
                                             : Cat("in ", Escape(elsewhere->second, 60)));
  }
  if (as_listed && format.sizes_add_up && index.total_size && *index.total_size != total) {
    all.warnings.push_back(Cat(file, ": total_size is ", *index.total_size,
                               ", but the tensors have ", total, " bytes"));
  }
  for (const std::string& other : beside) {
    const std::string omitted = Cat(file, ": does not list the shard ", Escape(other, 60));
    absl::StatusOr<Container> part = format.open(directory + "/" + other);
    if (!part.ok()) {
      all.notes.push_back(
          Cat(omitted, ", which cannot be read: ", std::string(part.status().message())));
      continue;
    }
    AddOmitted(omitted, other, *std::move(part), found_in, all);
  }
  return all;
}

absl::StatusOr<Container> OpenParts(const std::string& directory, const WeightSet& set,
                                    const ShardFormat& format) {
  if (!set.complete()) {
    return Error(ErrorCode::kNotFound, Escape(directory), ": ", set.Describe(),
                 set.files.size() > 1 ? " are" : " is", " there, but not ", set.missing, "; ",
                 HowToGet(directory));
  }
  Container all;
  TextMap<std::string, const std::string*> found_in;
  for (const std::string& file : set.files) {
    SMELT_ASSIGN_OR_RETURN(Container part, format.open(directory + "/" + file));
    for (const RawTensor& tensor : part.tensors) {
      const auto [other, fresh] = found_in.emplace(tensor.name, &file);
      if (fresh) continue;
      return Error(
          ErrorCode::kInvalidInput, Escape(directory), ": ", Escape(*other->second, 60), " and ",
          Escape(file, 60), " both hold tensor ", Escape(tensor.name, 60),
          set.ranks
              ? ": each rank of a sharded training keeps its rows of it; merge the parts with "
                "the trainer's own tool (FSDP: accelerate merge-weights; verl: python -m "
                "verl.model_merger merge) and name the result"
              : ", so they are no parts of one model; put the one that is meant into a "
                "folder of its own with config.json, and name that");
    }
    Append(std::move(part), all);
  }
  if (set.files.size() > 1) {
    all.notes.push_back(
        Cat(Escape(directory), ": reading ", set.Describe(),
            set.joined ? ", which hold different tensors, as one model" : " without an index"));
  }
  if (set.joined) all.joined = set.Describe();
  return all;
}

}  // namespace smelt
