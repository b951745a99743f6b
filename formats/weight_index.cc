#include "formats/weight_index.h"

#include <sys/stat.h>

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

namespace smelt {
namespace {

/// An index may not be bigger than this; the largest published ones have a few megabytes.
constexpr uint64_t kMaxIndexBytes = 256ull << 20;

struct Index {
  std::vector<std::pair<std::string, std::string>> weight_map;  ///< tensor, shard; as written
  bool has_weight_map = false;
  std::optional<uint64_t> total_size;
};

/// Reads {"metadata": {"total_size": N, ...}, "weight_map": {TENSOR: SHARD, ...}, ...}; other
/// members are skipped.
class IndexReader : public JsonHandler {
 public:
  explicit IndexReader(std::string_view file) : file_(file) {}

  Index&& take() { return std::move(index_); }

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

  /// A value that is neither the weight map nor a shard name: fine outside of them, an error in
  /// their place.
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
  Index index_;
  int depth_ = 0;
  std::string section_, key_;
};

absl::StatusOr<Index> ReadIndex(const std::string& path, std::string_view file) {
  SMELT_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path, kMaxIndexBytes));
  IndexReader reader(file);
  SMELT_RETURN_IF_ERROR(ParseJson(text, path, reader));
  Index index = reader.take();
  if (!index.has_weight_map) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": no weight_map; an object from tensor names to shard files is expected");
  }
  if (index.weight_map.empty()) {
    return Error(ErrorCode::kInvalidInput, file, ": weight_map lists no tensors");
  }
  return index;
}

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

/// Index and shards must agree: every listed tensor is in its shard, every tensor of a shard is
/// listed for that shard. The `location` of a tensor that is where it should be becomes nullptr.
absl::Status CheckShard(std::string_view index_file, const std::string& shard,
                        const Container& part, const std::string& part_path,
                        TextMap<std::string, const std::string*>& location,
                        TextMap<std::string, std::string>& found_in) {
  for (const RawTensor& tensor : part.tensors) {
    const auto [seen, fresh] = found_in.emplace(tensor.name, shard);
    if (!fresh) {
      return Error(ErrorCode::kInvalidInput, index_file, ": tensor \"", Escape(tensor.name),
                   "\" is in two shards, ", Escape(seen->second, 60), " and ", Escape(shard, 60));
    }
    const auto listed = location.find(tensor.name);
    if (listed == location.end()) {
      return Error(ErrorCode::kInvalidInput, Escape(part_path), ": holds tensor \"",
                   Escape(tensor.name), "\", which the index does not list");
    }
    // Listed for another shard: judged at the end, since it may be in both.
    if (*listed->second == shard) listed->second = nullptr;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Container> OpenShards(const std::string& directory, const std::string& index_path,
                                     const ShardFormat& format) {
  const std::string file = Escape(index_path);
  SMELT_ASSIGN_OR_RETURN(const Index index, ReadIndex(index_path, file));

  TextMap<std::string, const std::string*> location;
  std::map<std::string, uint64_t>
      shards;  // sorted: the order of the tensors must not depend on hashing
  for (const auto& [tensor, shard] : index.weight_map) {
    SMELT_RETURN_IF_ERROR(CheckShardName(file, tensor, shard));
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
                   ", but there is no such file in the directory; download the missing shard");
    }
    SMELT_RETURN_IF_ERROR(CheckShard(file, shard, *part, path, location, found_in));
    for (RawTensor& tensor : part->tensors) {
      total = CheckedAdd(total, tensor.elements() * BitsOf(tensor.dtype) / 8).value_or(UINT64_MAX);
      all.tensors.push_back(std::move(tensor));
    }
    if (all.files.empty()) all.metadata = std::move(part->metadata);  // the shards repeat it
    all.files.push_back(part->files.front());
    std::ranges::move(part->warnings, std::back_inserter(all.warnings));
    std::ranges::move(part->notes, std::back_inserter(all.notes));
  }

  for (const auto& [tensor, shard] : index.weight_map) {
    if (location.at(tensor) == nullptr) continue;
    const auto elsewhere = found_in.find(tensor);
    return Error(ErrorCode::kInvalidInput, file, ": lists tensor \"", Escape(tensor), "\" in ",
                 Escape(shard, 60), ", but it is ",
                 elsewhere == found_in.end() ? std::string("in no shard")
                                             : Cat("in ", Escape(elsewhere->second, 60)));
  }
  if (format.sizes_add_up && index.total_size && *index.total_size != total) {
    all.warnings.push_back(Cat(file, ": total_size is ", *index.total_size,
                               ", but the tensors have ", total, " bytes"));
  }
  return all;
}

bool FileExists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

absl::StatusOr<Container> OpenWholeOrShards(const std::string& directory, const std::string& single,
                                            const ShardFormat& format) {
  const std::string path = directory + "/" + single;
  const std::string index = path + ".index.json";
  if (FileExists(path)) {
    SMELT_ASSIGN_OR_RETURN(Container container, format.open(path));
    if (FileExists(index)) {
      container.warnings.push_back(
          Cat(Escape(index), ": left aside, because ", single, " holds the whole model"));
    }
    return container;
  }
  if (FileExists(index)) return OpenShards(directory, index, format);
  return Error(ErrorCode::kNotFound, Escape(directory), ": neither ", single, " nor ", single,
               ".index.json is in this directory");
}

}  // namespace smelt
