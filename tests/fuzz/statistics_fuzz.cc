#include "formats/statistics.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using smelt::fuzz::Require;
  const auto file = smelt::StatisticsFile::Read(smelt::fuzz::InMemory(data, size));
  if (!file.ok()) {
    smelt::fuzz::RequireGoodMessage(file.status());
    return 0;
  }
  for (size_t s = 0; s < (*file)->stages().size(); ++s) {
    const smelt::StatisticsStage& stage = (*file)->stages()[s];
    for (size_t i = 0; i < stage.squares.size(); ++i) {
      Require(stage.squares[i].values() * sizeof(float) <= size, "sums lie inside the file");
      std::vector<float> sums(stage.squares[i].values());
      const absl::Status read = (*file)->ReadSums(s, i, sums);
      if (!read.ok()) smelt::fuzz::RequireGoodMessage(read);
    }
    for (size_t i = 0; i < stage.moments.size(); ++i) {
      const uint64_t columns = stage.moments[i].columns;
      Require(columns * (columns + 1) / 2 * sizeof(float) <= size, "a moment lies in the file");
      std::vector<float> gram(columns * columns);
      const absl::Status read = (*file)->ReadMoment(s, i, gram.data());
      if (!read.ok()) smelt::fuzz::RequireGoodMessage(read);
    }
  }
  return 0;
}
