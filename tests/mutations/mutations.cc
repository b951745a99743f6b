// mutations KIND FILE [--drawn NAME] [--keep FOLDER] [--documents FILE] [--probes FILE]: all
// mutants of a file (those that the test draws of testdata/NAME; the documents, one JSON object
// {"id", "text"} a line), each read in a process that may crash, run for 20 s or fill 2 GiB without
// an end of this one. One JSON object a line: the original's, then one for every mutant. FOLDER
// gets the mutants with another result, all of the drawn ones; a line names its "file". The probes,
// a JSON list, are what a GGUF's tokenizer encodes.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "lib/base/json.h"
#include "lib/base/status.h"
#include "tests/mutations/subject.h"
#include "tests/testing/sanitized.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

constexpr unsigned kSeconds = 20;
constexpr rlim_t kBytes = rlim_t{2} << 30;

struct Document {
  std::string id, member, text;
};

std::string List(const std::vector<std::string>& items) {
  std::string out = "[";
  for (const std::string& item : items) out += Cat(out.size() > 1 ? "," : "", JsonQuote(item));
  return out + "]";
}

/// What two results do not have in common, a few lines of it.
std::string Difference(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::string> lines;
  const auto add = [&](const char* sign, const auto& from, const auto& without) {
    size_t added = 0;
    for (const std::string& line : from) {
      if (std::find(without.begin(), without.end(), line) != without.end() || ++added > 4) continue;
      lines.push_back(Cat(sign, line.substr(0, 300)));
    }
  };
  add("-", a, b);
  add("+", b, a);
  return List(lines);
}

class Driver {
 public:
  Driver(std::string kind, std::string file) : kind_(std::move(kind)), file_(std::move(file)) {}

  absl::Status Set(std::string_view option, const char* value) {
    if (option == "--documents") return ReadDocuments(value);
    if (option == "--probes") return ReadProbes(value);
    if (option != "--drawn" && option != "--keep")
      return Error(ErrorCode::kUsage, "unknown option ", option);
    (option == "--drawn" ? drawn_ : keep_) = value;
    return absl::OkStatus();
  }

  absl::Status Run() {
    next_ = static_cast<size_t*>(
        mmap(nullptr, sizeof(size_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    // The child counts in *next_ what it has done; where it ended early, another goes on behind.
    for (bool more = true; more;) {
      std::fflush(stdout);
      const pid_t child = fork();
      if (child < 0) return Error(ErrorCode::kInternal, "fork failed");
      if (child == 0) std::_Exit(Child());
      int status = 0;
      waitpid(child, &status, 0);
      more = !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
      if (!more) break;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
        return Error(ErrorCode::kInvalidInput, "the original is refused");
      std::printf("{\"number\":%zu,\"verdict\":\"crash\",\"signal\":%d}\n", *next_,
                  WIFSIGNALED(status) ? WTERMSIG(status) : 0);
      ++*next_;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadDocuments(const char* path) {
    documents_.emplace();
    const std::string all = ReadFile(path);
    for (size_t at = 0, end; (end = all.find('\n', at)) != std::string::npos; at = end + 1) {
      SMELT_ASSIGN_OR_RETURN(const JsonValue line,
                             ParseJsonValue(std::string_view(all).substr(at, end - at), path));
      documents_->push_back({*line.Find("id")->as_string(), "", *line.Find("text")->as_string()});
    }
    return absl::OkStatus();
  }

  absl::Status ReadProbes(const char* path) {
    SMELT_ASSIGN_OR_RETURN(const JsonValue list, ParseJsonValue(ReadFile(path), path));
    for (const JsonValue& probe : *list.as_array()) probes_.push_back(*probe.as_string());
    return absl::OkStatus();
  }

  int Child() {
#if !SMELT_SANITIZED
    const rlimit limit = {kBytes, kBytes};
    setrlimit(RLIMIT_DATA, &limit);
#endif
    const TempDir work;
    const std::string place = work / "model";  // the folder's name is the model's
    std::filesystem::create_directory(place);
    auto subject = Subject::Make(kind_, file_, place, probes_);
    if (!subject.ok()) {
      std::fprintf(stderr, "%s: %s\n", file_.c_str(), subject.status().ToString().c_str());
      return 1;
    }
    if (*next_ == 0) {
      const Outcome& original = (*subject)->original();
      std::printf("{\"original\":%s,\"ids\":%s,\"probes\":%s}\n", List(original.result).c_str(),
                  List(original.ids).c_str(), List((*subject)->probes()).c_str());
    }
    const Mutants& mutants = (*subject)->mutants();
    const size_t count = documents_ ? documents_->size() : mutants.size();
    for (; *next_ < count; ++*next_) {
      alarm(kSeconds);
      const size_t i = *next_;
      if (!documents_ && !drawn_.empty() && !IsDrawn(kind_, drawn_, mutants.Id(i))) continue;
      Report(**subject, documents_ ? (*documents_)[i]
                                   : Document{mutants.Id(i), mutants.Member(i), mutants.Bytes(i)});
      std::fflush(stdout);
    }
    return 0;
  }

  void Report(const Subject& subject, const Document& document) const {
    const auto start = std::chrono::steady_clock::now();
    const Outcome outcome = subject.Read(document.text);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const Verdict verdict = subject.Judge(outcome, document.member);
    std::printf("{\"id\":%s,\"verdict\":\"%s\",\"ms\":%.0f,\"fingerprint\":\"%s\"",
                JsonQuote(document.id).c_str(), std::string(Name(verdict)).c_str(), seconds * 1e3,
                Fingerprint(outcome.result).c_str());
    if (!outcome.status.ok())
      std::printf(",\"sentence\":%s", JsonQuote(std::string(outcome.status.message())).c_str());
    if (verdict == Verdict::kOther) {
      std::printf(",\"difference\":%s",
                  Difference(subject.original().result, outcome.result).c_str());
    }
    std::printf(",\"ids\":\"%s\"", Fingerprint(outcome.ids).c_str());
    if (!keep_.empty() && (verdict == Verdict::kOther || !drawn_.empty())) {
      const std::string file = Cat(keep_, "/", *next_);
      WriteFile(file, document.text);
      std::printf(",\"file\":%s", JsonQuote(file).c_str());
    }
    std::printf("}\n");
  }

  std::string kind_, file_, drawn_, keep_;
  std::optional<std::vector<Document>> documents_;
  std::vector<std::string> probes_;
  size_t* next_ = nullptr;
};

}  // namespace
}  // namespace smelt::testing

int main(int argc, char** argv) {
  if (argc < 3 || argc % 2 == 0) {
    std::fprintf(stderr, "mutations KIND FILE [--drawn NAME] [--keep FOLDER] [--documents FILE]\n");
    return 2;
  }
  smelt::testing::Driver driver(argv[1], argv[2]);
  absl::Status status;
  for (int i = 3; status.ok() && i < argc; i += 2) status = driver.Set(argv[i], argv[i + 1]);
  if (status.ok()) status = driver.Run();
  if (!status.ok()) std::fprintf(stderr, "%s: %s\n", argv[2], status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
