// Zip archives with their pickle: a valid archive is taken apart, one part is changed, and the rest
// is put together again with right sizes and checksums.
#include "formats/torch/zip.h"
#include "tests/fuzz/torch_fuzz.h"

namespace smelt::fuzz {
namespace {

using testing::Member;
using testing::ZipOptions;

void MutateMember(std::vector<Member>& members, std::minstd_rand& random) {
  Member& member = members[random() % members.size()];
  switch (random() % 10) {
    case 0:
      member.deflate = !member.deflate;
      break;
    case 1:
      member.descriptor = !member.descriptor;
      break;
    case 2:
      member.zip64 = !member.zip64;
      break;
    case 3:
      member.flags ^= static_cast<uint16_t>(1u << random() % 16);
      break;
    case 4:
      member.claimed_size = random() % 2 == 0 ? random() : member.data.size() + 1;
      break;
    case 5:
      member.local_name = MutatePickle(member.name, random);
      break;
    case 6:
      member.name = MutatePickle(member.name, random);
      break;
    case 7:
      member.data.resize(random() % 128, 'x');
      break;
    case 8:
      members.push_back(member);
      break;
    default:
      members.erase(members.begin() + static_cast<ptrdiff_t>(random() % members.size()));
  }
}

}  // namespace

std::string Mutate(const uint8_t* data, size_t size, std::minstd_rand& random) {
  const auto archive = ZipArchive::Open(Checkpoint(data, size));
  if (!archive.ok()) return {};
  std::vector<Member> members;
  for (const ZipMember& member : archive->members()) {
    absl::StatusOr<std::string> bytes = archive->ReadMember(member, 1 << 20);
    if (!bytes.ok()) return {};
    members.push_back({.name = member.name, .data = *std::move(bytes), .deflate = member.deflated});
  }
  if (members.empty()) return {};
  if (random() % 4 == 0) {
    MutateMember(members, random);
  } else {
    for (Member& member : members) {
      if (member.name.ends_with("data.pkl")) member.data = MutatePickle(member.data, random);
    }
  }
  return testing::Zip(members, {.end64 = random() % 4 == 0});
}

}  // namespace smelt::fuzz
