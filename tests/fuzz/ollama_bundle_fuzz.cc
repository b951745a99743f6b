// The archive of a bundle: as it is, and compressed here, since no mutation survives zstd's
// checksums.
#include <zstd.h>

#include <optional>

#include "formats/ollama/seekable_zstd.h"
#include "formats/ollama/tar.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt;
  if (size == 0) return 0;
  const bool compressed = data[0] % 2 == 0;
  ++data, --size;
  std::vector<uint8_t> made;
  if (!compressed) {
    made.resize(ZSTD_compressBound(size));
    made.resize(ZSTD_compress(made.data(), made.size(), data, size, 1));
    data = made.data(), size = made.size();
  }
  auto zstd = ollama::SeekableZstdReader::Open(fuzz::InMemory(data, size));
  if (!zstd.ok()) {
    fuzz::RequireGoodMessage(zstd.status());
    return 0;
  }
  ollama::TarReader archive(*zstd);
  std::vector<std::byte> buffer(1000);
  for (int entries = 0; entries < 1000; ++entries) {
    const auto entry = archive.Next();
    if (!entry.ok()) fuzz::RequireGoodMessage(entry.status());
    if (!entry.ok() || !*entry) return 0;
    const auto got = archive.Read(buffer);
    if (!got.ok()) {
      fuzz::RequireGoodMessage(got.status());
      return 0;
    }
    fuzz::Require(*got <= (*entry)->size, "no more is read than the entry has");
  }
  return 0;
}
