#include "formats/torch/zip.h"

#include <zlib.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "formats/torch/inflate.h"
#include "lib/base/checked.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr std::string_view kLocalHeader = "PK\3\4", kDirectoryEntry = "PK\1\2",
                           kEndRecord = "PK\5\6", kEndRecord64 = "PK\6\6", kLocator64 = "PK\6\7",
                           kDescriptor = "PK\7\10";
constexpr uint64_t kLocalHeaderBytes = 30, kDirectoryEntryBytes = 46, kEndBytes = 22,
                   kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr uint16_t kEncrypted = 1 << 0, kHasDescriptor = 1 << 3, kPatched = 1 << 5,
                   kStrongEncryption = 1 << 6, kMasked = 1 << 13;
constexpr uint16_t kStored = 0, kDeflated = 8;
constexpr uint32_t kIn64 = 0xffffffff;  // "see the zip64 field"
/// No checkpoint comes near: a member costs about 100 bytes here.
constexpr uint64_t kMaxDirectoryBytes = 512ull << 20;

/// Little-endian fields at fixed places of bytes whose length was checked.
uint16_t U16(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) | static_cast<uint8_t>(bytes[at + 1])
                                                                     << 8);
}
uint32_t U32(std::string_view bytes, size_t at) {
  return U16(bytes, at) | static_cast<uint32_t>(U16(bytes, at + 2)) << 16;
}
uint64_t U64(std::string_view bytes, size_t at) {
  return U32(bytes, at) | static_cast<uint64_t>(U32(bytes, at + 4)) << 32;
}

absl::StatusOr<std::string> ReadBytes(const Storage& file, uint64_t offset, uint64_t count) {
  std::string bytes(count, '\0');
  SMELT_RETURN_IF_ERROR(file.ReadAt(offset, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

template <typename... Parts>
absl::Status Bad(const Storage& file, const Parts&... what) {
  return Error(ErrorCode::kInvalidInput, Escape(file.name()), ": zip archive: ", what...);
}

template <typename... Parts>
absl::Status BadMember(const Storage& file, std::string_view member, const Parts&... what) {
  return Bad(file, "member \"", Escape(member, 60), "\" ", what...);
}

/// Where the central directory lies.
struct Directory {
  uint64_t offset = 0, size = 0, count = 0;
};

/// Sizes and place of a member that may be deferred to the zip64 extra field (id 1). Only fields
/// whose 32-bit form says so are there, in this order.
struct Zip64Fields {
  std::optional<uint64_t> size, compressed_size, header_offset;
};

/// Takes the zip64 field of an extra area apart; `problem` names what is wrong.
Zip64Fields ParseExtra(std::string_view extra, bool size, bool compressed, bool offset,
                       std::string_view& problem) {
  Zip64Fields fields;
  bool seen = false;
  while (!extra.empty()) {
    if (extra.size() < 4 || U16(extra, 2) > extra.size() - 4) {
      problem = "has a broken extra field";
      return fields;
    }
    const uint16_t id = U16(extra, 0), length = U16(extra, 2);
    std::string_view body = extra.substr(4, length);
    extra.remove_prefix(4 + length);
    if (id != 1) continue;
    if (seen) problem = "has two zip64 fields";
    seen = true;
    const auto take = [&](bool wanted, std::optional<uint64_t>& out) {
      if (!wanted) return;
      if (body.size() < 8) {
        problem = "has a zip64 field that is too short";
        return;
      }
      out = U64(body, 0);
      body.remove_prefix(8);
    };
    take(size, fields.size);
    take(compressed, fields.compressed_size);
    take(offset, fields.header_offset);
  }
  const bool missing = (size && !fields.size) || (compressed && !fields.compressed_size) ||
                       (offset && !fields.header_offset);
  if (problem.empty() && missing) problem = "defers its sizes to a zip64 field that is not there";
  return fields;
}

/// The zip64 end record before the plain one, if there is one: it replaces `directory`, and
/// `directory_end` becomes its place.
absl::Status ApplyEnd64(const Storage& file, Directory& directory, uint64_t& directory_end) {
  if (directory_end < kLocator64Bytes + kEnd64Bytes) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const std::string locator,
                         ReadBytes(file, directory_end - kLocator64Bytes, kLocator64Bytes));
  if (!locator.starts_with(kLocator64)) return absl::OkStatus();
  directory_end -= kLocator64Bytes + kEnd64Bytes;
  SMELT_ASSIGN_OR_RETURN(const std::string end, ReadBytes(file, directory_end, kEnd64Bytes));
  if (U32(locator, 4) != 0 || U32(locator, 16) > 1 || U64(locator, 8) != directory_end ||
      !end.starts_with(kEndRecord64) || U64(end, 4) != kEnd64Bytes - 12 || U32(end, 16) != 0 ||
      U32(end, 20) != 0 || U64(end, 24) != U64(end, 32)) {
    return Bad(file, "its zip64 end record is out of place or malformed");
  }
  const Directory wide{U64(end, 48), U64(end, 40), U64(end, 32)};
  const auto agrees = [](uint64_t narrow, uint64_t full, uint64_t deferred) {
    return narrow == deferred || narrow == full;
  };
  if (!agrees(directory.offset, wide.offset, kIn64) || !agrees(directory.size, wide.size, kIn64) ||
      !agrees(directory.count, wide.count, 0xffff)) {
    return Bad(file, "its two end records contradict each other");
  }
  directory = wide;
  return absl::OkStatus();
}

/// The end records, which must be the file's last bytes and agree with each other.
absl::StatusOr<Directory> FindDirectory(const Storage& file) {
  const uint64_t size = file.size();
  if (size < kEndBytes) return Bad(file, "too short to hold an end record (", size, " bytes)");
  SMELT_ASSIGN_OR_RETURN(const std::string end, ReadBytes(file, size - kEndBytes, kEndBytes));
  if (!end.starts_with(kEndRecord) || U16(end, 20) != 0) {
    return Bad(file,
               "does not end with the end record of its central directory: it is truncated "
               "(download it again), or something was appended");
  }
  Directory directory{U32(end, 16), U32(end, 12), U16(end, 10)};
  if (U16(end, 4) != 0 || U16(end, 6) != 0 || U16(end, 8) != directory.count) {
    return Bad(file, "is part of a split archive, which is not supported");
  }
  uint64_t directory_end = size - kEndBytes;
  SMELT_RETURN_IF_ERROR(ApplyEnd64(file, directory, directory_end));
  const std::optional<uint64_t> stop = CheckedAdd(directory.offset, directory.size);
  if (!stop || *stop > directory_end) {
    return Bad(file, "its central directory (offset ", directory.offset, ", ", directory.size,
               " bytes) reaches past the end record at ", directory_end);
  }
  if (*stop < directory_end) {
    return Bad(file, directory_end - *stop,
               " bytes between its central directory and the end record belong to nothing");
  }
  if (directory.count > directory.size / kDirectoryEntryBytes) {
    return Bad(file, "claims ", directory.count,
               " members, more than fit into its central directory of ", directory.size, " bytes");
  }
  if (directory.size > kMaxDirectoryBytes) {
    return Bad(file, "has a central directory of ", directory.size, " bytes; at most ",
               kMaxDirectoryBytes, " are accepted");
  }
  return directory;
}

/// What is wrong with a member's name, or nothing.
std::string_view NameProblem(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.find('\0') != std::string_view::npos) return "holds a NUL byte";
  if (name.find('\\') != std::string_view::npos) return "holds a backslash";
  if (name.front() == '/' || (name.size() >= 2 && name[1] == ':')) return "is an absolute path";
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    if (name.substr(at, end - at) == "..") return "climbs out of the archive with \"..\"";
    at = end + 1;
  }
  return {};
}

/// A directory entry, with what only the local header needs to be compared with.
struct Entry {
  ZipMember member;
  uint16_t flags = 0, method = 0;
};

/// What is refused whatever the sizes are.
absl::Status CheckKind(const Storage& file, const Entry& entry, uint16_t disk) {
  const std::string_view name = entry.member.name;
  if (const std::string_view problem = NameProblem(name); !problem.empty()) {
    return Bad(file, "the member name \"", Escape(name, 60), "\" ", problem);
  }
  if (entry.flags & (kEncrypted | kStrongEncryption | kMasked)) {
    return BadMember(file, name, "is encrypted (or marked so), which is not supported");
  }
  if (entry.flags & kPatched) return BadMember(file, name, "is patch data");
  if (disk != 0) return BadMember(file, name, "lies in another part of a split archive");
  if (entry.method != kStored && entry.method != kDeflated) {
    return BadMember(file, name, "has compression method ", entry.method,
                     "; only stored (0) and deflated (8) members are read");
  }
  return absl::OkStatus();
}

absl::Status CheckSizes(const Storage& file, const ZipMember& member) {
  if (!member.deflated && member.size != member.compressed_size) {
    return BadMember(file, member.name, "is stored, but its two sizes differ (", member.size,
                     " and ", member.compressed_size, ")");
  }
  if (member.deflated && !CanInflateTo(member.compressed_size, member.size)) {
    return BadMember(file, member.name, "claims a size of ", member.size,
                     " bytes when inflated, more than its ", member.compressed_size,
                     " compressed bytes can hold");
  }
  return absl::OkStatus();
}

/// Reads the entry at the front of `bytes`, and removes it.
absl::StatusOr<Entry> TakeEntry(const Storage& file, std::string_view& bytes, uint64_t number) {
  if (bytes.size() < kDirectoryEntryBytes || !bytes.starts_with(kDirectoryEntry)) {
    return Bad(file, "its central directory ends before entry ", number, ", or is broken there");
  }
  const uint64_t name_bytes = U16(bytes, 28), extra_bytes = U16(bytes, 30),
                 comment_bytes = U16(bytes, 32);
  if (bytes.size() - kDirectoryEntryBytes < name_bytes + extra_bytes + comment_bytes) {
    return Bad(file, "its central directory ends inside entry ", number);
  }
  Entry entry;
  ZipMember& member = entry.member;
  member.name = bytes.substr(kDirectoryEntryBytes, name_bytes);
  entry.flags = U16(bytes, 8);
  entry.method = U16(bytes, 10);
  SMELT_RETURN_IF_ERROR(CheckKind(file, entry, U16(bytes, 34)));

  member.deflated = entry.method == kDeflated;
  member.crc32 = U32(bytes, 16);
  member.compressed_size = U32(bytes, 20);
  member.size = U32(bytes, 24);
  member.header_offset = U32(bytes, 42);
  std::string_view problem;
  const Zip64Fields wide =
      ParseExtra(bytes.substr(kDirectoryEntryBytes + name_bytes, extra_bytes), member.size == kIn64,
                 member.compressed_size == kIn64, member.header_offset == kIn64, problem);
  if (!problem.empty()) return BadMember(file, member.name, problem);
  member.size = wide.size.value_or(member.size);
  member.compressed_size = wide.compressed_size.value_or(member.compressed_size);
  member.header_offset = wide.header_offset.value_or(member.header_offset);
  SMELT_RETURN_IF_ERROR(CheckSizes(file, member));
  bytes.remove_prefix(kDirectoryEntryBytes + name_bytes + extra_bytes + comment_bytes);
  return entry;
}

/// Compares the local header (whose offset was checked) with the directory's entry; sets
/// data_offset, returns where the member's bytes end.
absl::StatusOr<uint64_t> CheckLocalHeader(const Storage& file, Entry& entry, uint64_t limit) {
  ZipMember& member = entry.member;
  const auto bad = [&](const auto&... what) { return BadMember(file, member.name, what...); };
  const uint64_t at = member.header_offset;
  SMELT_ASSIGN_OR_RETURN(const std::string fixed, ReadBytes(file, at, kLocalHeaderBytes));
  if (!fixed.starts_with(kLocalHeader)) return bad("has no local header at offset ", at);
  const uint64_t name_bytes = U16(fixed, 26), extra_bytes = U16(fixed, 28);
  if (limit - at - kLocalHeaderBytes < name_bytes + extra_bytes) {
    return bad("has a local header that reaches past the end of the members");
  }
  SMELT_ASSIGN_OR_RETURN(const std::string rest,
                         ReadBytes(file, at + kLocalHeaderBytes, name_bytes + extra_bytes));
  const std::string_view name = std::string_view(rest).substr(0, name_bytes);
  if (name != member.name) return bad("is called \"", Escape(name, 60), "\" in its local header");
  if (U16(fixed, 6) != entry.flags || U16(fixed, 8) != entry.method) {
    return bad("has other flags or another method in its local header than in the directory");
  }

  const uint64_t compressed = U32(fixed, 18), size = U32(fixed, 22);
  std::string_view problem;
  const Zip64Fields wide = ParseExtra(std::string_view(rest).substr(name_bytes), size == kIn64,
                                      compressed == kIn64, false, problem);
  if (!problem.empty()) return bad(problem, " in its local header");
  // With a descriptor behind the data, the header may leave these at zero.
  const bool deferred = (entry.flags & kHasDescriptor) != 0;
  const auto agrees = [deferred](uint64_t local, uint64_t listed) {
    return local == listed || (deferred && local == 0);
  };
  if (!agrees(U32(fixed, 14), member.crc32) || !agrees(wide.size.value_or(size), member.size) ||
      !agrees(wide.compressed_size.value_or(compressed), member.compressed_size)) {
    return bad("has another size or CRC in its local header than in the directory");
  }
  member.data_offset = at + kLocalHeaderBytes + name_bytes + extra_bytes;
  if (member.compressed_size > limit - member.data_offset) {
    return bad("claims a size of ", member.compressed_size, " bytes, past the end of the members (",
               limit - member.data_offset, " bytes left)");
  }
  return member.data_offset + member.compressed_size;
}

/// The bytes between a member's data and what comes next: nothing, or a data descriptor (with or
/// without signature, sizes of 32 or 64 bits) that says what the directory says.
absl::Status CheckDescriptor(const Storage& file, const Entry& entry, uint64_t begin,
                             uint64_t end) {
  const ZipMember& member = entry.member;
  const uint64_t length = end - begin;
  if (!(entry.flags & kHasDescriptor)) {
    if (length == 0) return absl::OkStatus();
    return Bad(file, length, " bytes after member \"", Escape(member.name, 60),
               "\" belong to no member");
  }
  if (length == 12 || length == 16 || length == 20 || length == 24) {
    SMELT_ASSIGN_OR_RETURN(const std::string bytes, ReadBytes(file, begin, length));
    std::string_view rest = bytes;
    const bool is_signed = length == 16 || length == 24, wide = length >= 20;
    const bool right = !is_signed || rest.starts_with(kDescriptor);
    if (is_signed) rest.remove_prefix(4);
    const uint64_t compressed = wide ? U64(rest, 4) : U32(rest, 4);
    const uint64_t size = wide ? U64(rest, 12) : U32(rest, 8);
    if (right && U32(rest, 0) == member.crc32 && compressed == member.compressed_size &&
        size == member.size) {
      return absl::OkStatus();
    }
  }
  return BadMember(file, member.name, "is not followed by a data descriptor of its size and CRC");
}

/// Members tile the file: each begins where the one before it (and its descriptor) ends, the first
/// at 0, the last before the directory.
absl::Status CheckTiling(const Storage& file, std::vector<Entry>& entries, uint64_t limit) {
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(entries[a].member.header_offset, a) <
           std::pair(entries[b].member.header_offset, b);
  });
  for (const Entry& entry : entries) {
    const uint64_t at = entry.member.header_offset;
    if (at <= limit && limit - at >= kLocalHeaderBytes) continue;
    return BadMember(file, entry.member.name, "has its local header at offset ", at,
                     ", past the end of the members (", limit, ")");
  }
  const uint64_t first = order.empty() ? limit : entries[order[0]].member.header_offset;
  if (first != 0) return Bad(file, "the first ", first, " bytes belong to no member");
  for (size_t i = 0; i < order.size(); ++i) {
    Entry& entry = entries[order[i]];
    SMELT_ASSIGN_OR_RETURN(const uint64_t end, CheckLocalHeader(file, entry, limit));
    const uint64_t next = i + 1 < order.size() ? entries[order[i + 1]].member.header_offset : limit;
    if (next < end) {
      return Bad(file, "members \"", Escape(entry.member.name, 60), "\" and \"",
                 Escape(entries[order[i + 1]].member.name, 60), "\" overlap");
    }
    SMELT_RETURN_IF_ERROR(CheckDescriptor(file, entry, end, next));
  }
  return absl::OkStatus();
}

}  // namespace

bool LooksLikeZip(std::string_view start) {
  return start.starts_with(kLocalHeader) || start.starts_with(kEndRecord);
}

absl::StatusOr<ZipArchive> ZipArchive::Open(std::shared_ptr<Storage> file) {
  SMELT_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(*file));
  SMELT_ASSIGN_OR_RETURN(const std::string text,
                         ReadBytes(*file, directory.offset, directory.size));
  std::vector<Entry> entries;
  entries.reserve(directory.count);
  std::string_view bytes = text;
  for (uint64_t i = 0; i < directory.count; ++i) {
    SMELT_ASSIGN_OR_RETURN(Entry entry, TakeEntry(*file, bytes, i));
    entries.push_back(std::move(entry));
  }
  if (!bytes.empty()) {
    return Bad(*file, "its central directory holds more than the ", directory.count,
               " members that the end record counts");
  }
  SMELT_RETURN_IF_ERROR(CheckTiling(*file, entries, directory.offset));

  ZipArchive archive;
  archive.file_ = std::move(file);
  archive.members_.reserve(entries.size());
  for (Entry& entry : entries) archive.members_.push_back(std::move(entry.member));
  archive.has_checksums_ = std::ranges::any_of(
      archive.members_, [](const ZipMember& member) { return member.crc32 != 0; });
  archive.index_.reserve(entries.size());
  for (size_t i = 0; i < archive.members_.size(); ++i) {
    if (!archive.index_.emplace(archive.members_[i].name, i).second) {
      return Bad(*archive.file_, "two members are called \"", Escape(archive.members_[i].name, 60),
                 "\"");
    }
  }
  return archive;
}

const ZipMember* ZipArchive::Find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &members_[found->second];
}

std::string ZipArchive::NameOf(const ZipMember& member) const {
  return Cat(file_->name(), ":", member.name);
}

absl::StatusOr<std::shared_ptr<Storage>> ZipArchive::OpenMember(const ZipMember& member) const {
  if (!member.deflated) return SubStorage(file_, NameOf(member), member.data_offset, member.size);
  return InflateToTemporary(*file_, {NameOf(member), member.data_offset, member.compressed_size,
                                     member.size, member.crc32});
}

absl::StatusOr<std::string> ZipArchive::ReadMember(const ZipMember& member, uint64_t limit) const {
  if (member.size > limit) {
    return BadMember(*file_, member.name, "has a size of ", member.size, " bytes; at most ", limit,
                     " are accepted here");
  }
  if (member.deflated) {
    return InflateToMemory(*file_, {NameOf(member), member.data_offset, member.compressed_size,
                                    member.size, member.crc32});
  }
  SMELT_ASSIGN_OR_RETURN(std::string text, ReadBytes(*file_, member.data_offset, member.size));
  if (!has_checksums_) return text;
  const uLong sum =
      crc32_z(crc32(0, nullptr, 0), reinterpret_cast<const Bytef*>(text.data()), text.size());
  if (sum != member.crc32) {
    return BadMember(*file_, member.name, "has a wrong CRC-32: it is damaged");
  }
  return text;
}

}  // namespace smelt
