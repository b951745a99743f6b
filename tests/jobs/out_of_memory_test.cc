// Every job with every allocation failing in turn, on whatever thread: it ends with a sentence or
// does without, leaves no file open, and the next run works.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <new>
#include <set>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "smelt/families.h"
#include "smelt/generate.h"
#include "smelt/import.h"
#include "smelt/inspect.h"
#include "smelt/runtime.h"
#include "smelt/tokenize.h"
#include "smelt/vocabulary.h"
#include "tests/testing/conversions.h"
#include "tests/testing/sanitized.h"
#include "tests/testing/testing.h"

namespace {

/// Allocations until one fails; all after it fail too when `for_good`.
std::atomic<bool> armed{false}, for_good{false};
bool arm_calls = false;
std::atomic<int64_t> until_failure{0};

bool Fails() {
  if (!armed.load(std::memory_order_relaxed)) return false;
  const int64_t left = until_failure.fetch_sub(1) - 1;
  return for_good ? left <= 0 : left == 0;
}

}  // namespace

#if SMELT_SANITIZED
// The sanitizers have an allocator of their own; C++'s part of it can be replaced.
void* operator new(size_t size) {
  void* const memory = Fails() ? nullptr : std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return Fails() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
#else
// What C++ and every library allocate, and mappings of files.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) {
  if (!Fails()) return __libc_malloc(size);
  errno = ENOMEM;
  return nullptr;
}
void* calloc(size_t count, size_t size) {
  if (!Fails()) return __libc_calloc(count, size);
  errno = ENOMEM;
  return nullptr;
}
void* realloc(void* memory, size_t size) {
  if (!Fails()) return __libc_realloc(memory, size);
  errno = ENOMEM;
  return nullptr;
}
void* aligned_alloc(size_t alignment, size_t size) {
  if (!Fails()) return __libc_memalign(alignment, size);
  errno = ENOMEM;
  return nullptr;
}
int posix_memalign(void** memory, size_t alignment, size_t size) {
  *memory = Fails() ? nullptr : __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  if (!Fails()) {
    return reinterpret_cast<void*>(
        syscall(SYS_mmap, address, length, protection, flags, fd, offset));
  }
  errno = ENOMEM;
  return MAP_FAILED;
}
}
#endif

namespace smelt {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;
using testing::TestdataPath;

size_t OpenFiles() {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

/// One job on small inputs. Its result as a text, to be compared between runs.
struct Job {
  std::string name;
  std::function<absl::StatusOr<std::string>(const std::string& folder)> run;
  bool writes = false;  ///< FOLDER/out.gguf
};

/// What a call into the library gives, as a text. Only its own allocations fail.
template <typename Call, typename Tell>
absl::StatusOr<std::string> Told(const Call& call, const Tell& tell) {
  armed = arm_calls;
  const auto result = call();
  armed = false;
  if (!result.ok()) return result.status();
  return std::string(tell(*result));
}

std::string TinyGguf() { return TestdataPath("ollama/gguf/tiny-f16.gguf"); }

ConvertOptions ToOut(const std::string& source, const std::string& folder, const char* type) {
  ConvertOptions options = testing::Conversion(source, folder + "/out.gguf", type);
  options.force = true;
  return options;
}

absl::StatusOr<std::string> RunConvert(const ConvertOptions& options) {
  return Told([&] { return Convert(options); },
              [&](const ConvertResult&) { return std::string("written"); });
}

/// Texts of ids and of one id, by a tokenizer that is open already.
absl::StatusOr<std::string> RunDecode() {
  static const absl::StatusOr<TextTokenizer> tokenizer =
      TextTokenizer::Open(TestdataPath("models/llama"));
  if (!tokenizer.ok()) return tokenizer.status();
  static const auto ids = tokenizer->Encode("a text that is longer than what a string holds alone");
  if (!ids.ok()) return ids.status();
  const auto itself = [](const std::string& text) { return text; };
  const auto text = Told([&] { return tokenizer->Decode(*ids); }, itself);
  if (!text.ok()) return text;
  const auto piece = Told([&] { return tokenizer->Piece((*ids)[1]); }, itself);
  if (!piece.ok()) return piece;
  return *text + "|" + *piece;
}

/// The state of a generator that is open already.
absl::StatusOr<std::string> RunSave() {
  static const auto generator = Generator::Open({.model = TestdataPath("models/jamba")});
  if (!generator.ok()) return generator.status();
  if ((*generator)->positions() == 0) {
    const absl::Status fed = (*generator)->Feed(std::vector<int32_t>{5, 9, 31});
    if (!fed.ok()) return fed;
  }
  return Told([&] { return (*generator)->Save(); },
              [](const GeneratorState& state) { return std::to_string(state.positions()); });
}

std::vector<Job> Jobs() {
  std::vector<Job> jobs;
  jobs.push_back({"Convert",
                  [](const std::string& folder) {
                    return RunConvert(ToOut(TestdataPath("models/llama"), folder, "q4_k_m"));
                  },
                  true});
  jobs.push_back({"ConvertArchive",
                  [](const std::string& folder) {
                    ConvertOptions o = ToOut(TestdataPath("models/llama-pt"), folder, "q8_0");
                    o.validate = Validate::kOff;
                    return RunConvert(o);
                  },
                  true});
  jobs.push_back({"Quantize",
                  [](const std::string& folder) {
                    ConvertOptions o = ToOut(folder + "/in.gguf", folder, "q8_0");
                    o.tensor_types = {{"ffn_down", "q4_0"}};
                    return RunConvert(o);
                  },
                  true});
  jobs.push_back({"ConvertVocabulary",
                  [](const std::string& folder) {
                    VocabularyRequest request;
                    request.source = TestdataPath("models/llama-spm");
                    request.output = folder + "/out.gguf";
                    request.force = true;
                    return Told([&] { return ConvertVocabulary(request); },
                                [](const VocabularyResult&) { return std::string("written"); });
                  },
                  true});
  jobs.push_back({"Evaluate", [](const std::string& folder) {
                    EvaluateOptions o;
                    o.model = o.reference = TinyGguf();
                    o.tokens_file = folder + "/ids.json";
                    o.context = 16;
                    return Told([&] { return Evaluate(o); },
                                [](const EvaluateResult& r) { return std::to_string(r.mean_nll); });
                  }});
  jobs.push_back({"EvaluateStateSpace", [](const std::string& folder) {
                    EvaluateOptions o;
                    o.model = TestdataPath("models/jamba");
                    o.tokens_file = folder + "/ids.json";
                    o.context = 64;
                    o.q8_activations = true;
                    return Told([&] { return Evaluate(o); },
                                [](const EvaluateResult& r) { return std::to_string(r.mean_nll); });
                  }});
  jobs.push_back({"Generate", [](const std::string&) {
                    GenerateOptions o;
                    o.model = TestdataPath("models/llama");
                    o.prompt = "It was the best of times";
                    o.max_tokens = 4;
                    o.temperature = 0;
                    return Told([&] { return Generate(o); },
                                [](const GenerateResult& r) { return r.text; });
                  }});
  jobs.push_back({"Inspect", [](const std::string&) {
                    InspectOptions o;
                    o.path = TestdataPath("models/llama");
                    o.recipes = true;
                    return Told(
                        [&] { return Inspect(o); },
                        [](const InspectResult& r) { return std::to_string(r.tensors.size()); });
                  }});
  jobs.push_back({"Tokenize", [](const std::string&) -> absl::StatusOr<std::string> {
                    const std::string model = TestdataPath("models/llama");
                    const auto encode = [&]() -> absl::StatusOr<std::vector<int32_t>> {
                      const auto tokenizer = TextTokenizer::Open(model);
                      if (!tokenizer.ok()) return tokenizer.status();
                      return tokenizer->Encode("Don't 123 \xc3\xa9t\xc3\xa9");
                    };
                    return Told(encode, [](const std::vector<int32_t>& ids) {
                      std::string text;
                      for (const int32_t id : ids) text += std::to_string(id) + " ";
                      return text;
                    });
                  }});
  jobs.push_back({"Decode", [](const std::string&) { return RunDecode(); }});
  jobs.push_back({"SaveState", [](const std::string&) { return RunSave(); }});
  jobs.push_back({"Families", [](const std::string&) {
                    return Told(Families, [](const std::vector<PublishedFamily>& families) {
                      std::string text;
                      for (const PublishedFamily& f : families) text += f.model_type + " ";
                      return text;
                    });
                  }});
  jobs.push_back({"Import", [](const std::string& folder) {
                    ImportOptions o;
                    o.source = TinyGguf();
                    o.name = "tiny";
                    o.store = folder + "/store";
                    return Told([&] { return Import(o); },
                                [](const ImportResult& r) { return r.digest; });
                  }});
  return jobs;
}

class OutOfMemory : public ::testing::TestWithParam<Job> {
 protected:
  void SetUp() override {
    UseThreads(2);
    std::string ids = "[1";
    for (int i = 1; i < 130; ++i) ids += "," + std::to_string(3 + i % 40);
    testing::WriteFile(dir_ / "ids.json", ids + "]");
    ConvertOptions in = ToOut(TestdataPath("models/llama"), dir_.path(), "f16");
    in.output = dir_ / "in.gguf";
    in.validate = Validate::kOff;
    SMELT_ASSERT_OK(Convert(in));
    expected_ = Run();  // what a process keeps is made here
    SMELT_ASSERT_OK(expected_);
    ASSERT_GT(*(expected_ = Run()), "");
    if (GetParam().writes) output_ = testing::ReadFile(dir_ / "out.gguf");
    files_ = OpenFiles();
  }
  void TearDown() override { UseThreads(0); }

  absl::StatusOr<std::string> Run() { return GetParam().run(dir_.path()); }

  /// The job with the n-th allocation failing; whether that many were made.
  bool FailAt(int64_t n, bool always) {
    until_failure = n;
    for_good = always;
    arm_calls = true;
    const absl::StatusOr<std::string> result = Run();
    arm_calls = false;
    const bool failed = until_failure <= 0;
    EXPECT_EQ(OpenFiles(), files_) << "at allocation " << n;
    if (result.ok()) {
      EXPECT_EQ(*result, *expected_) << "at allocation " << n;
      CheckOutput(n);
    } else {
      EXPECT_TRUE(failed) << result.status();
      EXPECT_EQ(CodeOf(result.status()), ErrorCode::kOutOfMemory)
          << "at allocation " << n << ": " << result.status();
    }
    return failed;
  }

  void CheckOutput(int64_t n) {
    if (!GetParam().writes) return;
    EXPECT_TRUE(testing::ReadFile(dir_ / "out.gguf") == output_) << "at allocation " << n;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      const std::string name = entry.path().filename();
      EXPECT_TRUE(name == "out.gguf" || name == "in.gguf" || name == "ids.json")
          << name << " is left";
    }
  }

  void NextRunWorks(int64_t n) {
    const absl::StatusOr<std::string> result = Run();
    SMELT_ASSERT_OK(result) << "after allocation " << n;
    EXPECT_EQ(*result, *expected_);
    CheckOutput(n);
  }

  int64_t Allocations() {
    until_failure = INT64_MAX;
    arm_calls = true;
    const absl::StatusOr<std::string> result = Run();
    arm_calls = false;
    SMELT_EXPECT_OK(result);
    return INT64_MAX - until_failure;
  }

  TempDir dir_;
  absl::StatusOr<std::string> expected_;
  std::string output_;
  size_t files_ = 0;
};

/// Places of [1, count]: every one where there are few, else the first ones and some of each part.
std::vector<int64_t> Places(int64_t count, int64_t wanted) {
  std::set<int64_t> places;
  for (int64_t i = 1; i <= std::min(count, wanted / 4); ++i) places.insert(i);
  for (int64_t i = 0; i < wanted; ++i)
    places.insert(1 + i * (count - 1) / std::max<int64_t>(1, wanted - 1));
  return {places.begin(), places.end()};
}

int64_t Wanted() {
  const char* wanted = std::getenv("SMELT_ALLOCATION_FAILURES");  // of each job; more is slower
  return wanted == nullptr ? 60 : std::max(1, std::atoi(wanted));
}

TEST_P(OutOfMemory, OneAllocationFails) {
  const int64_t count = Allocations();
  for (const int64_t n : Places(count, Wanted())) {
    FailAt(n, false);
    if (HasFailure()) return;
  }
  NextRunWorks(count);
}

TEST_P(OutOfMemory, AllAllocationsFailFromOneOn) {
  const int64_t count = Allocations();
  for (const int64_t n : Places(count, Wanted())) {
    FailAt(n, true);
    if (HasFailure()) return;
    if (n % 7 == 0) NextRunWorks(n);
  }
  NextRunWorks(count);
}

INSTANTIATE_TEST_SUITE_P(Jobs, OutOfMemory, ::testing::ValuesIn(Jobs()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace smelt
