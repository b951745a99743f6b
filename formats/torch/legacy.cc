#include "formats/torch/legacy.h"

#include <span>
#include <utility>

#include "formats/torch/pickle.h"
#include "formats/torch/state_dict.h"
#include "lib/base/checked.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

/// 0x1950a86a20f9469cfc6c as its pickle stores it.
constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kProtocol = 1001;

/// The storages behind the pickles, by key.
class LegacyStorages : public StorageTable {
 public:
  absl::StatusOr<std::shared_ptr<const Storage>> Find(std::string_view key) override {
    const auto found = storages_.find(std::string(key));
    if (found != storages_.end()) return found->second;
    return Error(ErrorCode::kInvalidInput, "its storage \"", Escape(key, 60),
                 "\" is not in the file");
  }

  bool Add(std::string_view key, std::shared_ptr<const Storage> storage) {
    return storages_.emplace(key, std::move(storage)).second;
  }

 private:
  TextMap<std::string, std::shared_ptr<const Storage>> storages_;
};

/// Bytes per element of every storage that the object names.
absl::StatusOr<TextMap<std::string_view, uint64_t>> ElementBytes(const Pickle& object,
                                                                 std::string_view file) {
  TextMap<std::string_view, uint64_t> bytes;
  for (ValueId id = 0; id < object.size(); ++id) {
    if (object.kind(id) != ValueKind::kStorage) continue;
    const absl::StatusOr<StorageClaim> claim = ReadStorageClaim(object, id);
    if (!claim.ok()) return Prefixed(Cat(file, ": a tensor: "), claim.status());
    if (!claim->untyped && !claim->dtype) {
      return Error(ErrorCode::kUnsupported, file, ": storage \"", Escape(claim->key, 60),
                   "\" has the element type of ", claim->class_name, ", which is not supported");
    }
    const uint64_t width = claim->untyped ? 1 : BitsOf(*claim->dtype) / 8;
    const auto [known, fresh] = bytes.emplace(claim->key, width);
    if (!fresh && known->second != width) {
      return Error(ErrorCode::kInvalidInput, file, ": storage \"", Escape(claim->key, 60),
                   "\" is used with elements of ", known->second, " and of ", width, " bytes");
    }
  }
  return bytes;
}

absl::Status CheckHeader(const Pickle& magic, const Pickle& protocol, const Pickle& system,
                         std::string_view file) {
  if (magic.kind(magic.root()) != ValueKind::kBigInt || magic.text(magic.root()) != kMagic) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": a pickle, but no PyTorch checkpoint: it does not begin with PyTorch's magic "
                 "number");
  }
  if (protocol.kind(protocol.root()) != ValueKind::kInt ||
      protocol.integer(protocol.root()) != kProtocol) {
    return Error(ErrorCode::kUnsupported, file,
                 ": a PyTorch checkpoint of an unknown protocol version; ", kProtocol,
                 " is expected");
  }
  if (system.kind(system.root()) != ValueKind::kDict) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": the system information is no dict: the checkpoint is damaged");
  }
  const std::span<const ValueId> items = system.items(system.root());
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (system.kind(items[i]) != ValueKind::kString || system.text(items[i]) != "little_endian") {
      continue;
    }
    if (system.kind(items[i + 1]) == ValueKind::kBool && system.boolean(items[i + 1])) continue;
    return Error(ErrorCode::kUnsupported, file,
                 ": was written on a big-endian machine; its byte order is not supported");
  }
  return absl::OkStatus();
}

/// The storages that `keys` lists follow each other to the end of the file.
absl::Status ReadStorages(const std::shared_ptr<Storage>& file, const Pickle& object,
                          const Pickle& keys, std::string_view name, LegacyStorages& table) {
  if (keys.kind(keys.root()) != ValueKind::kList) {
    return Error(ErrorCode::kInvalidInput, name, ": the storage keys are ",
                 Name(keys.kind(keys.root())), "; a list is expected");
  }
  SMELT_ASSIGN_OR_RETURN(const auto widths, ElementBytes(object, name));
  uint64_t at = keys.end();
  for (const ValueId id : keys.items(keys.root())) {
    const bool is_text = keys.kind(id) == ValueKind::kString;
    const auto width = is_text ? widths.find(keys.text(id)) : widths.end();
    if (width == widths.end()) {
      return Error(ErrorCode::kInvalidInput, name, ": storage \"",
                   is_text ? Escape(keys.text(id), 60) : std::string(Name(keys.kind(id))),
                   "\" belongs to no tensor");
    }
    const std::string label = Cat("storage \"", Escape(keys.text(id), 60), "\"");
    if (file->size() - at < 8) {
      return Error(ErrorCode::kInvalidInput, name, ": the file ends before ", label,
                   ": it is truncated; download it again");
    }
    unsigned char raw[8];
    SMELT_RETURN_IF_ERROR(file->ReadAt(at, std::as_writable_bytes(std::span(raw))));
    uint64_t elements = 0;
    for (int i = 7; i >= 0; --i) elements = elements << 8 | raw[i];
    at += 8;
    const std::optional<uint64_t> bytes = CheckedMul(elements, width->second);
    if (!bytes || *bytes > file->size() - at) {
      return Error(ErrorCode::kInvalidInput, name, ": ", label, " of ", elements, " elements of ",
                   width->second, " bytes reaches past the end of the file (", file->size() - at,
                   " bytes left): it is truncated; download it again");
    }
    SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const Storage> storage,
                           SubStorage(file, Cat(file->name(), ":", keys.text(id)), at, *bytes));
    if (!table.Add(keys.text(id), std::move(storage))) {
      return Error(ErrorCode::kInvalidInput, name, ": ", label, " is listed twice");
    }
    at += *bytes;
  }
  if (at != file->size()) {
    return Error(ErrorCode::kInvalidInput, name, ": ", file->size() - at,
                 " bytes after the last storage belong to nothing");
  }
  return absl::OkStatus();
}

}  // namespace

bool LooksLikePickle(std::string_view start) {
  constexpr char kNewestProtocol = 5;
  return start.size() >= 2 && start[0] == '\x80' && start[1] >= 2 && start[1] <= kNewestProtocol;
}

absl::StatusOr<Container> ReadTorchLegacy(std::shared_ptr<Storage> file,
                                          std::vector<PickleRefusal>* refused) {
  const std::string name = Escape(file->name());
  SMELT_ASSIGN_OR_RETURN(const Pickle magic, ReadPickle(*file, 0, refused));
  if (magic.kind(magic.root()) != ValueKind::kBigInt || magic.text(magic.root()) != kMagic) {
    return CheckHeader(magic, magic, magic, name);
  }
  SMELT_ASSIGN_OR_RETURN(const Pickle protocol, ReadPickle(*file, magic.end(), refused));
  SMELT_ASSIGN_OR_RETURN(const Pickle system, ReadPickle(*file, protocol.end(), refused));
  SMELT_RETURN_IF_ERROR(CheckHeader(magic, protocol, system, name));
  SMELT_ASSIGN_OR_RETURN(const Pickle object, ReadPickle(*file, system.end(), refused));
  SMELT_ASSIGN_OR_RETURN(const Pickle keys, ReadPickle(*file, object.end(), refused));

  LegacyStorages storages;
  SMELT_RETURN_IF_ERROR(ReadStorages(file, object, keys, name, storages));
  SMELT_ASSIGN_OR_RETURN(Container container, ReadStateDict(object, name, storages));
  container.files.push_back(std::move(file));
  return container;
}

}  // namespace smelt
