#include "formats/torch/torch.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "formats/torch/legacy.h"
#include "formats/torch/pickle.h"
#include "formats/torch/state_dict.h"
#include "formats/torch/zip.h"
#include "lib/base/stand_in.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// The storages of an archive: members PREFIX/data/KEY.
class ArchiveStorages : public StorageTable {
 public:
  ArchiveStorages(const ZipArchive& archive, std::string prefix)
      : archive_(archive), prefix_(std::move(prefix)) {}

  absl::StatusOr<std::shared_ptr<const Storage>> Find(std::string_view key) override {
    const ZipMember* member = archive_.Find(Cat(prefix_, "data/", key));
    if (member == nullptr) {
      return Error(ErrorCode::kInvalidInput, "its storage data/", Escape(key, 60),
                   " is not in the archive");
    }
    std::shared_ptr<const Storage>& storage = open_[member];
    if (storage == nullptr) {
      SMELT_ASSIGN_OR_RETURN(storage, archive_.OpenMember(*member));
    }
    return storage;
  }

 private:
  const ZipArchive& archive_;
  std::string prefix_;
  std::unordered_map<const ZipMember*, std::shared_ptr<const Storage>> open_;
};

/// The member that holds the object: data.pkl in the one folder of the archive.
absl::StatusOr<const ZipMember*> FindObject(const ZipArchive& archive, std::string_view file) {
  const ZipMember* object = nullptr;
  for (const ZipMember& member : archive.members()) {
    const size_t slash = member.name.find('/');
    const std::string_view rest =
        slash == std::string::npos ? member.name : std::string_view(member.name).substr(slash + 1);
    if (rest == "constants.pkl" || rest.starts_with("code/__torch__")) {
      return Error(ErrorCode::kUnsupported, file, ": is a TorchScript program (it holds ",
                   Escape(member.name, 60),
                   "), not a checkpoint; save the model's state_dict() instead");
    }
    if (rest != "data.pkl") continue;
    if (object != nullptr) {
      return Error(ErrorCode::kInvalidInput, file, ": the archive has two objects, ",
                   Escape(object->name, 60), " and ", Escape(member.name, 60));
    }
    object = &member;
  }
  if (object == nullptr) {
    return Error(ErrorCode::kInvalidInput, file, ": a zip archive, but no PyTorch checkpoint: ",
                 archive.members().empty() ? "it is empty" : "it has no data.pkl");
  }
  return object;
}

absl::Status CheckByteOrder(const ZipArchive& archive, const std::string& prefix,
                            std::string_view file) {
  const ZipMember* member = archive.Find(prefix + "byteorder");
  if (member == nullptr) return absl::OkStatus();  // before PyTorch 2.0
  SMELT_ASSIGN_OR_RETURN(const std::string order, archive.ReadMember(*member, 64));
  if (order == "little") return absl::OkStatus();
  return Error(ErrorCode::kUnsupported, file, ": its byteorder record says \"", Escape(order, 20),
               "\"; only little-endian checkpoints are read");
}

absl::StatusOr<Container> ReadArchive(std::shared_ptr<Storage> file,
                                      std::vector<PickleRefusal>* refused) {
  const std::string name = Escape(file->name());
  SMELT_ASSIGN_OR_RETURN(const ZipArchive archive, ZipArchive::Open(file));
  SMELT_ASSIGN_OR_RETURN(const ZipMember* object, FindObject(archive, name));
  const std::string prefix = object->name.substr(0, object->name.size() - 8);  // "data.pkl"
  SMELT_RETURN_IF_ERROR(CheckByteOrder(archive, prefix, name));

  // A deflated pickle is held to the archive's own size, so that memory stays bounded by the input.
  const uint64_t limit = std::min(kMaxPickleBytes, (uint64_t{1} << 20) + file->size());
  SMELT_ASSIGN_OR_RETURN(std::string text, archive.ReadMember(*object, limit));
  std::vector<std::byte> bytes(text.size());
  std::ranges::copy(std::as_bytes(std::span(text)), bytes.begin());
  std::string().swap(text);
  const std::shared_ptr<Storage> memory =
      MemoryStorage(Cat(file->name(), ":", object->name), std::move(bytes));
  SMELT_ASSIGN_OR_RETURN(const Pickle pickle, ReadPickle(*memory, 0, refused));
  if (pickle.end() != memory->size()) {
    return Error(ErrorCode::kInvalidInput, name, ": ", Escape(object->name), " has ",
                 memory->size() - pickle.end(), " bytes after the pickle's end");
  }

  ArchiveStorages storages(archive, prefix);
  SMELT_ASSIGN_OR_RETURN(Container container, ReadStateDict(pickle, name, storages));
  container.files.push_back(std::move(file));
  return container;
}

/// What else people have under these names, told apart by its first bytes.
absl::Status NotTorch(std::string_view file, std::string_view start) {
  if (start.empty()) return Error(ErrorCode::kInvalidInput, file, ": the file is empty");
  if (start.size() >= 262 && start.substr(257, 5) == "ustar") {
    return Error(ErrorCode::kUnsupported, file,
                 ": a tar archive; PyTorch's tar format (before 0.1.10) is not read; save the "
                 "checkpoint again with a newer PyTorch");
  }
  return Error(ErrorCode::kInvalidInput, file,
               ": is no PyTorch checkpoint: neither a zip archive nor a pickle");
}

absl::StatusOr<Container> ReadAnyForm(std::shared_ptr<Storage> file,
                                      std::vector<PickleRefusal>* refused) {
  SMELT_ASSIGN_OR_RETURN(const std::string start, ReadStart(*file, kStandInBytes));
  SMELT_RETURN_IF_ERROR(RefuseText(file->name(), start));
  if (LooksLikeZip(start)) return ReadArchive(std::move(file), refused);
  if (LooksLikePickle(start)) return ReadTorchLegacy(std::move(file), refused);
  return NotTorch(Escape(file->name()), start);
}

}  // namespace

absl::StatusOr<Container> ReadTorch(std::shared_ptr<Storage> file) {
  return ReadAnyForm(std::move(file), nullptr);
}

TorchListing ListTorch(const std::shared_ptr<Storage>& file) {
  TorchListing listing;
  absl::StatusOr<Container> container = ReadTorch(file);
  listing.status = container.status();
  if (!container.ok()) container = ReadAnyForm(file, &listing.refused);
  if (container.ok()) listing.container = *std::move(container);
  return listing;
}

absl::StatusOr<Container> OpenTorch(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<Storage> file, OpenFile(path));
  return ReadTorch(std::move(file));
}

}  // namespace smelt
