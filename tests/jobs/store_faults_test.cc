// A store under faults: each system call that changes something fails in turn, or is the last one
// before the process is killed. Whatever happens, the store is valid: what verify says, and no
// model that was there is gone.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/ollama/store.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "smelt/bundle.h"
#include "smelt/import.h"
#include "smelt/runtime.h"
#include "smelt/set.h"
#include "smelt/store.h"
#include "tests/testing/testing.h"

namespace {

/// Calls so far that change the file system, and what happens at call `at`.
struct Fault {
  std::atomic<bool> armed{false};
  std::atomic<int> calls{0};
  int at = 0;
  int error = 0;  ///< 0: the process is killed before the call
};
Fault fault;

/// Whether this call fails; errno says how.
bool Strikes() {
  if (!fault.armed || ++fault.calls != fault.at) return false;
  if (fault.error == 0) kill(getpid(), SIGKILL);
  errno = fault.error;
  return true;
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// The library's functions of these names are taken by everything in this program.
extern "C" {
ssize_t write(int fd, const void* data, size_t size) {
  static const auto real = Real<ssize_t (*)(int, const void*, size_t)>("write");
  return fd > 2 && Strikes() ? -1 : real(fd, data, size);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  static const auto real = Real<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  return Strikes() ? -1 : real(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off_t at) {
  return pwrite(fd, data, size, at);
}
int fsync(int fd) {
  static const auto real = Real<int (*)(int)>("fsync");
  return Strikes() ? -1 : real(fd);
}
int rename(const char* from, const char* to) {
  static const auto real = Real<int (*)(const char*, const char*)>("rename");
  return Strikes() ? -1 : real(from, to);
}
int unlink(const char* path) {
  static const auto real = Real<int (*)(const char*)>("unlink");
  return Strikes() ? -1 : real(path);
}
int rmdir(const char* path) {
  static const auto real = Real<int (*)(const char*)>("rmdir");
  return Strikes() ? -1 : real(path);
}
int mkdir(const char* path, mode_t mode) {
  static const auto real = Real<int (*)(const char*, mode_t)>("mkdir");
  return Strikes() ? -1 : real(path, mode);
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  static const auto real = Real<int (*)(int, const char*, int, const char*, int)>("linkat");
  return Strikes() ? -1 : real(from_folder, from, to_folder, to, flags);
}
int fallocate(int fd, int mode, off_t at, off_t size) {
  static const auto real = Real<int (*)(int, int, off_t, off_t)>("fallocate");
  return Strikes() ? -1 : real(fd, mode, at, size);
}
int fallocate64(int fd, int mode, off_t at, off_t size) { return fallocate(fd, mode, at, size); }
int mkostemp(char* name, int flags) {
  static const auto real = Real<int (*)(char*, int)>("mkostemp");
  return Strikes() ? -1 : real(name, flags);
}
int mkostemp64(char* name, int flags) { return mkostemp(name, flags); }
}

namespace smelt {
namespace {

namespace fs = std::filesystem;
using testing::ReadFile;
using testing::TempDir;
using testing::TestdataPath;
using testing::WriteFile;

absl::Status ImportIt(const TempDir& dir, const std::string& source, const std::string& name) {
  ImportOptions options;
  options.source = dir / source;
  options.name = name;
  options.store = dir / "store";
  options.modelfile = dir / "Modelfile";
  return Import(options).status();
}

/// A store with the models "one" and "two" that share their weights, files to import, a bundle.
void Prepare(const TempDir& dir) {
  for (const char* name : {"tiny-q8_0.gguf", "tiny-f16.gguf"})
    fs::copy_file(TestdataPath(std::string("ollama/gguf/") + name), dir / name);
  chmod((dir / "tiny-f16.gguf").c_str(), 0600);  // copied; the other may be linked
  WriteFile(dir / "Modelfile", "FROM tiny-q8_0.gguf\nSYSTEM one\nPARAMETER top_k 3\n");
  SMELT_ASSERT_OK(ImportIt(dir, "tiny-q8_0.gguf", "one"));
  WriteFile(dir / "Modelfile", "FROM tiny-q8_0.gguf\nSYSTEM two\n");
  SMELT_ASSERT_OK(ImportIt(dir, "tiny-q8_0.gguf", "two"));
  SMELT_ASSERT_OK(
      ExportStored({.names = {"one", "two"}, .store = dir / "store", .output = dir / "b.tar.zst"}));
  WriteFile(dir / "Modelfile", "FROM tiny-f16.gguf\nTEMPLATE {{ .Prompt }}\nLICENSE MIT\n");
}

/// Runs `work` in a process of its own in which call number `at` fails or kills; how many calls
/// there were, or -1 when it was killed. `status`: what the work returned.
int InChild(const std::function<absl::Status()>& work, int at, int error, bool* ok) {
  int pipe_ends[2];
  EXPECT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    UseThreads(1);
    fault.at = at;
    fault.error = error;
    fault.armed = true;
    const bool done = work().ok();
    fault.armed = false;
    const int result[2] = {fault.calls, done ? 1 : 0};
    if (::write(pipe_ends[1], result, sizeof(result)) != sizeof(result)) _exit(2);
    _exit(0);
  }
  close(pipe_ends[1]);
  int result[2] = {-1, 0}, status = 0;
  const bool told = read(pipe_ends[0], result, sizeof(result)) == sizeof(result);
  close(pipe_ends[0]);
  waitpid(child, &status, 0);
  EXPECT_TRUE(told || WIFSIGNALED(status)) << "call " << at;
  *ok = told && result[1] == 1;
  return told ? result[0] : -1;
}

/// For other programs to judge: each different state of a store, in the folder SMELT_KEEP_STORES.
void Keep(const std::string& store) {
  const char* kept = std::getenv("SMELT_KEEP_STORES");
  if (kept == nullptr || *kept == '\0') return;
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(store)) {
    if (!entry.is_regular_file()) continue;
    const std::string content = ReadFile(entry.path().string());
    std::string name = fs::relative(entry.path(), store).string();
    if (const size_t part = name.find("/part-"); part != name.npos) name.resize(part);
    files.push_back(Cat(name, " ", Sha256Hex(std::as_bytes(std::span(content)))));
  }
  std::ranges::sort(files);
  std::string all;
  for (const std::string& file : files) all += file + "\n";
  const fs::path to = fs::path(kept) / Sha256Hex(std::as_bytes(std::span(all))).substr(0, 16);
  if (!fs::exists(to)) fs::copy(store, to, fs::copy_options::recursive);
}

/// No manifest whose blobs are missing or wrong, and the models of before are there.
void ExpectValid(const TempDir& dir, const std::vector<std::string>& models, int at) {
  VerifyOptions options;
  options.store = dir / "store";
  const auto verified = VerifyStore(options);
  SMELT_ASSERT_OK(verified);
  EXPECT_TRUE(verified->sound()) << "call " << at << ": " << verified->problems.front().what;
  for (const std::string& name : models) SMELT_EXPECT_OK(ShowStored(name, dir / "store"));
  EXPECT_TRUE(ollama::ListManifests(dir / "store").strays.empty());
  Keep(dir / "store");
}

/// `work` with each of its calls failing in turn (two ways) and with a kill before each; then once
/// more without a fault, which must succeed.
void Torture(const std::function<absl::Status(const TempDir&)>& work,
             const std::vector<std::string>& kept, const std::vector<std::string>& made) {
  size_t failed = 0, killed = 0;
  for (const int error : {ENOSPC, EIO, 0}) {
    for (int at = 1;; ++at) {
      const TempDir dir;
      ASSERT_NO_FATAL_FAILURE(Prepare(dir));
      bool ok = false;
      const int calls = InChild([&] { return work(dir); }, at, error, &ok);
      ASSERT_NO_FATAL_FAILURE(ExpectValid(dir, kept, at));
      if (ok) {
        ASSERT_NO_FATAL_FAILURE(ExpectValid(dir, made, at));
      }
      failed += calls >= at && !ok ? 1 : 0;
      killed += calls < 0 ? 1 : 0;
      if (calls >= 0 && calls < at) break;  // the fault came too late: all calls had their turn
      ASSERT_NO_FATAL_FAILURE(EXPECT_TRUE(InChild([&] { return work(dir); }, 0, 0, &ok) > 0 && ok)
                              << "call " << at);
      ASSERT_NO_FATAL_FAILURE(ExpectValid(dir, made, at));
    }
  }
  EXPECT_GT(failed, 5u);
  EXPECT_GT(killed, 5u);
}

TEST(StoreFaults, ImportByCopy) {
  Torture([](const TempDir& dir) { return ImportIt(dir, "tiny-f16.gguf", "new"); }, {"one", "two"},
          {"one", "two", "new"});
}

TEST(StoreFaults, ImportByLinkOverAnotherModel) {
  Torture([](const TempDir& dir) { return ImportIt(dir, "tiny-q8_0.gguf", "one"); }, {"one", "two"},
          {"one", "two"});
}

TEST(StoreFaults, Bundle) {
  Torture(
      [](const TempDir& dir) {
        fs::create_directories(dir / "store");
        return ImportBundle({.bundle = dir / "b.tar.zst", .name = {}, .store = dir / "store"})
            .status();
      },
      {"one", "two"}, {"one", "two"});
}

TEST(StoreFaults, ABundleIntoAnEmptyStore) {
  Torture(
      [](const TempDir& dir) {
        const std::string other = dir / "other";
        const auto result =
            ImportBundle({.bundle = dir / "b.tar.zst", .name = {}, .store = other}).status();
        VerifyOptions options;
        options.store = other;
        if (result.ok() && !VerifyStore(options)->sound()) return absl::DataLossError("not sound");
        return result;
      },
      {"one", "two"}, {"one", "two"});
}

TEST(StoreFaults, ExportCopyAndRemove) {
  Torture(
      [](const TempDir& dir) {
        const std::string store = dir / "store";
        absl::Status status = CopyStored("one", "three", store);
        if (status.ok())
          status =
              ExportStored(
                  {.names = {"one"}, .store = store, .output = dir / "o.tar.zst", .force = true})
                  .status();
        if (status.ok()) status = RemoveStored({"three"}, store);
        return status;
      },
      {"one", "two"}, {"one", "two"});
}

/// After any fault the file is the old or the new one, or a journal finishes it.
TEST(StoreFaults, Set) {
  for (const char* value : {"general.name=n", "general.description=longer than what is there"}) {
    const SetOptions options{.file = {}, .edits = {ParseMetadataEdit(value).value()}};
    std::string before, after;
    for (const int error : {ENOSPC, EIO, 0}) {
      for (int at = 0;; ++at) {
        const TempDir dir;
        SetOptions here = options;
        here.file = dir / "m.gguf";
        fs::copy_file(TestdataPath("ollama/gguf/tiny-f16.gguf"), here.file);
        before = ReadFile(here.file);
        bool ok = false;
        const int calls = InChild([&] { return SetMetadata(here).status(); }, at, error, &ok);
        if (at == 0) {
          ASSERT_TRUE(ok);
          after = ReadFile(here.file);
          continue;
        }
        const bool journal = fs::exists(here.file + ".set-journal");
        if (!journal) {
          const std::string now = ReadFile(here.file);
          EXPECT_TRUE(now == before || now == after) << value << ", call " << at;
        }
        SMELT_EXPECT_OK(SetMetadata(here));
        EXPECT_EQ(ReadFile(here.file), after) << value << ", call " << at;
        EXPECT_FALSE(fs::exists(here.file + ".set-journal"));
        if (calls >= 0 && calls < at) break;
      }
    }
  }
}

/// Two imports of different models over the same name, at once, many times.
TEST(StoreFaults, TwoImportsAtOnce) {
  for (int round = 0; round < 20; ++round) {
    const TempDir dir;
    ASSERT_NO_FATAL_FAILURE(Prepare(dir));
    const pid_t child = fork();
    const auto work = [&](const char* source) {
      UseThreads(1);
      bool ok = true;
      for (int i = 0; i < 5; ++i) {
        const absl::Status imported = ImportIt(dir, source, i % 2 == 0 ? "one" : "both");
        if (imported.ok()) continue;
        ok = false;
        std::fprintf(stderr, "%s\n", std::string(imported.message()).c_str());
      }
      return ok;
    };
    if (child == 0) _exit(work("tiny-f16.gguf") ? 0 : 1);
    EXPECT_TRUE(work("tiny-q8_0.gguf"));
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    ASSERT_NO_FATAL_FAILURE(ExpectValid(dir, {"one", "two", "both"}, 0));
  }
}

}  // namespace
}  // namespace smelt
