#include "tests/formats/torch/checkpoint_builder.h"

#include <zlib.h>

#include "lib/base/cat.h"

namespace smelt::testing {

std::string Bytes(uint64_t value, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    out.push_back(static_cast<char>(value));
    value >>= 8;
  }
  return out;
}

std::string Str(std::string_view text) { return Cat("X", Bytes(text.size(), 4), text); }

std::string Int(int64_t value) {
  return Cat("\x8a", Bytes(8, 1), Bytes(static_cast<uint64_t>(value), 8));
}

std::string Tuple(std::string_view items) { return Cat("(", items, "t"); }
std::string Dict(std::string_view items) { return Cat("}(", items, "u"); }

std::string Global(std::string_view module, std::string_view name) {
  return Cat("c", module, "\n", name, "\n");
}

std::string Call(std::string_view module, std::string_view name, std::string_view arguments) {
  return Cat(Global(module, name), Tuple(arguments), "R");
}

std::string OrderedDict(std::string_view items) {
  return Cat(Call("collections", "OrderedDict", ""), "(", items, "u");
}

std::string StorageId(std::string_view type, std::string_view key, int64_t elements) {
  return Cat(Tuple(Cat(Str("storage"), Global("torch", type), Str(key), Str("cpu"), Int(elements))),
             "Q");
}

std::string Ints(const std::vector<int64_t>& values) {
  std::string items;
  for (const int64_t value : values) items += Int(value);
  return Tuple(items);
}

std::string Tensor(std::string_view type, std::string_view key, int64_t elements, int64_t offset,
                   const std::vector<int64_t>& size, const std::vector<int64_t>& stride) {
  return Call("torch._utils", "_rebuild_tensor_v2",
              Cat(StorageId(type, key, elements), Int(offset), Ints(size), Ints(stride), "\x89",
                  Call("collections", "OrderedDict", "")));
}

std::string Vector(std::string_view type, std::string_view key, int64_t elements) {
  return Tensor(type, key, elements, 0, {elements}, {1});
}

std::string PickleOf(std::string_view value) { return Cat("\x80\x02", value, "."); }

namespace {

std::string DeflateRaw(const std::string& data) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, data.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace

std::string Zip(const std::vector<Member>& members, const ZipOptions& options) {
  std::string file, directory;
  for (const Member& member : members) {
    const std::string data = member.deflate ? DeflateRaw(member.data) : member.data;
    const uint32_t crc = member.crc.value_or(
        static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(member.data.data()),
                                    static_cast<uInt>(member.data.size()))));
    const uint64_t size = member.claimed_size.value_or(member.data.size());
    const bool later = member.descriptor || member.wide_descriptor;
    const uint16_t flags = member.flags | (later ? 8 : 0);
    const std::string method = Bytes(member.deflate ? 8 : 0, 2);
    const std::string wide =
        member.zip64 ? Cat(Bytes(1, 2), Bytes(16, 2), Bytes(size, 8), Bytes(data.size(), 8)) : "";
    const auto sizes = [&](bool deferred) {
      if (deferred) return Bytes(0, 12);
      if (member.zip64) return Cat(Bytes(crc, 4), Bytes(0xffffffff, 4), Bytes(0xffffffff, 4));
      return Cat(Bytes(crc, 4), Bytes(data.size(), 4), Bytes(size, 4));
    };
    const std::string local_name = member.local_name.value_or(member.name);
    const std::string local_wide = later ? "" : wide;
    const size_t at = file.size();
    file += Cat("PK\3\4", Bytes(20, 2), Bytes(member.local_flags.value_or(flags), 2), method,
                Bytes(0, 4), sizes(later), Bytes(local_name.size(), 2), Bytes(local_wide.size(), 2),
                local_name, local_wide, data);
    if (member.wide_descriptor) {
      file += Cat("PK\7\10", Bytes(crc, 4), Bytes(data.size(), 8), Bytes(size, 8));
    } else if (member.descriptor) {
      file += Cat("PK\7\10", Bytes(crc, 4), Bytes(data.size(), 4), Bytes(size, 4));
    }
    directory += Cat("PK\1\2", Bytes(20, 2), Bytes(20, 2), Bytes(flags, 2), method, Bytes(0, 4),
                     sizes(false), Bytes(member.name.size(), 2), Bytes(wide.size(), 2),
                     Bytes(0, 10), Bytes(at, 4), member.name, wide);
  }
  file += options.gap;
  const size_t at = file.size(), count = members.size();
  file += directory;
  if (options.end64) {
    const size_t end = file.size();
    file += Cat("PK\6\6", Bytes(44, 8), Bytes(45, 2), Bytes(45, 2), Bytes(0, 8), Bytes(count, 8),
                Bytes(count, 8), Bytes(directory.size(), 8), Bytes(at, 8));
    file += Cat("PK\6\7", Bytes(0, 4), Bytes(end, 8), Bytes(1, 4));
  }
  file += Cat("PK\5\6", Bytes(0, 4), Bytes(count, 2), Bytes(count, 2), Bytes(directory.size(), 4),
              Bytes(at, 4), Bytes(0, 2));
  return file + options.suffix;
}

std::string Archive(std::string_view value,
                    const std::vector<std::pair<std::string, std::string>>& storages) {
  std::vector<Member> members = {{.name = "archive/data.pkl", .data = PickleOf(value)}};
  for (const auto& [key, data] : storages) {
    members.push_back({.name = "archive/data/" + key, .data = data});
  }
  members.push_back({.name = "archive/version", .data = "3\n"});
  return Zip(members);
}

std::string Legacy(std::string_view value, const std::vector<LegacyStorage>& storages) {
  const std::string magic = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  std::string keys, bytes;
  for (const LegacyStorage& storage : storages) {
    keys += Str(storage.key);
    bytes += Cat(Bytes(storage.elements, 8), storage.data);
  }
  const std::string system = Dict(Cat(Str("protocol_version"), Int(1001), Str("little_endian"),
                                      "\x88", Str("type_sizes"), Dict(Cat(Str("int"), Int(4)))));
  return Cat(PickleOf(magic), PickleOf(Int(1001)), PickleOf(system), PickleOf(value),
             PickleOf(Cat("](", keys, "e")), bytes);
}

}  // namespace smelt::testing
