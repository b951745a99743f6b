// Many tokens through a model with a recurrent state: memory must not grow, and the chunks of a
// prompt must not drift away from the recurrence.
//
//     long_context MODEL TOKENS [--recurrent]
//
// Feeds random ids in pieces of 512 and prints, at every tenth of the way, tokens a second and the
// resident memory; with --recurrent the same ids go through a second session one by one, and the
// largest difference of the logits is printed beside their deviation.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "infer/session.h"
#include "lib/model/open.h"

namespace smelt {
namespace {

// MiB from /proc/self/status: "RssAnon" or "VmRSS".
double Resident(const char* what) {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  if (file == nullptr) return 0;
  char line[256];
  double kib = 0;
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    if (std::strncmp(line, what, std::strlen(what)) == 0)
      kib = std::atof(line + std::strlen(what) + 1);
  }
  std::fclose(file);
  return kib / 1024;
}

absl::Status Run(const char* path, uint64_t tokens, bool recurrent) {
  constexpr uint64_t kPiece = 512;
  absl::StatusOr<OpenedModel> model = OpenModel(path, {.vocabulary = false, .pre = {}});
  if (!model.ok()) return model.status();
  const auto session = [&] { return Session::Create(*model->source, Precision::kF32); };
  absl::StatusOr<std::unique_ptr<Session>> chunks = session(), single = session();
  if (!chunks.ok() || !single.ok()) return chunks.status();
  std::mt19937 random(1);
  std::vector<int32_t> ids(kPiece);
  std::vector<float> logits, other;
  double seconds = 0, worst = 0;
  for (uint64_t done = 0, tenth = 1; done < tokens; done += kPiece) {
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % (*chunks)->vocabulary());
    const auto start = std::chrono::steady_clock::now();
    if (absl::Status fed = (*chunks)->Feed(ids, logits); !fed.ok()) return fed;
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    double square = 0;
    if (recurrent) {
      for (const int32_t id : ids) {
        if (absl::Status fed = (*single)->Feed({&id, 1}, other); !fed.ok()) return fed;
      }
      for (size_t i = 0; i < logits.size(); ++i) {
        worst = std::max<double>(worst, std::fabs(logits[i] - other[i]));
        square += static_cast<double>(other[i]) * other[i] / static_cast<double>(other.size());
      }
    }
    if (10 * (done + kPiece) < tenth * tokens) continue;
    tenth = 10 * (done + kPiece) / tokens + 1;
    std::printf("%8llu tokens  %8.0f tokens/s  RSS %7.2f MiB, anonymous %7.2f MiB",
                static_cast<unsigned long long>(done + kPiece),
                static_cast<double>(done + kPiece) / seconds, Resident("VmRSS:"),
                Resident("RssAnon:"));
    if (recurrent) std::printf("  largest difference %.2g of %.2g", worst, std::sqrt(square));
    std::printf("\n");
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace smelt

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "long_context MODEL TOKENS [--recurrent]\n"), 2;
  const absl::Status status = smelt::Run(argv[1], std::strtoull(argv[2], nullptr, 10),
                                         argc > 3 && std::strcmp(argv[3], "--recurrent") == 0);
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.ToString().c_str()), 1;
  return 0;
}
