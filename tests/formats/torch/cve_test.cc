// The holes that torch.load, scanners of checkpoints and their zip readers have had, one test each:
// what was executed, hidden from the scanner or read out of bounds there is a refusal here.
#include <gmock/gmock.h>

#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "formats/torch/torch.h"
#include "lib/base/cat.h"
#include "lib/base/status.h"
#include "tests/formats/torch/checkpoint_builder.h"
#include "tests/formats/torch/read_archive.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::AllOf;
using testing::Archive;
using testing::Bytes;
using testing::Call;
using testing::Dict;
using testing::Global;
using ::testing::HasSubstr;
using testing::Int;
using testing::Legacy;
using testing::Member;
using testing::OrderedDict;
using testing::PickleOf;
using testing::ReadArchive;
using testing::Str;
using testing::Tensor;
using testing::Tuple;
using testing::Vector;
using testing::Zip;

constexpr char kData[] = "abcd";

std::string Refusal(const std::string& bytes) {
  return std::string(ReadArchive(bytes).status().message());
}

std::string Good() { return Dict(Cat(Str("w"), Vector("CharStorage", "0", 4))); }
std::string Shell() { return Call("posix", "system", Str("touch smelt-was-here")); }

std::vector<Member> Members(const std::string& value) {
  return {{.name = "archive/data.pkl", .data = PickleOf(value)},
          {.name = "archive/data/0", .data = kData}};
}

TEST(Cve, ThePlainArchiveIsRead) { SMELT_EXPECT_OK(ReadArchive(Zip(Members(Good())))); }

// torch.load(weights_only=True) handed tar files and TorchScript programs to loaders that execute.
TEST(Cve, Cve2025_32434_TarFilesAreNotRead) {
  std::string tar(1024, '\0');
  tar.replace(0, 6, "pickle");
  tar.replace(257, 5, "ustar");
  EXPECT_THAT(Refusal(tar), HasSubstr("tar archive"));
}
TEST(Cve, Cve2025_32434_TorchScriptIsNotRead) {
  std::vector<Member> members = Members(Good());
  members.push_back({.name = "archive/constants.pkl", .data = PickleOf(Tuple(""))});
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("TorchScript"));
}

// pip.main was missing on the scanner's list of dangerous names; here is a list of harmless ones.
TEST(Cve, Cve2025_1716_NamesThatNobodyListedAsDangerous) {
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"pip", "main"},
                                                        {"pip._internal", "main"},
                                                        {"importlib", "import_module"},
                                                        {"torch", "load"},
                                                        {"torch.hub", "load"},
                                                        {"torch.storage", "_load_from_bytes"},
                                                        {"numpy", "load"},
                                                        {"functools", "partial"},
                                                        {"operator", "methodcaller"}}) {
    const std::string value = Dict(Cat(Str("w"), Call(module, name, Str("x"))));
    EXPECT_THAT(Refusal(Archive(value, {})), HasSubstr(Cat("refuses ", module, ".", name)));
  }
}

// Objects that people do have in checkpoints: what to do instead is said.
TEST(Refusals, SayTheWayOut) {
  for (const auto& [module, name, way] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"torchao.dtypes.affine_quantized_tensor", "AffineQuantizedTensor",
            "quantized by torchao: use the unquantized model"},
           {"optimum.quanto.tensor.weights.qbytes", "WeightQBytesTensor",
            "quantized by quanto: use the unquantized model"},
           {"transformers.models.llama.modeling_llama", "LlamaForCausalLM", "state_dict()"}}) {
    const std::string value = Dict(Cat(Str("w"), Call(module, name, Str("x"))));
    EXPECT_THAT(Refusal(Archive(value, {})), HasSubstr(way));
  }
}

// A second pickle under another ending was loaded by the first and not seen by the scanner: here
// only data.pkl is unpickled, and nothing in it can load another.
TEST(Cve, Cve2025_1889_PicklesUnderOtherNames) {
  std::vector<Member> members = Members(Good());
  members.push_back({.name = "archive/config.p", .data = PickleOf(Shell())});
  SMELT_EXPECT_OK(ReadArchive(Zip(members)));  // never looked at
  members[0].data = PickleOf(Call("torch", "load", Str("archive/config.p")));
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("refuses torch.load"));
  members = Members(Good());
  members.push_back({.name = "other/data.pkl", .data = PickleOf(Shell())});
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("two objects"));
}

// Names that differ between the directory and the local header: one reader sees data.pkl, another
// does not.
TEST(Cve, Cve2025_1944_NamesThatDifferBetweenHeaders) {
  std::vector<Member> members = Members(Shell());
  members[0].local_name = "archive/data.txt";
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("in its local header"));
}

// Flag bits that make the scanner's reader give up (encrypted), while torch reads on.
TEST(Cve, Cve2025_1945_FlagBits) {
  for (const uint16_t flag : {1 << 0, 1 << 5, 1 << 6, 1 << 13}) {
    std::vector<Member> members = Members(Shell());
    members[0].flags = flag;
    EXPECT_THAT(Refusal(Zip(members)), HasSubstr("archive/data.pkl"));
    members = Members(Good());
    members[0].local_flags = flag;
    EXPECT_THAT(Refusal(Zip(members)), HasSubstr("in its local header"));
  }
}

// A plain pickle under a checkpoint's ending went past the scanner.
TEST(Cve, Cve2025_10155_PlainPicklesUnderACheckpointsName) {
  EXPECT_THAT(Refusal(PickleOf(Shell())), HasSubstr("refuses posix.system"));
  EXPECT_THAT(Refusal(PickleOf(Good())), HasSubstr("magic number"));
}

// A wrong checksum stopped the scanner, not torch.
TEST(Cve, Cve2025_10156_WrongChecksums) {
  std::vector<Member> members = Members(Good());
  members[0].crc = 0x12345678;
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("CRC-32"));
  members[0].deflate = true;
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("CRC-32"));
  members = Members(Good());
  members[1].crc = 0x12345678;
  members[1].deflate = true;
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("CRC-32"));
}

// Submodules of a listed module were not on the list: exact names only here.
TEST(Cve, Cve2025_10157_SubmodulesOfKnownModules) {
  for (const auto& [module, name] : std::vector<std::pair<std::string, std::string>>{
           {"asyncio.unix_events", "_UnixSubprocessTransport._start"},
           {"collections.abc", "Callable"},
           {"torch._utils.os", "system"},
           {"torch._utils", "os.system"},
           {"builtins", "eval"},
           {"torch.serialization", "load"},
           {"_codecs", "decode"},
           {"numpy", "core.multiarray.scalar"}}) {
    const std::string value = Dict(Cat(Str("w"), Global(module, name)));
    EXPECT_THAT(Refusal(Archive(value, {})), HasSubstr("refuses"));
  }
}

// SETITEM on what is no dict, and storages shorter than the pickle says: memory corruption in
// torch's restricted unpickler.
TEST(Cve, Cve2026_24747_SetItemOnOtherObjects) {
  const std::string tensor = Vector("CharStorage", "0", 4);
  for (const std::string& target :
       {tensor, std::string("]"), Int(3), Str("s"), std::string(")"), Global("torch", "Size")}) {
    const std::string one = Cat(target, Str("k"), Int(1), "s");
    EXPECT_THAT(Refusal(Archive(Dict(Cat(Str("w"), one)), {{"0", kData}})),
                AllOf(HasSubstr("SETITEM"), HasSubstr("only a dict")));
    const std::string many = Cat(target, "(", Str("k"), Int(1), "u");
    EXPECT_THAT(Refusal(Archive(Dict(Cat(Str("w"), many)), {{"0", kData}})),
                AllOf(HasSubstr("SETITEMS"), HasSubstr("only a dict")));
  }
}
TEST(Cve, Cve2026_24747_StoragesOfAnotherSize) {
  for (const int64_t claimed : {3, 5, 1 << 20}) {
    const std::string value = Dict(Cat(Str("w"), Vector("CharStorage", "0", claimed)));
    EXPECT_THAT(Refusal(Archive(value, {{"0", kData}})), HasSubstr("tensor \"w\""));
    EXPECT_THAT(Refusal(Legacy(value, {{"0", 4, kData}})), HasSubstr("tensor \"w\""));
  }
}

// What a few bytes can be blown up to.
TEST(Bombs, SharedListsAreNotMultiplied) {
  // l0 = [x]; l1 = [l0, l0 ...]; ... : 60 levels of 10 references are 10^60 leaves, 61 lists here.
  std::string value = "](K\1eq\1";
  for (int level = 0; level < 60; ++level) {
    value += Cat("0](",
                 "h\1"
                 "h\1h\1h\1h\1h\1h\1h\1h\1h\1"
                 "eq\1");
  }
  EXPECT_THAT(Refusal(Archive(value, {})), HasSubstr("a state dict"));
  std::string nested = Cat(Good(), "q\1");
  for (int level = 0; level < 60; ++level) {
    nested += Cat("0}(", Str("a"), "h\1", Str("b"), "h\1", "uq\1");
  }
  EXPECT_THAT(Refusal(Archive(nested, {{"0", kData}})), HasSubstr("twice"));
}

TEST(Bombs, CopiesOfAListAreCounted) {
  std::string list = "](";
  for (int i = 0; i < 5000; ++i) list += "K\1";
  list += "eq\1";
  std::string value = Cat(list, "0", Global("builtins", "set"), "q\2", "0](");
  for (int i = 0; i < 5000; ++i) value += "h\2h\1\x85R";
  value += "e";
  EXPECT_THAT(Refusal(Archive(value, {})), HasSubstr("multiplies its own values"));
}

TEST(Bombs, DictsInThemselvesAndDeepNesting) {
  EXPECT_THAT(
      Refusal(Archive(Cat("}q\1(", Str("w"), Vector("CharStorage", "0", 4), Str("self"), "h\1u"),
                      {{"0", kData}})),
      HasSubstr("twice"));
  const size_t depth = 200'000;
  EXPECT_THAT(Refusal(Archive(std::string(depth, ']') + std::string(depth - 1, 'a'), {})),
              HasSubstr("a state dict"));
  EXPECT_THAT(Refusal(Archive(std::string(depth, '('), {})), HasSubstr("marks"));
}

TEST(Bombs, HugeClaimsAllocateNothing) {
  EXPECT_THAT(Refusal(Archive(Cat("\x8b", Bytes(0x7fffffff, 4)), {})), HasSubstr("LONG4"));
  EXPECT_THAT(Refusal(Archive(Cat("\x8d", Bytes(1ull << 62, 8)), {})), HasSubstr("BINUNICODE8"));
  std::vector<Member> members = Members(Good());
  members[0].deflate = true;
  members[0].claimed_size = 3'750'000'000;
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("can hold"));
  // Within what deflate can do, but more than an archive of this size may unpickle.
  members[0].data = std::string(8 << 20, '0');
  members[0].claimed_size = {};
  EXPECT_THAT(Refusal(Zip(members)), HasSubstr("at most"));
}

TEST(Bombs, AMemoEntryForEveryByte) {
  const std::string memo(1 << 20, '\x94');
  SMELT_EXPECT_OK(ReadArchive(Archive(Cat("}", memo, "0", Good()), {{"0", kData}})));
}

TEST(ZipStrictness, EveryFieldThatTheHeadersShare) {
  const std::string good = Zip(Members(Good()));
  const size_t local = good.rfind("PK\3\4"), entry = good.rfind("PK\1\2");
  // Flags, method, CRC, both sizes, lengths of name and extra field; then the name's first letter.
  for (const size_t field : {6, 8, 14, 18, 22, 26, 28, 30}) {
    for (const auto& [header, shift] : {std::pair(local, 0), std::pair(entry, 2)}) {
      std::string lying = good;
      lying[header + field + shift + (header == entry && field == 30 ? 14 : 0)] ^= 1;
      EXPECT_FALSE(ReadArchive(lying).ok())
          << field << " of " << (header == local ? "local" : "directory");
    }
  }
}

TEST(ZipStrictness, JunkInFrontAndCaseOfNames) {
  EXPECT_FALSE(ReadArchive("MZ" + Zip(Members(Good()))).ok());
  EXPECT_THAT(Refusal("PK\3\4" + Zip(Members(Good()))), HasSubstr("zip archive"));
  std::vector<Member> members = Members(Good());
  members.push_back({.name = "archive/DATA.PKL", .data = PickleOf(Shell())});  // another name
  members.push_back({.name = "archive/nested.zip", .data = Zip(Members(Shell()))});
  SMELT_EXPECT_OK(ReadArchive(Zip(members)));  // neither is ever looked at
}

TEST(ZipStrictness, WhatTwoReadersCouldReadDifferently) {
  const std::string good = Zip(Members(Good()));
  EXPECT_THAT(Refusal(good + "x"), HasSubstr("appended"));
  EXPECT_THAT(Refusal(good + good), HasSubstr("belong to nothing"));
  EXPECT_THAT(Refusal(Zip(Members(Good()), {.gap = "PK\3\4 hidden"})), HasSubstr("belong to no"));
  std::vector<Member> twice = Members(Good());
  twice.push_back(twice[0]);
  EXPECT_THAT(Refusal(Zip(twice)), HasSubstr("two members are called"));
  for (const std::string name : {"../evil", "a/../../evil", "/etc/passwd", "C:evil", "a\\evil"}) {
    std::vector<Member> members = Members(Good());
    members.push_back({.name = name, .data = "x"});
    EXPECT_THAT(Refusal(Zip(members)), HasSubstr("member name"));
  }
  std::vector<Member> lying = Members(Good());
  lying[1].claimed_size = 3;
  EXPECT_THAT(Refusal(Zip(lying)), HasSubstr("two sizes differ"));
  lying[1].deflate = true;
  EXPECT_THAT(Refusal(Zip(lying)), HasSubstr("more than the size of 3"));
  lying[1].claimed_size = 5;
  EXPECT_THAT(Refusal(Zip(lying)), HasSubstr("inflates to 4 bytes"));
}

}  // namespace
}  // namespace smelt
