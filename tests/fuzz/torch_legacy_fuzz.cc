// The form before PyTorch 1.6: one of its five pickles, or the storages behind them, is changed.
#include "formats/torch/pickle.h"
#include "tests/fuzz/torch_fuzz.h"

namespace smelt::fuzz {

std::string Mutate(const uint8_t* data, size_t size, std::minstd_rand& random) {
  const std::shared_ptr<Storage> file = Checkpoint(data, size);
  std::vector<std::string> parts;
  uint64_t at = 0;
  for (int i = 0; i < 5; ++i) {
    const absl::StatusOr<Pickle> pickle = ReadPickle(*file, at);
    if (!pickle.ok()) break;
    parts.emplace_back(reinterpret_cast<const char*>(data) + at, pickle->end() - at);
    at = pickle->end();
  }
  if (parts.empty()) return {};
  // Mostly the object: the fourth pickle, or the last that could be read.
  const size_t object = std::min<size_t>(3, parts.size() - 1);
  const size_t part = random() % 3 == 0 ? random() % parts.size() : object;
  std::string rest(reinterpret_cast<const char*>(data) + at, size - at);
  if (random() % 5 == 0) {
    rest = MutatePickle(rest, random);
  } else {
    parts[part] = MutatePickle(parts[part], random);
  }
  std::string out;
  for (const std::string& bytes : parts) out += bytes;
  return out + rest;
}

}  // namespace smelt::fuzz
