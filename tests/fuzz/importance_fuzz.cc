#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "formats/importance.h"
#include "tests/fuzz/fuzz.h"

namespace smelt::fuzz {
namespace {

/// What was read, written again in either format, says the same.
void RequireRoundTrip(const ImportanceFile& file) {
  const std::string folder = std::filesystem::temp_directory_path();
  for (const char* ending : {".gguf", ".dat"}) {
    if (file.legacy() && std::string_view(ending) == ".dat") continue;  // means are rounded anew
    const std::string path = folder + "/importance_fuzz_" + std::to_string(getpid()) + ending;
    const absl::Status written = WriteImportance(
        path, file.origin(), file.entries(),
        [&](size_t entry, std::span<float> out) { return file.ReadSums(entry, 0, out); }, true);
    if (!written.ok()) {  // names that GGUF does not hold, sums beyond f32
      RequireGoodMessage(written);
      continue;
    }
    const auto again = ImportanceFile::Open(path);
    std::filesystem::remove(path);
    if (!again.ok()) {  // a mean times calls beyond f32
      RequireGoodMessage(again.status());
      continue;
    }
    Require((*again)->entries().size() == file.entries().size(), "the number of entries stays");
    for (size_t i = 0; i < file.entries().size(); ++i) {
      Require((*again)->entries()[i].name == file.entries()[i].name, "names stay");
      Require((*again)->entries()[i].values() == file.entries()[i].values(), "sizes stay");
    }
  }
}

}  // namespace
}  // namespace smelt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using smelt::fuzz::Require;
  const auto file = smelt::ImportanceFile::Read(smelt::fuzz::InMemory(data, size));
  if (!file.ok()) {
    smelt::fuzz::RequireGoodMessage(file.status());
    return 0;
  }
  Require(!(*file)->entries().empty(), "a file has entries");
  std::vector<float> values;
  for (size_t i = 0; i < (*file)->entries().size(); ++i) {
    const smelt::ImportanceEntry& entry = (*file)->entries()[i];
    Require((*file)->Find(entry.name) == static_cast<int>(i), "an entry is found");
    Require((*file)->Fits(i, entry.columns, entry.matrices()), "an entry fits itself");
    Require(entry.values() * sizeof(float) <= size, "values lie inside the file");
    for (uint64_t m = 0; m < entry.matrices(); ++m) {
      values.resize(entry.columns);
      Require((*file)->ReadImportance(i, m, values).ok(), "values can be read");
      for (const float value : values)
        Require(value >= 0 && std::isfinite(value), "importance is a finite number from 0 on");
    }
  }
  smelt::fuzz::RequireRoundTrip(**file);
  return 0;
}
