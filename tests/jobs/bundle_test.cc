#include "smelt/bundle.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/ollama/seekable_zstd.h"
#include "formats/ollama/store.h"
#include "formats/ollama/tar.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "smelt/import.h"
#include "smelt/store.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ReadFile;
using testing::TempDir;
using testing::TestdataPath;
using ::testing::UnorderedElementsAre;
using testing::WriteFile;

constexpr char kName[] = "manifests/registry.ollama.ai/library/m/latest";

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

struct File {
  std::string path, content;
  char type = '0';
};

std::string Tar(const std::vector<File>& files) {
  std::string out;
  for (const File& file : files) {
    auto header = ollama::TarHeader(file.path, file.content.size()).value();
    const int change = file.type - '0';
    header[156] = static_cast<std::byte>(file.type);
    unsigned sum = std::stoul(std::string(reinterpret_cast<char*>(&header[148]), 6), nullptr, 8);
    snprintf(reinterpret_cast<char*>(&header[148]), 7, "%06o",
             static_cast<unsigned>(static_cast<int>(sum) + change));
    out.append(reinterpret_cast<const char*>(header.data()), header.size());
    out += file.content + std::string(ollama::TarPadding(file.content.size()), '\0');
  }
  return out + std::string(ollama::kTarEnd, '\0');
}

std::string Zstd(const std::string& content) {
  std::string out;
  ollama::SeekableZstdWriter writer([&](std::span<const std::byte> bytes) {
    out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return absl::OkStatus();
  });
  SMELT_EXPECT_OK(writer.Write(Bytes(content)));
  SMELT_EXPECT_OK(writer.Finish());
  return out;
}

std::string Digest(const std::string& content) { return Sha256Hex(Bytes(content)); }
File Blob(const std::string& content) { return {"blobs/sha256-" + Digest(content), content}; }
std::string Layer(const std::string& content, const std::string& type = "license") {
  return Cat(R"({"mediaType":"application/vnd.ollama.image.)", type, R"(","digest":"sha256:)",
             Digest(content), R"(","size":)", content.size(), "}");
}
File Manifest(const std::vector<std::string>& contents, const std::string& path = kName) {
  std::string layers;
  for (const std::string& content : contents)
    layers += (layers.empty() ? "" : ",") + Layer(content);
  return {path, R"({"schemaVersion":2,"layers":[)" + layers + "]}\n"};
}

/// Content that zstd cannot make smaller.
std::string Noise(size_t size) {
  std::string out(size, '\0');
  uint64_t state = 88172645463325252u;
  for (char& c : out) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    c = static_cast<char>(state >> 32);
  }
  return out;
}

class Bundle : public ::testing::Test {
 protected:
  Bundle() {
    fs::copy_file(TestdataPath("ollama/gguf/tiny-q8_0.gguf"), dir_ / "m.gguf");
    Make("one", "FROM m.gguf\nSYSTEM one\n");
    Make("me/two:T", "FROM m.gguf\nTEMPLATE {{ .Prompt }}\nLICENSE MIT\n");
  }
  void Make(const std::string& name, const std::string& modelfile) {
    WriteFile(dir_ / "Modelfile", modelfile);
    ImportOptions options;
    options.name = name;
    options.store = dir_ / "store";
    options.modelfile = dir_ / "Modelfile";
    SMELT_EXPECT_OK(Import(options));
  }
  absl::StatusOr<ExportResult> Export(const std::vector<std::string>& names,
                                      const std::string& output, bool force = false) {
    return ExportStored(
        {.names = names, .store = dir_ / "store", .output = dir_ / output, .force = force});
  }
  absl::StatusOr<BundleResult> Take(const std::string& bundle, const std::string& name = "") {
    return ImportBundle({.bundle = dir_ / bundle, .name = name, .store = dir_ / "other"});
  }
  absl::StatusOr<BundleResult> TakeBytes(const std::string& bundle) {
    WriteFile(dir_ / "made.tar.zst", bundle);
    return Take("made.tar.zst");
  }
  void ExpectSound(const std::string& store, uint64_t models) {
    VerifyOptions options;
    options.store = dir_ / store;
    const auto result = VerifyStore(options);
    SMELT_ASSERT_OK(result);
    EXPECT_TRUE(result->sound());
    EXPECT_EQ(result->models, models);
    EXPECT_TRUE(result->orphans.empty());
    EXPECT_FALSE(fs::exists(dir_ / (store + "/smelt-staging")));
  }
  std::string ManifestText(const std::string& store, const std::string& path) {
    return ReadFile(dir_ / (store + "/manifests/registry.ollama.ai/" + path));
  }

  TempDir dir_;
};

TEST_F(Bundle, GoesRound) {
  const auto out = Export({"one", "ME/TWO:t"}, "b.tar.zst");
  SMELT_ASSERT_OK(out);
  EXPECT_EQ(out->kind, "bundle");
  EXPECT_THAT(out->names, ElementsAre("one:latest", "me/two:T"));
  EXPECT_EQ(out->blobs, 6u);  // weights once, system, template, licence, two configurations
  SMELT_ASSERT_OK(Export({"one", "me/two:T"}, "again.tar.zst"));
  EXPECT_EQ(ReadFile(dir_ / "b.tar.zst"), ReadFile(dir_ / "again.tar.zst"));
  EXPECT_EQ(CodeOf(Export({"one"}, "b.tar.zst").status()), ErrorCode::kAlreadyExists);

  const auto in = Take("b.tar.zst");
  SMELT_ASSERT_OK(in);
  EXPECT_THAT(in->names, ElementsAre("one:latest", "me/two:T"));
  EXPECT_EQ(in->blobs, 6u);
  EXPECT_EQ(in->present, 0u);
  ExpectSound("other", 2);
  for (const char* path : {"library/one/latest", "me/two/T"})
    EXPECT_EQ(ManifestText("store", path), ManifestText("other", path));
  const auto again = Take("b.tar.zst");
  SMELT_ASSERT_OK(again);
  EXPECT_EQ(again->present, 6u);
  ExpectSound("other", 2);

  EXPECT_EQ(CodeOf(Take("b.tar.zst", "three").status()), ErrorCode::kUsage);
  SMELT_ASSERT_OK(Export({"one"}, "b.tar.zst", /*force=*/true));
  SMELT_ASSERT_OK(Take("b.tar.zst", "three"));
  ExpectSound("other", 3);
}

TEST_F(Bundle, FilesAndFolders) {
  const auto gguf = Export({"one"}, "out.gguf");
  SMELT_ASSERT_OK(gguf);
  EXPECT_EQ(gguf->kind, "gguf");
  EXPECT_EQ(ReadFile(dir_ / "out.gguf"), ReadFile(dir_ / "m.gguf"));
  EXPECT_EQ(CodeOf(Export({"one", "me/two:T"}, "two.gguf").status()), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(Export({"none"}, "two.gguf").status()), ErrorCode::kNotFound);
  WriteFile(dir_ / "rest.gguf.part", ReadFile(dir_ / "m.gguf").substr(0, 5000));  // goes on
  SMELT_ASSERT_OK(Export({"one"}, "rest.gguf"));
  EXPECT_EQ(ReadFile(dir_ / "rest.gguf"), ReadFile(dir_ / "m.gguf"));
  const auto folder = Export({"me/two:T"}, "folder/");
  SMELT_ASSERT_OK(folder);
  EXPECT_EQ(folder->kind, "store");
  ExpectSound("folder", 1);
  EXPECT_EQ(ManifestText("store", "me/two/T"), ManifestText("folder", "me/two/T"));
}

TEST_F(Bundle, ADamagedBlobIsNotExported) {
  const std::string blob = ollama::ResolveStoreName("one", dir_ / "store").value();
  std::string content = ReadFile(blob);
  content[content.size() / 2] ^= 1;
  chmod(blob.c_str(), 0644);
  fs::remove(blob);  // it may be linked to m.gguf
  WriteFile(blob, content);
  for (const char* output : {"b.tar.zst", "b.gguf", "folder"}) {
    EXPECT_THAT(std::string(Export({"one"}, output).status().message()), HasSubstr("damaged"));
    EXPECT_FALSE(fs::exists(dir_ / output) && fs::is_regular_file(dir_ / output));
  }
  EXPECT_FALSE(fs::exists(dir_ / "folder/manifests"));
}

TEST_F(Bundle, WhatIsNoBundleIsRefusedAndNothingStays) {
  const File good = Blob("good");
  const std::string bundle = Zstd(Tar({good, Manifest({"good"})}));
  const std::pair<std::string, const char*> cases[] = {
      {Zstd(Tar({good, Manifest({"good"}), {"blobs/../../x", "x"}})), "no path of a store"},
      {Zstd(Tar({{"/etc/x", "x"}, good, Manifest({"good"})})), "no path of a store"},
      {Zstd(Tar({good, {"blobs/sha256-" + std::string(64, 'A'), "x"}, Manifest({"good"})})),
       "no path of a store"},
      {Zstd(Tar({good, Manifest({"good"}, "manifests/a/b/c")})), "no path of a store"},
      {Zstd(Tar({good, Manifest({"good"}, "manifests/a/b/../d")})), "no path of a store"},
      {Zstd(Tar({good, Manifest({"good"}, "manifests/a/b/c/d/e")})), "no path of a store"},
      {Zstd(Tar({{good.path, "", '2'}, Manifest({"good"})})), "is a link"},
      {Zstd(Tar({{good.path, "", '1'}, Manifest({"good"})})), "is a link"},
      {Zstd(Tar({{"manifests/../..", "", '5'}, good, Manifest({"good"})})), "no path of a store"},
      {Zstd(Tar({{good.path, "evil"}, Manifest({"good"})})), "another one than its digest says"},
      {Zstd(Tar({good, Manifest({"good", "absent"})})), "which the bundle does not hold"},
      {Zstd(Tar({good, Manifest({"good"}), Manifest({"good"})})), "two manifests"},
      {Zstd(Tar({good, {kName, "{"}})), "made.tar.zst"},
      {Zstd(Tar({good})), "holds no model"},
      {Zstd("no archive at all" + std::string(600, 'x')), "no tar archive"},
      {Zstd(Tar({good, Manifest({"good"})}).substr(0, 1600)), "copied whole"},
      {bundle.substr(0, bundle.size() - 40), "made.tar.zst"},
      {bundle.substr(0, 50), "made.tar.zst"},
      {"PK\3\4", "not compressed by zstd"},
      {"", "not compressed by zstd"},
  };
  for (const auto& [bytes, words] : cases) {
    const absl::Status status = TakeBytes(bytes).status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << words;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_FALSE(fs::exists(dir_ / "other")) << words;
  }
  SMELT_EXPECT_OK(TakeBytes(bundle));
  ExpectSound("other", 1);
}

TEST_F(Bundle, WhatNoModelNamesIsLeftOut) {
  SMELT_ASSERT_OK(TakeBytes(Zstd(Tar({Blob("spare"), Blob("good"), Manifest({"good"})}))));
  ExpectSound("other", 1);
}

/// Stopped in the middle of a blob, and started again: what is there is not written again.
TEST_F(Bundle, AnInterruptedImportGoesOn) {
  const std::string large = Noise(20 << 20);
  const std::string bundle = Zstd(Tar({Blob("small"), Blob(large), Manifest({"small", large})}));
  WriteFile(dir_ / "b.tar.zst", bundle);
  Observer observer;
  bool stop = false;
  observer.progress = [&](const Progress& p) { stop = p.total > 1000 && p.done > (9u << 20); };
  observer.cancelled = [&] { return stop; };
  const BundleOptions options{.bundle = dir_ / "b.tar.zst", .name = {}, .store = dir_ / "other"};
  ASSERT_EQ(CodeOf(ImportBundle(options, observer).status()), ErrorCode::kCancelled);
  const std::string part = dir_ / ("other/smelt-staging/" + Digest(large));
  const auto there = fs::file_size(part);
  EXPECT_GT(there, 8u << 20);
  EXPECT_LT(there, large.size());
  struct stat before, after;
  ASSERT_EQ(stat(part.c_str(), &before), 0);

  // A part whose bytes were lost with the power is noticed, and not used a second time.
  const std::string kept = ReadFile(part);
  WriteFile(part, std::string(kept.size(), '\0'));
  EXPECT_EQ(CodeOf(ImportBundle(options).status()), ErrorCode::kIo);
  EXPECT_FALSE(fs::exists(part));
  fs::create_directories(fs::path(part).parent_path());
  WriteFile(part, kept);
  ASSERT_EQ(stat(part.c_str(), &before), 0);

  const auto result = ImportBundle(options);
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->present, 1u);
  ASSERT_EQ(stat((dir_ / ("other/blobs/sha256-" + Digest(large))).c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  ExpectSound("other", 1);
}

/// Stopped, and started again: the frames that are there are compared, not written again.
TEST_F(Bundle, AnInterruptedExportGoesOn) {
  const std::string large = Noise(40 << 20);
  SMELT_ASSERT_OK(TakeBytes(Zstd(Tar({Blob(large), Manifest({large})}))));
  bool stop = false;
  Observer observer;
  observer.progress = [&](const Progress& p) { stop = p.done > (36u << 20); };
  observer.cancelled = [&] { return stop; };
  const auto export_to = [&](const std::string& name, const Observer& watcher = {}) {
    return ExportStored({.names = {"m"}, .store = dir_ / "other", .output = dir_ / name}, watcher);
  };
  SMELT_ASSERT_OK(export_to("whole.tar.zst"));
  const std::string whole = ReadFile(dir_ / "whole.tar.zst"), part = dir_ / "b.tar.zst.part";
  const auto inode = [](const std::string& path) {
    struct stat info {};
    EXPECT_EQ(stat(path.c_str(), &info), 0);
    return info.st_ino;
  };

  const absl::Status stopped = export_to("b.tar.zst", observer).status();
  ASSERT_EQ(CodeOf(stopped), ErrorCode::kCancelled);
  EXPECT_THAT(std::string(stopped.message()), HasSubstr("b.tar.zst.part keeps what was done"));
  EXPECT_FALSE(fs::exists(dir_ / "b.tar.zst"));
  const std::string begun = ReadFile(part);
  EXPECT_GT(begun.size(), 8u << 20);
  EXPECT_TRUE(whole.starts_with(begun));
  const auto file = inode(part);
  SMELT_ASSERT_OK(export_to("b.tar.zst"));
  EXPECT_EQ(inode(dir_ / "b.tar.zst"), file);
  EXPECT_TRUE(ReadFile(dir_ / "b.tar.zst") == whole);

  // What is left of something else, cut, damaged or too long is not taken over.
  for (const std::string& left :
       {std::string("else"), whole.substr(0, (9 << 20) + 1), whole + "more",
        whole.substr(0, 100) + "?" + whole.substr(101, 10 << 20), std::string(9 << 20, '\0')}) {
    fs::remove(dir_ / "b.tar.zst");
    WriteFile(part, left);
    SMELT_ASSERT_OK(export_to("b.tar.zst"));
    EXPECT_TRUE(ReadFile(dir_ / "b.tar.zst") == whole) << left.size();
    EXPECT_FALSE(fs::exists(part));
  }
}

/// A frame is known by its content, whatever made it.
TEST(SeekableZstd, AFrameThatIsThereIsNotMadeAgain) {
  const std::string content = Noise(9 << 20);
  const std::string file = Zstd(content);
  const auto frame = ollama::ZstdFrameOf(Bytes(content).first(8 << 20), Bytes(file));
  EXPECT_GT(frame, 8u << 20);
  EXPECT_EQ(ollama::ZstdFrameOf(Bytes(content).first(8 << 20), Bytes(file).first(frame - 1)), 0u);
  EXPECT_EQ(ollama::ZstdFrameOf(Bytes(content).first(7 << 20), Bytes(file)), 0u);
  EXPECT_EQ(ollama::ZstdFrameOf(Bytes(content).subspan(1, 8 << 20), Bytes(file)), 0u);
  size_t asked = 0, written = 0;
  ollama::SeekableZstdWriter writer(
      [&](std::span<const std::byte> bytes) {
        written += bytes.size();
        return absl::OkStatus();
      },
      [&](std::span<const std::byte>) -> absl::StatusOr<size_t> {
        return ++asked == 1 ? frame : 0;
      });
  SMELT_ASSERT_OK(writer.Write(Bytes(content)));
  SMELT_ASSERT_OK(writer.Finish());
  EXPECT_EQ(asked, 2u);
  EXPECT_EQ(written, file.size() - frame);
}

/// Content of several frames, read whole, and by jumping.
TEST(SeekableZstd, SkipsByItsTable) {
  const std::string content = Noise(3 << 20) + std::string(16 << 20, 'a') + Noise(7 << 20);
  std::string file = Zstd(content);
  const auto open = [](const std::string& bytes) {
    const auto all = Bytes(bytes);
    return ollama::SeekableZstdReader::Open(
               MemoryStorage("f", std::vector<std::byte>(all.begin(), all.end())))
        .value();
  };
  std::string piece(1000, '\0');
  const auto as_bytes = std::as_writable_bytes(std::span(piece));
  for (const bool table : {true, false}) {
    if (!table) file.back() ^= 1;  // it is a table no more, and zstd passes over it
    auto whole = open(file);
    std::string all(content.size() + 10, '\0');
    ASSERT_EQ(whole.Read(std::as_writable_bytes(std::span(all))).value(), content.size());
    EXPECT_TRUE(content == all.substr(0, content.size()));
    auto reader = open(file);
    size_t at = 0;
    for (size_t skip : {size_t{5}, size_t{1} << 20, size_t{9} << 20, size_t{0}, size_t{8} << 20,
                        size_t{7} << 20}) {
      SMELT_ASSERT_OK(reader.Skip(skip));
      at += skip;
      ASSERT_EQ(reader.Read(as_bytes).value(), piece.size());
      ASSERT_EQ(piece, content.substr(at, piece.size())) << at;
      at += piece.size();
    }
    SMELT_EXPECT_OK(reader.Skip(content.size() - at));
    EXPECT_EQ(CodeOf(reader.Skip(1)), ErrorCode::kInvalidInput);
  }
}

TEST(Tar, LargeFilesAndLongNames) {
  const std::string host(140, 'h'), path = "manifests/" + host + "/library/m/latest";
  ASSERT_FALSE(ollama::TarHeader("manifests/" + std::string(200, 'h') + "/l/m/t", 1).ok());
  for (const uint64_t size : {uint64_t{0}, uint64_t{1} << 33, (uint64_t{1} << 40) + 7}) {
    std::string archive;
    const auto header = ollama::TarHeader(path, size).value();
    archive.append(reinterpret_cast<const char*>(header.data()), header.size());
    const std::string file = Zstd(archive + std::string(ollama::kTarEnd, '\0'));
    auto zstd =
        ollama::SeekableZstdReader::Open(
            MemoryStorage("f", std::vector<std::byte>(Bytes(file).begin(), Bytes(file).end())))
            .value();
    ollama::TarReader reader(zstd);
    const auto entry = reader.Next();
    SMELT_ASSERT_OK(entry);
    EXPECT_EQ((*entry)->path, path);
    EXPECT_EQ((*entry)->size, size);
  }
}

}  // namespace
}  // namespace smelt
