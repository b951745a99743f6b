// Split GGUF files: PREFIX-00001-of-0000N.gguf, read as one.
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "formats/gguf.h"
#include "formats/ollama/store.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"
#include "lib/base/unfinished.h"
#include "smelt/text.h"

namespace smelt {
namespace {

constexpr std::string_view kSplitKeys[] = {kSplitNumberKey, kSplitCountKey, kSplitTensorsKey};
/// Five digits in the names.
constexpr uint64_t kMaxParts = 99999;

struct SplitKeys {
  uint64_t number = 0;  ///< from 0
  uint64_t count = 1;
  std::optional<uint64_t> tensors;  ///< over all parts
};

/// The split.* keys of one file; count = 1 when there are none.
absl::StatusOr<SplitKeys> ReadSplitKeys(const GgufFile& part) {
  SplitKeys keys;
  const std::string file = Escape(part.files.front()->name());
  for (std::string_view key : kSplitKeys) {
    const MetadataValue* value = part.metadata.Find(key);
    if (value == nullptr) continue;
    const std::optional<uint64_t> number = value->AsUint();
    if (!number) {
      return Error(ErrorCode::kInvalidInput, file, ": ", key,
                   " must be a non-negative integer, but is a ", Name(value->type()));
    }
    if (key == kSplitNumberKey)
      keys.number = *number;
    else if (key == kSplitCountKey)
      keys.count = *number;
    else
      keys.tensors = *number;
  }
  if (keys.count == 0) keys.count = 1;  // the reference takes it as not split
  if (keys.count > kMaxParts || keys.number >= keys.count) {
    return Error(ErrorCode::kInvalidInput, file, ": split.no is ", keys.number, " and split.count ",
                 keys.count, "; parts are numbered from 0 below the count, at most ", kMaxParts);
  }
  return keys;
}

/// "dir/PREFIX" of "dir/PREFIX-00001-of-00003.gguf".
absl::StatusOr<std::string> SplitPrefix(const std::string& path, const SplitKeys& keys) {
  const std::string suffix = GgufPartName("", keys.number, keys.count);
  if (!path.ends_with(suffix)) {
    return Error(ErrorCode::kInvalidInput, Escape(path), ": part ", keys.number + 1,
                 " of a split into ", keys.count, " files, but its name does not end in \"", suffix,
                 "\", so that the other parts cannot be found; give it (or a link to it) that name "
                 "beside the other parts");
  }
  return path.substr(0, path.size() - suffix.size());
}

absl::StatusOr<GgufFile> OpenOne(const std::string& path) {
  if (NameExists(Cat(path, kGgufJournalSuffix))) {
    return Error(ErrorCode::kInvalidInput, Escape(path),
                 ": its metadata are being changed, or that was interrupted; smelt set ",
                 ShellQuoted(path), " finishes it");
  }
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const Storage> storage, OpenFile(path));
  return ReadGguf(std::move(storage));
}

std::string_view LastName(std::string_view path) { return path.substr(path.find_last_of('/') + 1); }

absl::Status AppendPart(const std::string& path, uint64_t number, uint64_t count, GgufFile& whole) {
  absl::StatusOr<GgufFile> part = OpenOne(path);
  if (!part.ok()) {
    if (CodeOf(part.status()) != ErrorCode::kNotFound) return part.status();
    const std::string why = UnfinishedBeside(path, false);
    return Error(ErrorCode::kNotFound, Escape(path), ": part ", number + 1, " of ", count,
                 " of a split GGUF is missing", why.empty() ? "" : Cat(": ", why),
                 "; put all parts into one folder");
  }
  SMELT_ASSIGN_OR_RETURN(const SplitKeys keys, ReadSplitKeys(*part));
  if (keys.number != number || keys.count != count) {
    return Error(ErrorCode::kInvalidInput, Escape(path), ": its keys call it part ",
                 keys.number + 1, " of ", keys.count, " of the split, its name part ", number + 1,
                 " of ", count);
  }
  for (GgufTensor& tensor : part->tensors) whole.tensors.push_back(std::move(tensor));
  whole.files.push_back(part->files.front());
  return absl::OkStatus();
}

absl::Status CheckWhole(const GgufFile& whole, const SplitKeys& keys) {
  const std::string file = Escape(whole.files.front()->name());
  TextMap<std::string_view, const Storage*> seen;
  for (const GgufTensor& tensor : whole.tensors) {
    const auto [other, fresh] = seen.emplace(tensor.name, tensor.storage.get());
    if (!fresh) {
      return Error(ErrorCode::kInvalidInput, Escape(tensor.storage->name()), ": tensor \"",
                   Escape(tensor.name), "\" of this split is also in ",
                   Escape(other->second->name()));
    }
  }
  if (keys.tensors && *keys.tensors != whole.tensors.size()) {
    return Error(ErrorCode::kInvalidInput, file, ": split.tensors.count is ", *keys.tensors,
                 ", but the ", keys.count, " parts hold ", whole.tensors.size(), " tensors");
  }
  return absl::OkStatus();
}

/// `whole` is the first of the parts at `paths`; the others come to it.
absl::StatusOr<GgufFile> Join(GgufFile whole, const SplitKeys& keys,
                              const std::vector<std::string>& paths) {
  for (uint64_t i = 1; i < paths.size(); ++i)
    SMELT_RETURN_IF_ERROR(AppendPart(paths[i], i, paths.size(), whole));
  if (paths.size() > 1) SMELT_RETURN_IF_ERROR(CheckWhole(whole, keys));
  for (std::string_view key : kSplitKeys) whole.metadata.Erase(key);
  return whole;
}

/// Where the parts of the split that `path` begins are.
absl::StatusOr<std::vector<std::string>> PartsBeside(const std::string& path,
                                                     const SplitKeys& keys) {
  if (std::vector<std::string> blobs = ollama::PartsOfBlob(path, keys.count); !blobs.empty())
    return blobs;
  SMELT_ASSIGN_OR_RETURN(const std::string prefix, SplitPrefix(path, keys));
  if (const std::string first = GgufPartName(prefix, 0, keys.count); keys.number != 0) {
    const absl::StatusOr<GgufFile> opened = OpenOne(first);
    const std::string what =
        Cat(Escape(path), ": part ", keys.number + 1, " of ", keys.count, " of a split GGUF");
    if (opened.ok())
      return Error(ErrorCode::kUsage, what, "; name the first: ", ShellQuoted(first));
    if (CodeOf(opened.status()) != ErrorCode::kNotFound) return opened.status();
    return Error(ErrorCode::kNotFound, what,
                 ", of which the first is missing: ", Escape(LastName(first)),
                 "; put all parts into one folder");
  }
  std::vector<std::string> paths = {path};
  for (uint64_t i = 1; i < keys.count; ++i) paths.push_back(GgufPartName(prefix, i, keys.count));
  return paths;
}

}  // namespace

std::string GgufPartName(std::string_view prefix, uint64_t number, uint64_t count) {
  char text[64];
  std::snprintf(text, sizeof(text), "-%05llu-of-%05llu.gguf",
                static_cast<unsigned long long>(number + 1),
                static_cast<unsigned long long>(count));
  return Cat(prefix, text);
}

absl::StatusOr<GgufFile> OpenGguf(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(GgufFile whole, OpenOne(path));
  SMELT_ASSIGN_OR_RETURN(const SplitKeys keys, ReadSplitKeys(whole));
  std::vector<std::string> paths = {path};
  if (keys.count > 1) {
    SMELT_ASSIGN_OR_RETURN(paths, PartsBeside(path, keys));
  }
  return Join(std::move(whole), keys, paths);
}

absl::StatusOr<GgufFile> OpenGgufParts(const std::vector<std::string>& paths) {
  SMELT_ASSIGN_OR_RETURN(GgufFile whole, OpenOne(paths.front()));
  SMELT_ASSIGN_OR_RETURN(const SplitKeys keys, ReadSplitKeys(whole));
  if (keys.number != 0 || keys.count != paths.size()) {
    return Error(ErrorCode::kInvalidInput, Escape(paths.front()), ": its keys call it part ",
                 keys.number + 1, " of ", keys.count, ", not the first of ", paths.size());
  }
  return Join(std::move(whole), keys, paths);
}

}  // namespace smelt
