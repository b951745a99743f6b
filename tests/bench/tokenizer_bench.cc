// Encoding and loading of one tokenizer, timed without the start of a process; driven by
// compare_tokenizers.py.
//
//   tokenizer_bench write FOLDER OUT.gguf   the vocabulary of published files as a GGUF
//   tokenizer_bench serve SOURCE            answers the lines of standard input, one JSON line
//   each:
//     encode FILE   ids of the file's text with the tokenizer as it is (warm after the first call)
//     fresh FILE    the same with a tokenizer that was opened for it (opening not in the time)
//     lines FILE    every line on its own
//     open          opens the source anew
//     check         a published folder against the vocabulary written from it
#include <malloc.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "formats/gguf.h"
#include "lib/base/status.h"
#include "lib/text/gguf/self_check.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"

namespace smelt {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& source) {
  if (!source.ends_with(".gguf")) return OpenPublishedTokenizer(source);
  SMELT_ASSIGN_OR_RETURN(const GgufFile file, OpenGguf(source));
  return GgufTokenizer(file.metadata);
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error(ErrorCode::kNotFound, "cannot read ", path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status Write(const std::string& folder, const std::string& out) {
  SMELT_ASSIGN_OR_RETURN(const auto tokenizer, OpenPublishedTokenizer(folder));
  Metadata metadata;
  metadata.Set("general.architecture", "llama");
  std::vector<std::string> notes;
  SMELT_RETURN_IF_ERROR(WriteVocabulary(*tokenizer, {}, metadata, notes));
  SMELT_ASSIGN_OR_RETURN(const GgufLayout layout, SerializeGgufHeader(metadata, {}));
  std::ofstream file(out, std::ios::binary);
  file.write(reinterpret_cast<const char*>(layout.header.data()),
             static_cast<std::streamsize>(layout.header.size()));
  return file ? absl::OkStatus() : Error(ErrorCode::kIo, "cannot write ", out);
}

struct Answer {
  double seconds = 0, cpu = 0;  // cpu: of everything that the line asked for
  size_t ids = 0;
  uint64_t sum = 0;  // so that ids can be compared without printing them
};

absl::Status Encode(const Tokenizer& tokenizer, std::string_view text, Answer& answer) {
  const auto start = Clock::now();
  SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                         tokenizer.Encode(text, {.add_special = false, .parse_special = true}));
  answer.seconds += Seconds(start);
  answer.ids += ids.size();
  for (const int32_t id : ids) answer.sum = (answer.sum * 31 + static_cast<uint64_t>(id)) % 1000003;
  return absl::OkStatus();
}

class Server {
 public:
  explicit Server(std::string source) : source_(std::move(source)) {}

  absl::Status Run() {
    SMELT_ASSIGN_OR_RETURN(tokenizer_, Open(source_));
    for (std::string line; std::getline(std::cin, line);) {
      const size_t space = line.find(' ');
      Answer answer;
      const double cpu = CpuSeconds();
      SMELT_RETURN_IF_ERROR(Do(line.substr(0, space),
                               space == std::string::npos ? "" : line.substr(space + 1), answer));
      answer.cpu = CpuSeconds() - cpu;
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      std::printf("{\"seconds\":%.9f,\"cpu\":%.6f,\"ids\":%zu,\"sum\":%llu,\"peak_kb\":%ld}\n",
                  answer.seconds, answer.cpu, answer.ids,
                  static_cast<unsigned long long>(answer.sum), usage.ru_maxrss);
      std::fflush(stdout);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Do(const std::string& what, const std::string& path, Answer& answer) {
    if (what == "open") {
      tokenizer_.reset();
      malloc_trim(0);
      const auto start = Clock::now();
      SMELT_ASSIGN_OR_RETURN(tokenizer_, Open(source_));
      answer.seconds = Seconds(start);
      answer.ids = tokenizer_->size();
      return absl::OkStatus();
    }
    if (what == "check") return Check(answer);
    SMELT_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
    if (what == "fresh") {
      SMELT_ASSIGN_OR_RETURN(tokenizer_, Open(source_));
    }
    if (what != "lines") return Encode(*tokenizer_, text, answer);
    for (std::string_view rest = text; !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      SMELT_RETURN_IF_ERROR(Encode(*tokenizer_, line, answer));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    }
    return absl::OkStatus();
  }

  absl::Status Check(Answer& answer) {
    SMELT_ASSIGN_OR_RETURN(const auto published, OpenPublishedTokenizer(source_));
    VocabularyOptions options;
    options.allow_mismatch = true;
    Metadata metadata;
    std::vector<std::string> notes;
    SMELT_RETURN_IF_ERROR(WriteVocabulary(*published, options, metadata, notes));
    const auto start = Clock::now();
    SMELT_RETURN_IF_ERROR(CheckVocabulary(*published, metadata));
    answer.seconds = Seconds(start);
    answer.ids = published->size();
    return absl::OkStatus();
  }

  std::string source_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

absl::Status Main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "write" && argc == 4) return Write(argv[2], argv[3]);
  if (what == "serve" && argc == 3) return Server(argv[2]).Run();
  return Error(ErrorCode::kInvalidInput,
               "usage: tokenizer_bench write FOLDER OUT.gguf | serve SOURCE");
}

}  // namespace
}  // namespace smelt

int main(int argc, char** argv) {
  const absl::Status status = smelt::Main(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
