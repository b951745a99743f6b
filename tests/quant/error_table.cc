// Prints the errors of our encoders beside llama.cpp's on the matrices of testdata/quant, and the
// time per weight:  encoder_error_table [--markdown] [TYPE]...
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "quant/codec.h"
#include "quant/encoder.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

constexpr const char* kKinds[] = {"none", "imatrix", "half"};

struct Cell {
  double ours = 0, theirs = 0, kept = 0, kept_limit = 0;
};

double Relative(const SampleMatrix& m, const std::vector<float>& decoded,
                const std::vector<float>& w, bool zeros) {
  double error = 0, size = 0;
  for (size_t i = 0; i < m.x.size(); ++i) {
    const double weight = w.empty() ? 1
                          : zeros   ? w[i % m.columns] == 0
                                    : static_cast<double>(w[i % m.columns]);
    const double e = static_cast<double>(decoded[i]) - m.x[i];
    error += weight * e * e;
    size += weight * m.x[i] * m.x[i];
  }
  return std::sqrt(error / size);
}

double Find(const JsonValue& cells, const char* kind, const char* metric) {
  const JsonValue* cell = cells.Find(kind);
  const JsonValue* value = cell == nullptr ? nullptr : cell->Find(metric);
  return value == nullptr ? 0 : *value->as_double();
}

void Print(TensorType type, const JsonValue& errors, bool markdown) {
  for (int kind = 0; kind < 3; ++kind) {
    if (kind == 0 && NeedsImportance(type)) continue;
    double seconds = 0, worst = 0, worst_kept = 0, weights = 0;
    std::string line;
    for (const SampleMatrix& m : Matrices()) {
      if (m.columns % Info(type).block_elements != 0) {
        if (markdown) line += " |";
        continue;
      }
      const std::vector<float> none;
      const std::vector<float>& w = kind == 0 ? none : kind == 1 ? m.importance : m.importance_half;
      const Encoder& encoder = *FindEncoder(type, kind == 0 ? Effort::kFast : Effort::kNormal);
      std::vector<std::byte> bytes(m.x.size() / m.columns * *RowBytes(type, m.columns));
      std::vector<float> decoded(m.x.size());
      EncodeScratch scratch;
      const std::clock_t start = std::clock();
      encoder.Encode(m.x.size() / m.columns, m.columns, m.x.data(), {.importance = w}, bytes.data(),
                     scratch);
      seconds += static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      weights += static_cast<double>(m.x.size());
      FindCodec(type)->Decode(bytes.data(), decoded.size(), decoded.data());
      const JsonValue& cells =
          *errors.Find("matrices")->Find(m.name)->Find("types")->Find(Info(type).name);
      const double ours = Relative(m, decoded, w, false);
      const double theirs = Find(cells, kKinds[kind], kind == 0 ? "rel_rmse" : "weighted_rel_rmse");
      char text[64];
      if (markdown) {
        std::snprintf(text, sizeof text, " %.4f / %.4f |", ours, theirs);
      } else {
        std::snprintf(text, sizeof text, " %.4f", ours / theirs);
      }
      line += text;
      worst = std::max(worst, ours / theirs);
      if (kind == 2) {
        double base = Find(cells, "none", "rel_rmse");
        if (base == 0) base = Find(cells, "imatrix", "rel_rmse");
        worst_kept = std::max(worst_kept, Relative(m, decoded, w, true) / (2 * base));
      }
    }
    if (markdown) {
      std::printf("| %s | %s |%s\n", std::string(Info(type).name).c_str(), kKinds[kind],
                  line.c_str());
    } else {
      std::printf("%-8s %-8s%s  worst %.4f  kept %.3f  %.1f ns%s\n",
                  std::string(Info(type).name).c_str(), kKinds[kind], line.c_str(), worst,
                  worst_kept, 1e9 * seconds / weights,
                  worst > 1.00001 || worst_kept > 1 ? "  WORSE" : "");
    }
  }
}

}  // namespace
}  // namespace smelt

int main(int argc, char** argv) {
  using namespace smelt;
  const JsonValue errors = ReadJson(smelt::testing::TestdataPath("quant/reference_error.json"));
  const bool markdown = argc > 1 && std::strcmp(argv[1], "--markdown") == 0;
  for (const TensorTypeInfo& info : AllTensorTypes()) {
    if (!info.quantized || FindEncoder(info.type) == nullptr) continue;
    bool wanted = argc == (markdown ? 2 : 1);
    for (int i = markdown ? 2 : 1; i < argc; ++i) wanted |= info.name == argv[i];
    if (wanted) Print(info.type, errors, markdown);
  }
  return 0;
}
